"""The names that a configuration can give, without what they name: checking them must not import PyTorch.

A test holds each of these lists against the code that implements it.
"""

ACTIVATIONS = (
    "relu", "sigmoid", "tanh", "leaky_relu", "elu", "selu", "gelu", "silu", "mish", "softplus", "identity",
)  # fmt: skip

INITIALIZATIONS = (
    "normal", "uniform", "xavier_uniform", "xavier_normal", "kaiming_uniform", "kaiming_normal", "orthogonal",
    "zeros", "pytorch",
)  # fmt: skip

BIAS_INITIALIZATIONS = ("zeros", "normal", "uniform")

NORMALIZATIONS = ("none", "batch", "layer")

PARAMETER_KINDS = ("weight", "bias", "normalization")

LOSSES = {
    "classification": ("cross_entropy", "binary_cross_entropy"),
    "regression": ("mse", "mae", "huber"),
}

SCORES = {
    "classification": {"loss": "min", "accuracy": "max", "f1": "max", "auroc": "max"},
    "regression": {"loss": "min", "mse": "min", "rmse": "min", "mae": "min", "r2": "max"},
}
"""Task → score → whether small or large is good."""

ENGINES = ("fast", "plain")

SCHEDULES_THAT_NEED_AN_END = ("cosine", "warmup_cosine", "one_cycle")

PRECISIONS = ("32-true", "64-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true", "32", "64", 32, 64)

DELIMITERS = ("tab", "semicolon", "bar", "comma", "blank")

QUOTES = ("double", "single", "none")

NUMERIC_SCALINGS = ("standardize", "quantile_normal")
