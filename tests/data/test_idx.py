import gzip
import math
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from drawn import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from mlplab.building import build_data
from mlplab.data.idx import BLOCK_BYTES, FILES, idx_images, read_idx
from mlplab.errors import UserError

MNIST = Path(__file__).resolve().parents[3] / "shared" / "data" / "mnist"

Array = npt.NDArray[np.uint8]

SHAPES = st.lists(st.integers(1, 5), min_size=1, max_size=4)
FRESH = "a fresh copy of the file"


def header(*shape: int, kind: int = 0x08) -> bytes:
    return bytes([0, 0, kind, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)


def packed(array: Array) -> bytes:
    return header(*array.shape) + array.tobytes()


def plain(content: bytes) -> bytes:
    return content


def zipped(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


both = pytest.mark.parametrize("form", [plain, zipped])


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that is written over and over; its name says nothing."""
    return tmp_path_factory.mktemp("idx") / "file"


def read(file: Path, content: bytes) -> Array:
    file.write_bytes(content)
    return read_idx(file)


def refusal(file: Path, content: bytes) -> UserError:
    with pytest.raises(UserError) as caught:
        read(file, content)
    assert str(file) in caught.value.requirement
    return caught.value


def peak_bytes(action: Callable[[], object]) -> int:
    """The most memory that was taken meanwhile."""
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# One file.


@both
def test_an_array_by_hand(file: Path, form: Any) -> None:
    array = read(file, form(bytes.fromhex("00 00 08 02  00 00 00 02  00 00 00 03  01 02 03 fd fe ff")))
    assert array.tolist() == [[1, 2, 3], [253, 254, 255]]
    assert array.dtype == np.uint8
    assert array.flags.writeable


@both
@settings(max_examples=examples(50))
@given(shape=SHAPES, seed=st.integers(0, 1000))
def test_what_was_written_is_read(file: Path, form: Any, shape: list[int], seed: int) -> None:
    written = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    array = read(file, form(packed(written)))
    assert array.shape == tuple(shape)
    assert np.array_equal(array, written)


@both
@pytest.mark.parametrize("n_values", [BLOCK_BYTES, 2 * BLOCK_BYTES + 7])
def test_files_of_several_blocks_are_read_whole(file: Path, form: Any, n_values: int) -> None:
    written = np.random.default_rng(0).integers(0, 4, n_values, np.uint8)
    assert np.array_equal(read(file, form(packed(written))), written)


def test_gzip_of_several_members_is_one_file(file: Path) -> None:
    assert read(file, zipped(header(4)) + zipped(b"\1\2") + zipped(b"\3\4")).tolist() == [1, 2, 3, 4]


@both
@pytest.mark.parametrize("n_dimensions", [1, 64])
def test_as_many_dimensions_as_numpy_has_are_read(file: Path, form: Any, n_dimensions: int) -> None:
    assert read(file, form(header(*[1] * n_dimensions) + b"\7")).shape == (1,) * n_dimensions


@both
@pytest.mark.parametrize("n_dimensions", [0, 65, 255])
def test_no_dimensions_and_too_many_are_refused(file: Path, form: Any, n_dimensions: int) -> None:
    refused = refusal(file, form(header(*[1] * n_dimensions) + b"\7"))
    assert refused.requirement == f"{file} must have from 1 to 64 dimensions"
    assert refused.actual == f"its header says {n_dimensions}"


@both
@pytest.mark.parametrize(
    ("content", "given"),
    [
        (b"", "it is empty"),
        (b"\0", "it begins with 00"),
        (b"\0\0\x08", "it begins with 00 00 08"),
        (b"PK\x03\x04 and so on", "it begins with 50 4b 03 04"),
        (b"\x03\x08\0\0\0\0\0\x01\0", "it begins with 03 08 00 00"),  # the other byte order
        (b"\0\1\x08\1\0\0\0\1\7", "it begins with 00 01 08 01"),
    ],
)
def test_another_beginning_is_refused(file: Path, form: Any, content: bytes, given: str) -> None:
    refused = refusal(file, form(content))
    assert refused.requirement.startswith(f"{file} must be an idx file, which begins with")
    assert refused.actual == given
    assert refused.hint == "the file as it was published, unpacked or as gzip"


@both
@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (0x09, "its type is 0x09, which stands for signed bytes"),
        (0x0D, "its type is 0x0D, which stands for floating-point numbers of 32 bits"),
        (0x07, "its type is 0x07, which is not defined"),
    ],
)
def test_values_of_another_type_are_refused(file: Path, form: Any, kind: int, given: str) -> None:
    refused = refusal(file, form(header(4, kind=kind) + bytes(4)))
    assert refused.requirement == f"{file} must hold unsigned bytes, type 0x08"
    assert refused.actual == given


@both
@pytest.mark.parametrize("n_bytes", [4, 7, 11])
def test_a_header_that_ends_too_early_is_refused(file: Path, form: Any, n_bytes: int) -> None:
    refused = refusal(file, form(header(1, 2)[:n_bytes]))
    assert refused.requirement == f"{file} must hold the sizes of its 2 dimensions"
    assert refused.actual == f"it ends after {n_bytes} bytes"


@both
@pytest.mark.parametrize("shape", [(0,), (0, 28, 28), (0, 2**32 - 1, 2**32 - 1)])
def test_a_file_without_values_is_refused(file: Path, form: Any, shape: tuple[int, ...]) -> None:
    refused = refusal(file, form(header(*shape)))
    assert refused.requirement == f"{file} must hold at least one value"
    assert refused.actual == "its size is " + " x ".join(map(str, shape))


@both
@pytest.mark.parametrize(
    ("n_bytes", "given"),
    [(0, "it holds 0"), (1, "it holds 1"), (5, "it holds 5"), (7, "it holds more"), (2**21, "it holds more")],
)
def test_fewer_and_more_bytes_than_the_header_promises_are_refused(
    file: Path, form: Any, n_bytes: int, given: str
) -> None:
    refused = refusal(file, form(header(2, 3) + bytes(n_bytes)))
    assert refused.requirement == f"{file} must hold the 6 bytes of values that its header promises"
    assert refused.actual == given
    assert refused.hint == FRESH


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content[:-8],
        lambda content: content[: len(content) // 2],
        lambda content: content[:12],
        lambda content: content[:2],
        lambda content: content[:-8] + bytes(8),
        lambda content: content[:10] + b"\xff" * 20,
        lambda content: content + b"more",
    ],
    ids=["1 short", "8 short", "half", "12 bytes", "2 bytes", "wrong check sum", "wrong block", "a tail"],
)
def test_damaged_gzip_is_refused(file: Path, damage: Callable[[bytes], bytes]) -> None:
    content = zipped(packed(np.random.default_rng(0).integers(0, 256, (5, 7, 7), np.uint8)))
    refused = refusal(file, damage(content))
    assert refused.requirement == f"{file} must be an intact gzip file"
    assert refused.actual.startswith("unpacking it failed (")
    assert refused.hint == FRESH


@pytest.mark.parametrize("path", ["absent", "."])
def test_what_is_no_file_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(UserError, match="must be a file that can be read"):
        read_idx(tmp_path / path)


HEADERS = st.builds(
    lambda shape, kind: header(*shape, kind=kind),
    st.lists(st.integers(0, 3) | st.integers(0, 2**32 - 1), max_size=4),
    st.sampled_from([0x08, 0x0D]),
)
CONTENTS = st.builds(lambda start, rest: start + rest, HEADERS | st.just(b""), st.binary(max_size=40))


def require_equal_or_refused(file: Path, content: bytes) -> None:
    try:
        array = read(file, content)
    except UserError:
        return
    assert packed(array) == (gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content)


@settings(max_examples=examples(60))
@given(content=CONTENTS | CONTENTS.map(zipped) | CONTENTS.map(lambda rest: b"\x1f\x8b\x08" + rest))
def test_any_bytes_are_read_as_they_are_or_refused(file: Path, content: bytes) -> None:
    require_equal_or_refused(file, content)


@both
@settings(max_examples=examples(60))
@given(shape=SHAPES, data=st.data())
def test_a_file_that_was_cut_off_changed_or_added_to_is_read_as_it_is_or_refused(
    file: Path, form: Any, shape: list[int], data: st.DataObject
) -> None:
    content = bytearray(form(packed(np.arange(math.prod(shape)).reshape(shape).astype(np.uint8))))
    position = data.draw(st.integers(0, len(content) - 1))
    change = data.draw(st.sampled_from(["cut", "flip", "add"]))
    if change == "cut":
        with pytest.raises(UserError):
            read(file, bytes(content[:position]))
        return
    if change == "flip":
        content[position] ^= 1 << data.draw(st.integers(0, 7))
    else:
        content += data.draw(st.binary(min_size=1, max_size=20))
    require_equal_or_refused(file, bytes(content))


# Memory.


@both
@pytest.mark.parametrize("shape", [(2**20, 2**10, 2**10), (2**31,), (2**32 - 1,) * 4])
def test_a_promise_of_very_many_bytes_takes_no_memory(file: Path, form: Any, shape: tuple[int, ...]) -> None:
    content = form(header(*shape) + bytes(1000))
    assert peak_bytes(lambda: refusal(file, content)) < 1 << 20


def test_no_more_is_unpacked_than_one_byte_beyond_the_promise(file: Path) -> None:
    content = zipped(header(2, 3) + bytes(1 << 24))
    # Whoever unpacks all of it meets the damage.
    assert refusal(file, content[:-20]).actual == "it holds more"
    assert peak_bytes(lambda: refusal(file, content)) < 1 << 21


# The four files.

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 2, 3), np.uint8)
TEST_IMAGES = np.random.default_rng(1).integers(0, 256, (4, 2, 3), np.uint8)
LABELS = np.array([0, 4, 1, 1, 0, 4, 2], np.uint8)
TEST_LABELS = np.array([4, 0, 2, 2], np.uint8)

ARRAYS = {
    ("train", "images"): IMAGES,
    ("train", "labels"): LABELS,
    ("test", "images"): TEST_IMAGES,
    ("test", "labels"): TEST_LABELS,
}


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes the four files, some with other arrays."""

    def write(form: Callable[[bytes], bytes] = plain, **changes: Any) -> Path:
        for (part, content), array in ARRAYS.items():
            changed = np.asarray(changes.get(f"{part}_{content}", array), np.uint8)
            (tmp_path / FILES[part, content]).write_bytes(form(packed(changed)))
        return tmp_path

    return write


def refused_folder(folder: Path | str | None) -> UserError:
    with pytest.raises(UserError) as caught:
        idx_images(None if folder is None else str(folder))
    return caught.value


@both
def test_rows_are_those_for_training_and_then_the_official_test_part(write: Any, form: Any) -> None:
    dataset = idx_images(str(write(form)))
    assert (dataset.name, dataset.kind, dataset.target_name) == ("mnist", "classification", "digit")
    assert dataset.features.dtype == np.uint8
    assert dataset.features.tolist() == [*IMAGES.reshape(7, 6).tolist(), *TEST_IMAGES.reshape(4, 6).tolist()]
    assert dataset.targets.dtype == np.int64
    assert dataset.targets.tolist() == [*LABELS, *TEST_LABELS]
    assert dataset.split_rules.parts is not None
    assert dataset.split_rules.parts.tolist() == [""] * 7 + ["test"] * 4


def test_pixels_are_named_by_row_and_column_from_zero(write: Any) -> None:
    dataset = idx_images(str(write()))
    assert dataset.feature_names == (
        "pixel_0_0", "pixel_0_1", "pixel_0_2", "pixel_1_0", "pixel_1_1", "pixel_1_2",
    )  # fmt: skip
    assert dataset.features[3, dataset.feature_names.index("pixel_1_2")] == IMAGES[3, 1, 2]
    assert {type(text) for text in (*dataset.feature_names, *dataset.class_names)} == {str}


def test_classes_go_up_to_the_largest_label_for_training(write: Any) -> None:
    assert idx_images(str(write())).class_names == ("0", "1", "2", "3", "4")  # 3 has no image
    assert len(idx_images(str(write(train_labels=[0, 4, 255, 1, 0, 4, 2]))).class_names) == 256


def test_there_are_two_classes_at_least(write: Any) -> None:
    assert idx_images(str(write(train_labels=[0] * 7, test_labels=[0] * 4))).class_names == ("0", "1")


def test_another_data_set_has_labels_in_place_of_digits(write: Any) -> None:
    dataset = idx_images(str(write()), name="fashion")
    assert (dataset.name, dataset.target_name) == ("fashion", "label")


@pytest.mark.parametrize(
    ("ending", "form", "dotted"), [(".gz", zipped, False), ("", zipped, True), (".gz", plain, True)]
)
def test_every_spelling_is_found_whatever_the_file_is(write: Any, form: Any, ending: str, dotted: bool) -> None:
    folder = write()
    expected = idx_images(str(folder)).fingerprint
    write(form)
    for name in FILES.values():
        (folder / name).rename(folder / ((name.replace("-idx", ".idx") if dotted else name) + ending))
        if dotted:
            (folder / name).mkdir()  # as some archives have it
    assert {len(path.name) for path in folder.iterdir() if path.is_file()} == {
        len(name + ending) for name in FILES.values()
    }
    assert idx_images(str(folder)).fingerprint == expected


def test_of_two_spellings_the_one_without_gz_is_read(write: Any) -> None:
    folder = write()
    expected = idx_images(str(folder)).fingerprint
    for name in FILES.values():
        (folder / f"{name}.gz").write_bytes(b"something else")
    assert idx_images(str(folder)).fingerprint == expected


def test_the_home_directory_is_found(write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write()
    monkeypatch.setenv("HOME", str(folder.parent))
    assert idx_images(f"~/{folder.name}").fingerprint == idx_images(str(folder)).fingerprint


@pytest.mark.parametrize(("directory", "given"), [(None, "data.directory=null"), ("", "data.directory=''")])
def test_no_directory_is_refused_with_what_to_type(directory: str | None, given: str) -> None:
    refused = refused_folder(directory)
    assert refused.requirement == "data.directory must be the folder with the four idx files"
    assert (refused.actual, refused.hint) == (given, "data.directory=path/to/mnist")


@pytest.mark.parametrize("directory", ["~nobody-of-that-name/mnist", "a\0b", "x" * 5000, "/dev/null/mnist", "absent"])
def test_a_directory_that_cannot_be_is_refused(directory: str) -> None:
    assert refused_folder(directory).requirement == "data.directory must be a folder that exists"


def test_a_file_in_place_of_the_directory_is_refused_with_its_folder(write: Any) -> None:
    folder = write()
    path = folder / FILES["train", "images"]
    refused = refused_folder(path)
    assert (refused.actual, refused.hint) == (f"{path} is a file", f"data.directory={folder}")


@pytest.mark.parametrize("name", FILES.values())
def test_a_missing_file_is_refused_by_name(write: Any, name: str) -> None:
    folder = write()
    (folder / name).unlink()
    refused = refused_folder(folder)
    assert refused.requirement == f"{folder} must hold the file {name}, with or without .gz"
    assert refused.actual == f"there is none, nor {name.replace('-idx', '.idx')}"
    assert refused.hint == f"renaming the file to {name}, or data.directory=path/to/mnist"


@both
def test_images_and_labels_under_each_others_names_are_refused(write: Any, form: Any) -> None:
    folder = write(form, train_labels=IMAGES)
    refused = refused_folder(folder)
    assert refused.requirement == f"{folder / FILES['train', 'labels']} must have 1 dimension, labels"
    assert refused.actual == "its size is 7 x 2 x 3"
    refused = refused_folder(write(form, test_images=TEST_LABELS))
    assert refused.requirement == f"{folder / FILES['test', 'images']} must have 3 dimensions, images, rows, columns"
    assert refused.actual == "its size is 4"
    assert refused.hint == "the file of the images under that name"


@pytest.mark.parametrize(("part", "n_images"), [("train", 7), ("test", 4)])
@pytest.mark.parametrize("n_labels", [5])
def test_as_many_labels_as_images_are_required(write: Any, part: str, n_images: int, n_labels: int) -> None:
    folder = write(**{f"{part}_labels": [0] * n_labels})
    refused = refused_folder(folder)
    labels, images = folder / FILES[part, "labels"], FILES[part, "images"]
    assert refused.requirement == f"{labels} must have one label for each image of {images}"
    assert refused.actual == f"there are {n_labels} labels and {n_images} images"


def test_images_of_two_sizes_are_refused_also_where_they_have_as_many_pixels(write: Any) -> None:
    folder = write(test_images=TEST_IMAGES.reshape(4, 3, 2))
    refused = refused_folder(folder)
    assert refused.requirement.startswith(f"{folder / FILES['test', 'images']} must have images of the size")
    assert refused.requirement.endswith("2 x 3")
    assert refused.actual == "they are 3 x 2"


@pytest.mark.parametrize("label", [3, 255])
def test_a_test_label_that_no_training_image_has_is_refused(write: Any, label: int) -> None:
    folder = write(test_labels=[0, 4, label, 2])
    refused = refused_folder(folder)
    assert refused.requirement.startswith(f"{folder / FILES['test', 'labels']} must only have labels")
    assert refused.actual == f"no training image has label {label}"


@both
def test_a_damaged_file_among_the_four_is_named(write: Any, form: Any) -> None:
    folder = write(form)
    path = folder / FILES["test", "labels"]
    path.write_bytes(path.read_bytes()[:-1])
    assert str(path) in refused_folder(folder).requirement


def test_the_configuration_reads_and_splits_them(write: Any, make_config: Any) -> None:
    n_rows = 50
    folder = write(
        train_images=np.arange(n_rows * 6).reshape(n_rows, 2, 3) % 256, train_labels=np.resize([0, 1, 2, 4], n_rows)
    )
    data = build_data(make_config("data=mnist", f"data.directory={folder}"))
    dataset, split = data.read()
    assert split.test.tolist() == list(range(n_rows, n_rows + 4))
    assert sorted([*split.train, *split.val]) == list(range(n_rows))
    data.setup()
    assert data.part("test")[1].tolist() == TEST_LABELS.tolist()
    assert data.task.feature_names == dataset.feature_names  # type: ignore[attr-defined]


def test_the_configuration_without_a_directory_is_refused(make_config: Any) -> None:
    with pytest.raises(UserError, match=r"try data\.directory=path/to/mnist"):
        build_data(make_config("data=mnist")).read()


needs_mnist = pytest.mark.skipif(not MNIST.is_dir(), reason=f"there is no MNIST in {MNIST}")


@needs_mnist
def test_mnist_is_what_is_known_of_it() -> None:
    dataset = idx_images(str(MNIST))
    assert dataset.features.shape == (70_000, 784)
    assert dataset.class_names == tuple("0123456789")
    assert dataset.target_name == "digit"
    assert (dataset.feature_names[0], dataset.feature_names[28], dataset.feature_names[-1]) == (
        "pixel_0_0", "pixel_1_0", "pixel_27_27",
    )  # fmt: skip
    parts = dataset.split_rules.parts
    assert parts is not None
    assert (parts[:60_000] == "").all()
    assert (parts[60_000:] == "test").all()
    train, test = dataset.targets[:60_000].astype(np.int64), dataset.targets[60_000:].astype(np.int64)
    assert np.bincount(train).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(test).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert train[:5].tolist() == [5, 0, 4, 1, 9]
    # The mean of the pixels for training, of 255.
    mean = dataset.features[:60_000].sum(dtype=np.int64) / (60_000 * 784)
    assert mean / 255 == pytest.approx(0.1307, abs=5e-5)
