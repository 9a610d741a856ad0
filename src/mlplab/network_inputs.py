"""Builds what comes before a network: input layer of compact features, numeric embedding, augmentation of batches."""

from typing import Any

from omegaconf import DictConfig
from torch import nn

from mlplab.augmentation import Augmentation, RandomShift
from mlplab.data.module import DataModule
from mlplab.data.own_data import OwnData
from mlplab.data.preprocessing import ScalePixels
from mlplab.errors import UserError
from mlplab.instantiation import accepted_options, plain_values
from mlplab.models.bins import N_BINS, quantile_edges, tree_edges
from mlplab.models.inputs import InputLayer, PixelInputs, WithInputs, build_inputs
from mlplab.models.mlp_options import EMBEDDING_RULES, require_embedding_options
from mlplab.models.numeric_embeddings import EmbeddedInputs, PiecewiseEmbedding

LEVELS_IN_16_BITS = 256
"""Largest number up to which all whole numbers are exact in bfloat16, with its 8 significant bits."""


def input_layer_of(config: DictConfig, data: DataModule | OwnData) -> InputLayer | None:
    """Builds the input layer for compactly stored data; None if the features go to the network as they are.

    Raises:
        UserError: a column has more categories than 16-bit precision can tell apart.
    """
    encoding = data.preprocessor.input_encoding()
    if encoding is None:
        return None
    most, precision = max(encoding.get("n_levels", [0])), str(config.trainer.precision)
    if precision in ("bf16-true", "16-true") and most > LEVELS_IN_16_BITS:
        raise UserError(
            f"a column with more than {LEVELS_IN_16_BITS} categories must be trained in 32-bit or mixed precision",
            f"trainer.precision={precision} with a column of {most} categories",
            f"trainer.precision={precision.replace('true', 'mixed')}",
        )
    return build_inputs(encoding, data.task.n_features)


def take_embedding(model_config: dict[str, Any]) -> dict[str, Any] | None:
    """Removes the options of the numeric embedding from the network's, and returns them; None if there is none.

    Raises:
        UserError: an option breaks its rule, or belongs to another embedding.
    """
    # The user's own network may have no embedding in its file, or compute one itself.
    is_own = "numeric_embedding" in accepted_options("model", {"_target_": model_config.get("_target_")})
    if is_own or "numeric_embedding" not in model_config:
        return None
    options = {name: model_config.pop(name, None) for name in EMBEDDING_RULES}
    require_embedding_options(options)
    given = {name: value for name, value in options.items() if value is not None}
    return None if given["numeric_embedding"] == "none" else given


def embed_numbers(inputs: InputLayer | None, options: dict[str, Any], data: DataModule | OwnData) -> EmbeddedInputs:
    """Builds the numeric embedding of the data's columns, after their input layer.

    Raises:
        UserError: no column is numeric.
    """
    name = options.pop("numeric_embedding")
    n_features = data.task.n_features
    n_columns = data.preprocessor.n_numeric(n_features)
    if n_columns == 0:
        raise UserError(
            f"model.numeric_embedding={name} must have a numeric column", "all columns are categorical",
            "model.numeric_embedding=none",
        )  # fmt: skip
    features, targets = data.part("train")
    if features.ndim > 2:  # pictures of a LightningDataModule
        shape = tuple(features.shape[1:])
        raise UserError(
            f"model.numeric_embedding={name} must be for rows of numbers",
            f"each is of shape {shape}",
            "model.numeric_embedding=none",
        )
    if name != "piecewise":
        return EmbeddedInputs(inputs, n_features=n_features, name=name, n_columns=n_columns, **options)
    if isinstance(data, OwnData):
        raise UserError(
            "model.numeric_embedding=piecewise must see all training rows, for its bins",
            "a LightningDataModule of one's own gives them in batches", "model.numeric_embedding=periodic",
        )  # fmt: skip
    # From the training part alone.
    numbers = inputs(features) if isinstance(inputs, PixelInputs) else features[:, :n_columns]
    n_bins = options.pop("n_bins", N_BINS)
    if options.pop("bins", "quantile") == "quantile":
        edges = quantile_edges(numbers, n_bins)
    else:
        are_classes = data.task.kind != "regression"
        edges = tree_edges(numbers, targets, n_bins, are_classes=are_classes, weights=data.weights["train"])
    most = max(len(of_column) - 1 for of_column in edges)
    embedded = EmbeddedInputs(inputs, n_features=n_features, name=name, n_columns=n_columns, n_bins=most, **options)
    assert isinstance(embedded.embedding, PiecewiseEmbedding)
    embedded.embedding.set_edges(edges)
    return embedded


def build_augmentation(config: DictConfig, data: DataModule | OwnData, model: nn.Module) -> Augmentation | None:
    """Builds the augmentation of training batches; None if there is none.

    Raises:
        UserError: images are to be shifted, but the data are not images; or the network is compiled.
    """
    options = plain_values(config.get("augmentation") or {})
    if not any(options.values()):
        return None
    if options.get("mixup") and config.model.get("compile") and isinstance(model, WithInputs):
        # Rows are mixed between input layer and network, which are compiled as one.
        raise UserError(
            "augmentation.mixup of categories, pixels and embeddings must have a network that is not compiled",
            "model.compile=true",
            "model.compile=false",
        )
    most, shape, shift = options.pop("shift", 0), data.image_shape, None
    if most and shape is None:
        raise UserError(
            "augmentation.shift must be for images", f"{data.name} has none", "augmentation.shift=0, or data=digits"
        )
    if most and shape is not None:
        if most >= min(shape):
            raise UserError(
                f"augmentation.shift must be smaller than the images, {shape[0]}×{shape[1]}",
                f"augmentation.shift={most}",
                "augmentation.shift=2",
            )
        shift = RandomShift(*shape, most, data.preprocessor)  # type: ignore[arg-type]  # only the project's data have images
    preprocessing = data.preprocessor
    unit = preprocessing.std if isinstance(preprocessing, ScalePixels) else 1.0
    n_numeric = preprocessing.n_numeric(data.task.n_features)
    return Augmentation(**options, shift=shift, n_numeric=n_numeric, unit=unit)
