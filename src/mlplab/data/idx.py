"""MNIST, and every data set that comes in the same four idx files: images as grey values, read from a folder.

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
from mlplab.errors import Refusal

GZIP_START = b"\x1f\x8b"

UNSIGNED_BYTES = 0x08

OTHER_TYPES = {
    0x09: "signed bytes",
    0x0B: "integers of 16 bits",
    0x0C: "integers of 32 bits",
    0x0D: "floating-point numbers of 32 bits",
    0x0E: "floating-point numbers of 64 bits",
}
"""What else the format knows, by its type byte."""

MAX_DIMENSIONS = 64
"""As many as NumPy has; the byte in the header goes to 255."""

MAX_EXPANSION = 258 * 8 // 2
"""Bytes that come of one byte of a gzip file at most: 258 for each two bits (RFC 1951, section 3.2.5)."""

BLOCK_BYTES = 1 << 18
"""Bytes that are read at once."""

FILES = {
    ("train", "images"): "train-images-idx3-ubyte",
    ("train", "labels"): "train-labels-idx1-ubyte",
    ("test", "images"): "t10k-images-idx3-ubyte",
    ("test", "labels"): "t10k-labels-idx1-ubyte",
}
"""The canonical names, without .gz."""

Bytes = npt.NDArray[np.uint8]


def idx_images(directory: str | None, name: str = "mnist") -> Dataset:
    """The images and labels of the four canonical idx files in a folder, to be classified.

    The rows are those of the training files, then those of the test files; these are the test part of the split.
    Each file may be gzip or not, whatever its name, and `train-images.idx3-ubyte` is another spelling of
    `train-images-idx3-ubyte`. Where a file is there twice, the one without .gz is read.

    Features are grey values (N, rows·columns) uint8, row by row from the top: `pixel_3_17` is in row 3 and column
    17, counted from 0. There are as many classes as the largest training label asks for, named by their numbers,
    also where one has no images.

    Args:
        directory: the folder, such as "~/data/fashion"; None is refused with what to type.
        name: of the data set, for people. The classes of "mnist" are digits, of others labels.

    Raises:
        Refusal: a file is missing or damaged, or the four do not belong together.
    """
    paths = _find(_folder(directory))
    arrays = {key: _read(path, key[1]) for key, path in paths.items()}
    for part in ("train", "test"):
        n_images, n_labels = len(arrays[part, "images"]), len(arrays[part, "labels"])
        if n_images != n_labels:
            raise Refusal(
                f"{paths[part, 'labels']} must have a label for each image of {paths[part, 'images'].name}",
                f"there are {n_labels} labels and {n_images} images",
                "two files of one data set",
            )
    sizes = {part: arrays[part, "images"].shape[1:] for part in ("train", "test")}
    if sizes["train"] != sizes["test"]:
        raise Refusal(
            f"{paths['test', 'images']} must have images of the size of those for training, {_times(sizes['train'])}",
            f"they are {_times(sizes['test'])}",
            "files of one data set",
        )
    train_labels, test_labels = arrays["train", "labels"], arrays["test", "labels"]
    unknown = np.setdiff1d(test_labels, train_labels)
    if unknown.size:
        raise Refusal(
            f"{paths['test', 'labels']} must have labels that {paths['train', 'labels'].name} has too",
            f"no image for training has label {unknown[0]}",
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
    """The array of an idx file of unsigned bytes; gzip is known by its first bytes, not by its name.

    Nothing is taken on trust: memory for the values is only asked for once as many of them have been counted in
    the file as its header promises. So a gzip file is unpacked twice, and never further than one byte too many.

    Returns:
        uint8, of the shape in the header, writable.

    Raises:
        Refusal: the file is damaged, cut off or too long, cannot be read, or is no idx file of unsigned bytes.
    """
    try:
        with path.open("rb") as file:
            if not file.peek(2).startswith(GZIP_START):
                return _read_stream(file, path, os.fstat(file.fileno()).st_size)
            with gzip.GzipFile(fileobj=file) as unpacked:
                return _read_stream(unpacked, path, os.fstat(file.fileno()).st_size)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise Refusal(
            f"{path} must be a gzip file without damage", f"unpacking it failed ({error})", "a fresh copy of the file"
        ) from None
    except OSError as error:
        remedy = f"chmod u+r {path}" if isinstance(error, PermissionError) else "another file"
        raise Refusal(f"{path} must be a file that can be read", error.strerror or str(error), remedy) from None


def _read_stream(stream: BufferedIOBase, path: Path, file_size: int) -> Bytes:
    shape = _read_header(stream, path)
    n_bytes, start = math.prod(shape), stream.tell()
    _require_bytes(stream, path, n_bytes, file_size)
    stream.seek(start)
    values = np.empty(n_bytes, np.uint8)
    filled = 0
    # In blocks, since what gzip unpacks at once is in memory twice.
    while filled < n_bytes and (n_read := stream.readinto(values[filled : filled + BLOCK_BYTES].data)):
        filled += n_read
    if filled < n_bytes:
        raise Refusal(f"{path} must stay as it is while it is read", "it became shorter", "the same once more")
    return values.reshape(shape)


def _read_header(stream: BufferedIOBase, path: Path) -> tuple[int, ...]:
    """The dimensions, each at least 1, with the stream left at the first value."""
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise Refusal(
            f"{path} must be an idx file, which begins with two zero bytes, a type and a number of dimensions",
            f"it begins with {magic.hex(' ')}" if magic else "it is empty",
            "the file as it was published, unpacked or as gzip",
        )
    kind, n_dimensions = magic[2:]
    if kind != UNSIGNED_BYTES:
        known = f", which stands for {OTHER_TYPES[kind]}" if kind in OTHER_TYPES else ", which stands for nothing"
        raise Refusal(
            f"{path} must hold unsigned bytes, type 0x08", f"its type is 0x{kind:02X}{known}", "a file of grey values"
        )
    if not 1 <= n_dimensions <= MAX_DIMENSIONS:
        raise Refusal(
            f"{path} must have from 1 to {MAX_DIMENSIONS} dimensions",
            f"its header says {n_dimensions}",
            "a fresh copy of the file",
        )
    dimensions = stream.read(4 * n_dimensions)
    if len(dimensions) < 4 * n_dimensions:
        raise Refusal(
            f"{path} must hold the sizes of its {n_dimensions} dimensions",
            f"it ends after {len(magic) + len(dimensions)} bytes",
            "a fresh copy of the file",
        )
    shape = tuple(int(size) for size in np.frombuffer(dimensions, ">u4"))
    if 0 in shape:
        raise Refusal(f"{path} must hold a value at least", f"its size is {_times(shape)}", "another file")
    return shape


def _require_bytes(stream: BufferedIOBase, path: Path, n_promised: int, file_size: int) -> None:
    """Refuses a file with more or fewer bytes to come than its header promises, without keeping any of them."""
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
        raise Refusal(
            f"{path} must hold the {n_promised} bytes of values that its header promises",
            found,
            "a fresh copy of the file",
        )


def _read(path: Path, content: str) -> Bytes:
    """The images (N, rows, columns) or labels (N,) of a file."""
    array = read_idx(path)
    axes = {"images": ("images", "rows", "columns"), "labels": ("labels",)}[content]
    if array.ndim != len(axes):
        raise Refusal(
            f"{path} must have {len(axes)} dimension{'s' * (len(axes) > 1)}, {', '.join(axes)}",
            f"its size is {_times(array.shape)}",
            f"the file of the {content} under that name",
        )
    return array


def _folder(directory: str | None) -> Path:
    """The folder that was named, which exists."""
    if directory is None or directory == "":
        raise Refusal(
            "data.directory must be the folder with the four idx files",
            "data.directory=null" if directory is None else "data.directory=''",
            "data.directory=path/to/mnist",
        )
    # Unlike Path.expanduser, this leaves the name of a user who does not exist as it is.
    folder = Path(os.path.expanduser(str(directory)))
    if os.path.isfile(folder):
        raise Refusal("data.directory must be a folder", f"{folder} is a file", f"data.directory={folder.parent}")
    if not os.path.isdir(folder):
        beside = [name for name in _names(folder.parent) if os.path.isdir(folder.parent / name)]
        near = nearest_name(folder.name, beside)
        raise Refusal(
            "data.directory must be a folder that exists",
            f"there is no {folder}",
            f"data.directory={folder.parent / near if near else 'path/to/mnist'}",
        )
    return folder


def _find(folder: Path) -> dict[tuple[str, str], Path]:
    """The four files, by part and content."""
    spellings = {key: _spellings(name) for key, name in FILES.items()}
    taken = {spelling for names in spellings.values() for spelling in names}
    paths = {}
    for key, names in spellings.items():
        path = next((folder / name for name in names if os.path.isfile(folder / name)), None)
        if path is None:
            plain, _, dotted, _ = names
            # The other three must not be suggested, close as their names are.
            others = [name for name in _names(folder) if name not in taken and os.path.isfile(folder / name)]
            near = nearest_name(plain, others)
            raise Refusal(
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
    """What is in a folder, sorted; nothing where that cannot be seen."""
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(str(size) for size in shape)
