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

from mlplab.config.suggestions import nearest_name
from mlplab.data.dataset import Dataset
from mlplab.data.split import SplitRules
from mlplab.errors import UserError

GZIP_START = b"\x1f\x8b"

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

MAX_EXPANSION = 258 * 8 // 2
"""Most bytes that one byte of a gzip file unpacks to: 258 for each two bits (RFC 1951, section 3.2.5)."""

BLOCK_BYTES = 1 << 18
"""Bytes per read."""

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
    `train-images-idx3-ubyte`. Of two copies of a file the one without .gz is read.

    Features are grey values (N, rows·columns) uint8, row by row from the top: `pixel_3_17` is in row 3 and column
    17, counted from 0. Classes are numbered from 0 to the largest training label, including those without images.

    Args:
        directory: the folder, such as "~/data/fashion"; None is refused with an example.
        name: of the data set. The target is called "digit" for "mnist", else "label".

    Raises:
        UserError: a file is missing or damaged, or the four do not belong together.
    """
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
    unknown = np.setdiff1d(test_labels, train_labels)
    if unknown.size:
        raise UserError(
            f"{paths['test', 'labels']} must only have labels that occur in {paths['train', 'labels'].name}",
            f"no training image has label {unknown[0]}",
            "files of one data set",
        )
    n_rows, n_columns = sizes["train"]
    images = [arrays[part, "images"].reshape(-1, n_rows * n_columns) for part in ("train", "test")]
    return Dataset(
        name=name,
        features=np.concatenate(images),
        targets=np.concatenate([train_labels, test_labels]).astype(np.int64),
        feature_names=tuple(f"pixel_{row}_{column}" for row in range(n_rows) for column in range(n_columns)),
        class_names=tuple(str(label) for label in range(max(int(train_labels.max()) + 1, 2))),
        target_name="digit" if name == "mnist" else "label",
        split_rules=SplitRules(parts=np.repeat(np.array(["", "test"]), [len(train_labels), len(test_labels)])),
    )


def read_idx(path: Path) -> Bytes:
    """Reads an idx file of unsigned bytes. Recognises gzip by its first bytes, not by its name.

    A header may lie about the size. So memory for the values is allocated only after the file has been found to hold
    as many. A gzip file is therefore unpacked twice, at most one byte further than its header says.

    Returns:
        uint8, of the shape in the header, writable.

    Raises:
        UserError: the file is damaged, truncated, too long or unreadable, or is no idx file of unsigned bytes.
    """
    try:
        with path.open("rb") as file:
            if not file.peek(2).startswith(GZIP_START):
                return _read_stream(file, path, os.fstat(file.fileno()).st_size)
            with gzip.GzipFile(fileobj=file) as unpacked:
                return _read_stream(unpacked, path, os.fstat(file.fileno()).st_size)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(
            f"{path} must be an intact gzip file", f"unpacking it failed ({error})", "a fresh copy of the file"
        ) from None
    except OSError as error:
        remedy = f"chmod u+r {path}" if isinstance(error, PermissionError) else "another file"
        raise UserError(f"{path} must be a file that can be read", error.strerror or str(error), remedy) from None


def _read_stream(stream: BufferedIOBase, path: Path, file_size: int) -> Bytes:
    shape = _read_header(stream, path)
    n_bytes, start = math.prod(shape), stream.tell()
    _require_bytes(stream, path, n_bytes, file_size)
    stream.seek(start)
    values = np.empty(n_bytes, np.uint8)
    filled = 0
    # In blocks, as gzip holds what it unpacks at once in memory twice.
    while filled < n_bytes and (n_read := stream.readinto(values[filled : filled + BLOCK_BYTES].data)):
        filled += n_read
    if filled < n_bytes:
        raise UserError(f"{path} must not change while it is read", "it became shorter", "the same command again")
    return values.reshape(shape)


def _read_header(stream: BufferedIOBase, path: Path) -> tuple[int, ...]:
    """Reads the dimensions, each at least 1; leaves the stream at the first value."""
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
    shape = tuple(int(size) for size in np.frombuffer(dimensions, ">u4"))
    if 0 in shape:
        raise UserError(f"{path} must hold at least one value", f"its size is {_times(shape)}", "another file")
    return shape


def _require_bytes(stream: BufferedIOBase, path: Path, n_promised: int, file_size: int) -> None:
    """Refuses a file whose header promises another number of bytes than follow. Keeps none of them in memory."""
    if not isinstance(stream, gzip.GzipFile):
        n_found = file_size - stream.tell()
        found = f"it holds {n_found}"
    elif n_promised > MAX_EXPANSION * file_size:
        n_found = MAX_EXPANSION * file_size
        found = f"a gzip file of {file_size} bytes unpacks to {n_found} at the most"
    else:
        n_found = 0
        while block := stream.read(min(BLOCK_BYTES, n_promised + 1 - n_found)):
            n_found += len(block)
        found = f"it holds {'more' if n_found > n_promised else n_found}"
    if n_found != n_promised:
        raise UserError(
            f"{path} must hold the {n_promised} bytes of values that its header promises",
            found,
            "a fresh copy of the file",
        )


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
    if directory is None or directory == "":
        raise UserError(
            "data.directory must be the folder with the four idx files",
            "data.directory=null" if directory is None else "data.directory=''",
            "data.directory=path/to/mnist",
        )
    # Unlike Path.expanduser, this leaves the name of a user who does not exist as it is.
    folder = Path(os.path.expanduser(str(directory)))
    if os.path.isfile(folder):
        raise UserError("data.directory must be a folder", f"{folder} is a file", f"data.directory={folder.parent}")
    if not os.path.isdir(folder):
        beside = [name for name in _names(folder.parent) if os.path.isdir(folder.parent / name)]
        near = nearest_name(folder.name, beside)
        raise UserError(
            "data.directory must be a folder that exists",
            f"there is no {folder}",
            f"data.directory={folder.parent / near if near else 'path/to/mnist'}",
        )
    return folder


def _find(folder: Path) -> dict[tuple[str, str], Path]:
    """Finds the four files: (part, content) → path."""
    spellings = {key: _spellings(name) for key, name in FILES.items()}
    taken = {spelling for names in spellings.values() for spelling in names}
    paths = {}
    for key, names in spellings.items():
        path = next((folder / name for name in names if os.path.isfile(folder / name)), None)
        if path is None:
            plain, _, dotted, _ = names
            # The other three files have similar names, but must not be suggested.
            others = [name for name in _names(folder) if name not in taken and os.path.isfile(folder / name)]
            near = nearest_name(plain, others)
            raise UserError(
                f"{folder} must hold the file {plain}, with or without .gz",
                f"there is none, nor {dotted}",
                f"renaming {near} to {plain}, if that is the file" if near else "data.directory=path/to/mnist",
            )
        paths[key] = path
    return paths


def _spellings(name: str) -> tuple[str, str, str, str]:
    dotted = name.replace("-idx", ".idx")
    return name, f"{name}.gz", dotted, f"{dotted}.gz"


def _names(folder: Path) -> list[str]:
    """Returns the sorted names in a folder; none if it cannot be read."""
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(str(size) for size in shape)
