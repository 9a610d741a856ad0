"""Reads MNIST, and any data set in the same four idx files, from a folder.

The format is described by Y. LeCun on the page of the MNIST database, section "The IDX file format"
(yann.lecun.com/exdb/mnist): two zero bytes, one byte for the type of the values, one for the number of dimensions,
the dimensions as big-endian integers of 32 bits, and the values with the last dimension running fastest.
"""

import gzip
import math
import os
import zlib
from io import BufferedIOBase
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mlplab.data.dataset import Dataset
from mlplab.data.split import SplitRules
from mlplab.errors import UserError

UNSIGNED_BYTES = 0x08

OTHER_TYPES = {
    0x09: "signed bytes",
    0x0B: "integers of 16 bits",
    0x0C: "integers of 32 bits",
    0x0D: "floating-point numbers of 32 bits",
    0x0E: "floating-point numbers of 64 bits",
}
"""Type byte → other types of the format, which are refused."""

MAX_DIMENSIONS = 64
"""Most dimensions of a NumPy array; the byte in the header allows 255."""

BLOCK_BYTES = 1 << 18
"""Bytes per read, as bytes that gzip unpacks at once are in memory twice."""

FILES = {
    ("train", "images"): "train-images-idx3-ubyte",
    ("train", "labels"): "train-labels-idx1-ubyte",
    ("test", "images"): "t10k-images-idx3-ubyte",
    ("test", "labels"): "t10k-labels-idx1-ubyte",
}
"""The canonical names, without .gz."""

Bytes = npt.NDArray[np.uint8]


def idx_images(directory: str | None, name: str = "mnist") -> Dataset:
    """Loads the images and labels of the four canonical idx files in a folder, for classification.

    The rows are those of the training files, followed by those of the test files, which become the test part.
    Each file may be gzip or not, regardless of its name. `train-images.idx3-ubyte` is another spelling of
    `train-images-idx3-ubyte`. If both copies of a file exist, the one without .gz is read.

    Features are grey values (N, rows·columns) uint8, row by row from the top: `pixel_3_17` is in row 3 and column
    17, counted from 0. Classes are numbered from 0 to the largest training label, including those without images.

    Args:
        directory: the folder, such as "~/data/fashion"; None is refused with an example.
        name: of the data set. The target is called "digit" for "mnist", else "label".

    Raises:
        UserError: a file is missing or damaged, or the four do not belong together.
    """
    # All four first, so that a missing file is refused before any is unpacked.
    paths = _find(_folder(directory))
    arrays = {key: _read(path, key[1]) for key, path in paths.items()}
    for part in ("train", "test"):
        n_images, n_labels = len(arrays[part, "images"]), len(arrays[part, "labels"])
        if n_images != n_labels:
            raise UserError(
                f"{paths[part, 'labels']} must have one label for each image of {paths[part, 'images'].name}",
                f"there are {n_labels} labels and {n_images} images",
                "two files of one data set",
            )
    sizes = {part: arrays[part, "images"].shape[1:] for part in ("train", "test")}
    if sizes["train"] != sizes["test"]:
        raise UserError(
            f"{paths['test', 'images']} must have images of the size of the training images, {_times(sizes['train'])}",
            f"they are {_times(sizes['test'])}",
            "files of one data set",
        )
    train_labels, test_labels = arrays["train", "labels"], arrays["test", "labels"]
    # The training labels define the classes; any other test label could never be predicted.
    unknown = np.setdiff1d(test_labels, train_labels)
    if unknown.size:
        raise UserError(
            f"{paths['test', 'labels']} must only have labels that occur in {paths['train', 'labels'].name}",
            f"no training image has label {unknown[0]}",
            "files of one data set",
        )
    n_rows, n_columns = sizes["train"]
    # Row by row, in the order of `feature_names`.
    images = [arrays[part, "images"].reshape(-1, n_rows * n_columns) for part in ("train", "test")]
    return Dataset(
        name=name,
        features=np.concatenate(images),
        targets=np.concatenate([train_labels, test_labels]).astype(np.int64),
        feature_names=tuple(f"pixel_{row}_{column}" for row in range(n_rows) for column in range(n_columns)),
        # Up to the largest label, so that a label is its own class index; at least two, as `Dataset` requires.
        class_names=tuple(str(label) for label in range(max(int(train_labels.max()) + 1, 2))),
        target_name="digit" if name == "mnist" else "label",
        image_shape=(n_rows, n_columns),
        split_rules=SplitRules(parts=np.repeat(np.array(["", "test"]), [len(train_labels), len(test_labels)])),
    )


def read_idx(path: Path) -> Bytes:
    """Reads an idx file of unsigned bytes, with or without gzip, whatever its name.

    Returns:
        uint8, of the shape in the header, writable.

    Raises:
        UserError: the file is damaged, truncated, too long or unreadable, or not an idx file of unsigned bytes.
    """
    try:
        with path.open("rb") as file:
            # Every gzip file begins with these two bytes; `peek` does not consume them.
            if file.peek(2).startswith(b"\x1f\x8b"):
                with gzip.GzipFile(fileobj=file) as unpacked:
                    return _read_stream(unpacked, path)
            return _read_stream(file, path)
    # gzip raises these for a file that is cut off, damaged inside, or damaged at its checksum.
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(
            f"{path} must be an intact gzip file", f"unpacking it failed ({error})", "a fresh copy of the file"
        ) from None
    except OSError as error:
        hint = f"chmod u+r {path}" if isinstance(error, PermissionError) else "another file"
        raise UserError(
            f"{path} must be a file that can be read", f"reading it failed ({error.strerror or error})", hint
        ) from None


def _read_stream(stream: BufferedIOBase, path: Path) -> Bytes:
    shape = _read_header(stream, path)
    # Python integers cannot overflow, however large the sizes in a forged header.
    n_bytes = math.prod(shape)
    # A header may lie about the size, so memory grows with the content, up to one byte more than the header says.
    values = bytearray()
    while block := stream.read(min(BLOCK_BYTES, n_bytes + 1 - len(values))):
        values += block
    if len(values) != n_bytes:
        raise UserError(
            f"{path} must hold the {n_bytes} bytes of values that its header promises",
            f"it holds {'more' if len(values) > n_bytes else len(values)}",
            "a fresh copy of the file",
        )
    # From a bytearray the array is writable; PyTorch warns of tensors on read-only memory.
    return np.frombuffer(values, np.uint8).reshape(shape)


def _read_header(stream: BufferedIOBase, path: Path) -> tuple[int, ...]:
    """Reads the dimensions, each at least 1; leaves the stream at the first value."""
    # The first bytes reveal another kind of file, before anything is allocated.
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise UserError(
            f"{path} must be an idx file, which begins with two zero bytes, a type and a number of dimensions",
            f"it begins with {magic.hex(' ')}" if magic else "it is empty",
            "the file as it was published, unpacked or as gzip",
        )
    kind, n_dimensions = magic[2:]
    if kind != UNSIGNED_BYTES:
        known = f", which stands for {OTHER_TYPES[kind]}" if kind in OTHER_TYPES else ", which is not defined"
        raise UserError(
            f"{path} must hold unsigned bytes, type 0x08", f"its type is 0x{kind:02X}{known}", "a file of grey values"
        )
    if not 1 <= n_dimensions <= MAX_DIMENSIONS:
        raise UserError(
            f"{path} must have from 1 to {MAX_DIMENSIONS} dimensions",
            f"its header says {n_dimensions}",
            "a fresh copy of the file",
        )
    dimensions = stream.read(4 * n_dimensions)
    if len(dimensions) < 4 * n_dimensions:
        raise UserError(
            f"{path} must hold the sizes of its {n_dimensions} dimensions",
            f"it ends after {len(magic) + len(dimensions)} bytes",
            "a fresh copy of the file",
        )
    # Big-endian whatever the machine, as the format says.
    shape = tuple(int(size) for size in np.frombuffer(dimensions, ">u4"))
    if 0 in shape:
        raise UserError(f"{path} must hold at least one value", f"its size is {_times(shape)}", "another file")
    return shape


def _read(path: Path, content: str) -> Bytes:
    """Reads the images (N, rows, columns) or labels (N,) of a file."""
    array = read_idx(path)
    axes = {"images": ("images", "rows", "columns"), "labels": ("labels",)}[content]
    if array.ndim != len(axes):
        raise UserError(
            f"{path} must have {len(axes)} dimension{'s' * (len(axes) > 1)}, {', '.join(axes)}",
            f"its size is {_times(array.shape)}",
            f"the file of the {content} under that name",
        )
    return array


def _folder(directory: str | None) -> Path:
    """Returns the given folder, or refuses it if it does not exist."""
    if not directory:
        raise UserError(
            "data.directory must be the folder with the four idx files",
            f"data.directory={'null' if directory is None else repr(directory)}",
            "data.directory=path/to/mnist",
        )
    # Unlike methods of Path, these functions accept any text without raising. A shell does not expand a tilde after
    # `data.directory=`.
    folder = Path(os.path.expanduser(str(directory)))
    if not os.path.isdir(folder):
        is_file = os.path.isfile(folder)
        raise UserError(
            "data.directory must be a folder that exists",
            f"{folder} is a file" if is_file else f"there is no {folder}",
            f"data.directory={folder.parent if is_file else 'path/to/mnist'}",
        )
    return folder


def _find(folder: Path) -> dict[tuple[str, str], Path]:
    """Finds the four files: (part, content) → path."""
    paths = {}
    for key, name in FILES.items():
        # Some mirrors publish the files under this spelling.
        dotted = name.replace("-idx", ".idx")
        # The plain file first, as it needs no unpacking.
        spellings = (name, f"{name}.gz", dotted, f"{dotted}.gz")
        path = next((folder / spelling for spelling in spellings if os.path.isfile(folder / spelling)), None)
        if path is None:
            raise UserError(
                f"{folder} must hold the file {name}, with or without .gz",
                f"there is none, nor {dotted}",
                f"renaming the file to {name}, or data.directory=path/to/mnist",
            )
        paths[key] = path
    return paths


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(str(size) for size in shape)
