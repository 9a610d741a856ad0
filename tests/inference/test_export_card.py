from pathlib import Path
from typing import Any

import pytest
from inference.small_runs import TOWNS, change_card, houses, save_run, table_options, write_houses, write_images

from mlplab.inference.export_card import describe_export
from mlplab.inference.trained import load_run


@pytest.fixture(scope="module")
def table_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_houses(tmp_path_factory.mktemp("card") / "houses.csv")


def card_of(directory: Path, options: dict[str, Any], **more: Any) -> dict[str, Any]:
    return describe_export(load_run(save_run(directory, options, **more)), "onnx")


def test_a_table_takes_numbers_and_the_numbers_of_categories(table_file: Path, tmp_path: Path) -> None:
    card = card_of(tmp_path / "run", table_options(table_file))
    numeric, categorical = card["inputs"]
    zone = "in UTC, where the zone is given"
    assert (numeric["name"], numeric["dtype"], numeric["shape"]) == ("numeric", "float64", ["rows", 6])
    assert numeric["missing"] == "NaN"
    assert numeric["columns"] == [
        {"column": "length"},
        {"column": "gap"},
        *(
            {"column": "when", "part": part, "counted": counted, "zone": zone, "date_format": "%Y-%m-%d %H:%M"}
            for part, counted in (
                ("month", "1 to 12"), ("day", "1 to 31"), ("weekday", "1 (Monday) to 7"), ("hour", "0 to 23"),
            )
        ),
    ]  # fmt: skip
    assert (categorical["name"], categorical["dtype"], categorical["shape"]) == ("categorical", "int64", ["rows", 3])
    colour, town, flag = categorical["columns"]
    # Training missed no colour: a missing one is as an unknown one. Of the towns it missed some: a level of its own.
    assert colour == {"column": "colour", "levels": {"blue": 1, "green": 2, "red": 3}, "missing": 0, "unknown": 0}
    assert town["levels"] == {name: number for number, name in enumerate(TOWNS, 1)}
    assert (town["missing"], town["unknown"]) == (15, 0)
    assert flag["levels"] == {"false": 1, "true": 2}


def test_a_classification_gives_probabilities_of_its_classes(table_file: Path, tmp_path: Path) -> None:
    card = card_of(tmp_path / "run", table_options(table_file))
    assert (card["task"], card["target"], card["format"], card["run"]) == ("classification", "kind", "onnx", "run")
    assert card["outputs"] == [
        {
            "name": "probabilities",
            "shape": ["rows", 3],
            "classes": ["large, old", "medium", "small"],
            "dtype": "float32",
        }
    ]


def test_a_regression_gives_values_in_a_unit(table_file: Path, tmp_path: Path) -> None:
    card = card_of(tmp_path / "run", table_options(table_file, "price", unit="€"))
    assert (card["task"], card["target"]) == ("regression", "price")
    assert card["outputs"] == [{"name": "values", "shape": ["rows", 1], "unit": "€", "dtype": "float32"}]


def test_one_logit_still_gives_two_probabilities(table_file: Path, tmp_path: Path) -> None:
    card = card_of(tmp_path / "run", table_options(table_file, "binary"), loss="binary_cross_entropy")
    assert card["outputs"][0]["shape"] == ["rows", 2]
    assert card["outputs"][0]["classes"] == ["cheap", "dear"]


def test_bundled_data_take_doubles_and_images_take_bytes(tmp_path: Path) -> None:
    (features,) = card_of(tmp_path / "iris", {"name": "iris"}, source="mlplab.data.bundled.bundled")["inputs"]
    assert (features["name"], features["dtype"], features["shape"]) == ("features", "float64", ["rows", 4])
    assert len(features["columns"]) == 4
    images = {"directory": str(write_images(tmp_path / "idx"))}
    (features,) = card_of(tmp_path / "images", images, source="mlplab.data.idx.idx_images")["inputs"]
    assert (features["dtype"], features["shape"]) == ("uint8", ["rows", 20])
    assert features["columns"][:2] == ["pixel_0_0", "pixel_0_1"]


def test_a_table_of_one_kind_of_columns_has_an_input_without_columns(tmp_path: Path) -> None:
    houses().select("length", "binary").write_csv(tmp_path / "numbers.csv")
    card = card_of(tmp_path / "run", {"path": str(tmp_path / "numbers.csv"), "target": "binary"})
    assert [one["shape"] for one in card["inputs"]] == [["rows", 1], ["rows", 0]]


def test_features_without_names_have_none_in_the_card(tmp_path: Path) -> None:
    directory = save_run(tmp_path / "run", {"name": "iris"}, source="mlplab.data.bundled.bundled")
    change_card(directory, ("task", "feature_names"), [])
    (features,) = describe_export(load_run(directory), "onnx")["inputs"]
    assert (features["columns"], features["shape"]) == ([], ["rows", 4])


def test_the_network_is_described(table_file: Path, tmp_path: Path) -> None:
    card = card_of(tmp_path / "run", table_options(table_file), activation="gelu", hidden_dims=[3])
    assert card["network"]["name"] == "mlp"
    assert card["network"]["architecture"]["activation"] == "gelu"
    assert card["network"]["architecture"]["hidden_dims"] == [3]
