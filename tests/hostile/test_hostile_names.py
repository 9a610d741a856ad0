"""Names that come from data: of columns, classes and targets. They stay names wherever they are shown."""

import csv
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest
from inference.small_runs import train_run
from omegaconf import OmegaConf
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from mlplab.errors import UserError, printable
from mlplab.loggers.hyperparameters import log_configuration
from mlplab.loggers.tensorboard import CalmTensorBoardLogger

Command = Callable[..., SimpleNamespace]

HOSTILE = [
    "=cmd|'/C calc'!A0",
    "\x1b[2J\x1b[31mred",
    "[bold red]x[/bold red][/]",
    "$\\frac{$",
    "../../../../tmp/evil",
    "<script>alert(1)</script>",
    ":smile:",
    "\u202egnp.exe",
]


@pytest.fixture(scope="session")
def table(folder: Path) -> Path:
    """Rows whose classes, columns and target have such names."""
    rows = [[f"{n % 7}", f"{(n * 5) % 11}", HOSTILE[n % len(HOSTILE)], f"=ID{n}"] for n in range(240)]
    path = folder / "table.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["=SUM(A1)", "\x1b[2Jcolumn", "@target", "=id"])
        writer.writerows(rows)
    return path


@pytest.fixture(scope="session")
def run(folder: Path, table: Path) -> Path:
    words = ["data=table", f"data.path={table}", "data.target='@target'", "data.drop=['=id']", "callbacks=default"]
    train_run(folder / "named", *words, "logger=tensorboard", "callbacks=default")
    return folder / "named"


def is_clean(text: str) -> bool:
    """Without a character that a terminal acts upon."""
    return not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)


def test_training_writes_only_where_it_does_under_any_names(run: Path, folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} >= {"named", "table.csv"}
    assert not list(folder.rglob("*evil*"))
    assert (run / "figures" / "confusion_matrix.png").is_file()


def test_no_control_character_reaches_the_terminal_or_the_log(
    run: Path, table: Path, tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["data=table", f"data.path={table}", "data.target='@target'", "data.drop=['=id']"]
    train_run(tmp_path / "run", *words)
    printed = capsys.readouterr()
    assert is_clean(printed.out)
    assert r"\x1b[2Jcolumn" in printed.out
    assert "[bold red]x[/bold red][/]" in printed.out  # markup is shown, not followed
    assert ":smile:" in printed.out
    assert is_clean((tmp_path / "run" / "train.log").read_text())
    for done in (
        command("evaluate", f"run={run}", f"out={tmp_path / 'evaluation'}"),
        command("predict", f"run={run}", f"data.path={table}", f"out={tmp_path / 'out.csv'}"),
        command("predict", f"run={run}", f"data.path={table}", "id=\x1b[2Jnone", f"out={tmp_path / 'other.csv'}"),
    ):
        assert is_clean(done.out + done.err), done


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("plain ünïcode 漢字 – 3 m²", "plain ünïcode 漢字 – 3 m²"),
        ("a\x1b[31mb", r"a\x1b[31mb"),
        ("a\nb\rc\td", r"a\nb\rc\td"),
        ("\u202eabc", r"\u202eabc"),
        ("a\u2028b", r"a\u2028b"),
        ("no\u00a0break", "no\u00a0break"),
    ],
)
def test_what_a_terminal_would_act_upon_is_shown_as_its_code(given: str, shown: str) -> None:
    assert printable(given) == shown
    assert printable(UserError("x must hold", f"x={given}", "y")) == f"x must hold, got {shown}; try y"


def cells(path: Path) -> list[str]:
    with path.open(newline="") as file:
        return [cell for row in csv.reader(file, delimiter="\t" if path.suffix == ".tsv" else ",") for cell in row]


@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_no_cell_of_predictions_begins_as_a_formula(
    run: Path, table: Path, tmp_path: Path, command: Command, ending: str
) -> None:
    out = tmp_path / f"out.{ending}"
    done = command("predict", f"run={run}", f"data.path={table}", f"out={out}", "id==id", "proba=true")
    assert done.status == 0, done
    found = cells(out)
    assert found[0] == "'=id"
    assert "'=ID7" in found
    assert not [cell for cell in found if cell[:1] in "=@+\t\r" and cell]
    assert re.search(r"note    [0-9,]+ values begin like a formula: written with ' before", done.out)


def test_formulas_can_be_left_as_they_are(run: Path, table: Path, tmp_path: Path, command: Command) -> None:
    done = command("predict", f"run={run}", f"data.path={table}", f"out={tmp_path}/out.csv", "id==id", "formulas=true")
    assert done.status == 0, done
    assert "=ID7" in cells(tmp_path / "out.csv")
    assert "begin" not in done.out
    parquet = tmp_path / "out.parquet"
    assert command("predict", f"run={run}", f"data.path={table}", f"out={parquet}", "id==id").status == 0
    assert "=ID7" in pl.read_parquet(parquet)["=id"].to_list()


def test_numbers_are_no_formulas() -> None:
    from mlplab.inference.output_files import without_formulas

    numbers = ["-1", "+1", "-0.5", "+1e-3", "-,5", "-5%"]
    formulas = ["=1", "-1+2", "+A1", "@x", "\t=1", "\r=1", "＝1", "-"]
    frame, count = without_formulas(pl.DataFrame({"class": [*numbers, *formulas, "plain", None, "a=b"]}))
    assert count == len(formulas)
    assert frame["class"].to_list() == [*numbers, *(f"'{text}" for text in formulas), "plain", None, "a=b"]


def test_no_value_leaves_its_block_in_tensorboards_markdown(tmp_path: Path) -> None:
    hostile = [
        "a\n\n# heading",
        "b\r\n<script>alert(1)</script>",
        "c\u2028d",
        "e\x85f",
        "```",
        "[x](javascript:alert(1))",
    ]
    logger = CalmTensorBoardLogger(str(tmp_path))
    log_configuration([logger], OmegaConf.create({"data": {"unit": hostile[0], "more": hostile}}))
    logger.finalize("success")
    (path,) = tmp_path.glob("events.out.tfevents.*")
    texts = [
        value.tensor.string_val[0].decode()
        for event in EventFileLoader(str(path)).Load()
        for value in event.summary.value
        if value.tag == "config/text_summary"
    ]
    (text,) = texts
    lines = re.split(r"[\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]", text.rstrip("\n"))
    assert len(lines) > 5
    assert all(line.startswith("    ") for line in lines)
