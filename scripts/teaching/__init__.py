"""The lessons of docs/lessons/: a file for what each computes and draws, and a template for its page."""

LESSONS = (
    "initialization", "activations", "losses", "backpropagation", "optimizers", "batch_sizes", "regularization",
    "convergence",
)  # fmt: skip
"""Names in the order of the learning algorithm; each has a module here, and a template."""
