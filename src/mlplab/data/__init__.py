"""Data sets: read, split, preprocess by statistics of the training part, and serve mini-batches of tensors."""
