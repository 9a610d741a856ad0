"""From a source to mini-batches: read, split, fit the preprocessing on the training part, serve tensors."""
