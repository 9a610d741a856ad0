import json
import math
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlplab.cli.script import (
    EXIT_INTERRUPTED,
    EXIT_REFUSED,
    JSON,
    Option,
    Result,
    help_for,
    parse_options,
    run_script,
)
from mlplab.errors import UserError
from mlplab.parts import PARTS
from mlplab.runs.trust import PROJECT

OPTIONS = {
    "run": Option("path", example="logs/runs/NAME", is_required=True),
    "data.path": Option("path", example="rows.csv"),
    "format": Option(choices=("onnx", "torch_export"), default="onnx"),
    "rows": Option("count", 5, example="100"),
    "proba": Option("switch", False),
    "id": Option(example="COLUMN"),
}


def refusal_of(*typed: str) -> UserError:
    with pytest.raises(UserError) as refusal:
        parse_options(typed, OPTIONS)
    return refusal.value


def test_classes_beside_train_py_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(PROJECT)])
    monkeypatch.setattr(sys, "argv", ["evaluate.py"])
    for _ in range(2):
        assert run_script(lambda settings: 0, {}, "") == 0
    assert sys.path[-1] == str(PROJECT)
    assert sys.path.count(str(PROJECT)) == 1


def test_what_is_not_typed_has_its_default() -> None:
    assert parse_options(["run=a/b"], OPTIONS) == {
        "run": Path("a/b"),
        "data.path": None,
        "format": "onnx",
        "rows": 5,
        "proba": False,
        "id": None,
    }


def test_every_kind_is_read_in_any_order() -> None:
    typed = ["id=a column", "proba=true", "rows=12", "format=torch_export", "data.path=x y.csv", "run=."]
    assert parse_options(typed, OPTIONS) == {
        "run": Path("."),
        "data.path": Path("x y.csv"),
        "format": "torch_export",
        "rows": 12,
        "proba": True,
        "id": "a column",
    }


def test_only_the_first_equals_sign_divides() -> None:
    assert parse_options(["run=a", "id=b=c=d"], OPTIONS)["id"] == "b=c=d"


def test_the_latest_run_need_not_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlplab.cli.script.PROJECT", tmp_path)
    runs, options = tmp_path / "logs" / "runs", {"run": Option("path")}
    with pytest.raises(UserError, match="run=latest must find a run"):
        parse_options(["run=latest"], options)
    for name in ("2026-01-01", "2026-01-02"):
        (runs / name / ".hydra").mkdir(parents=True)
        (runs / name / ".hydra" / "config.yaml").touch()
    (runs / "2026-01-03").mkdir()  # a folder that holds no run
    assert parse_options(["run=latest"], options) == {"run": runs / "2026-01-02"}


def test_a_tilde_is_the_home_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert parse_options(["run=~/runs"], OPTIONS)["run"] == Path("/home/somebody/runs")


@pytest.mark.parametrize(
    ("typed", "remedy"),
    [
        ("prob=true", "proba=true"),
        ("probaa=true", "proba=true"),
        ("path=a.csv", "data.path=a.csv"),
        ("Run=a", "run=a"),
        ("id", "id=COLUMN"),
        ("--run", "run=logs/runs/NAME"),
        ("xyz=1", "leaving it out, or --help"),
        ("", "leaving it out, or --help"),
    ],
)
def test_an_unknown_word_is_refused_with_the_nearest(typed: str, remedy: str) -> None:
    refusal = refusal_of("run=a", typed)
    assert refusal.requirement == "options must be run=…, data.path=…, format=…, rows=…, proba=…, id=…"
    assert (refusal.actual, refusal.hint) == (typed, remedy)


def test_a_word_that_is_there_twice_is_refused_also_with_the_same_value() -> None:
    for typed in (["id=a", "id=a"], ["id=a", "run=b", "id=c"]):
        assert refusal_of(*typed).requirement == "id must be given once"


def test_a_word_that_is_needed_and_not_there_is_refused() -> None:
    assert refusal_of("id=a").hint == refusal_of("xyz=1").hint == "run=logs/runs/NAME"
    assert refusal_of().actual == "no run=…"


@pytest.mark.parametrize("value", ["True", "1", ""])
def test_a_switch_is_true_or_false(value: str) -> None:
    assert refusal_of("run=a", f"proba={value}").requirement == "proba must be true or false"


def test_a_switch_can_be_typed_off() -> None:
    assert parse_options(["run=a", "proba=false"], OPTIONS)["proba"] is False


@pytest.mark.parametrize(
    ("value", "nearest"), [("onx", "onnx"), ("torch", "torch_export"), ("", "onnx"), ("zzz", "onnx"), ("ONNX", "onnx")]
)
def test_a_choice_is_one_of_its_choices(value: str, nearest: str) -> None:
    assert refusal_of("run=a", f"format={value}").hint == f"format={nearest}"


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "", "²"])
def test_a_count_is_a_positive_integer(value: str) -> None:
    refusal = refusal_of("run=a", f"rows={value}")
    assert (refusal.requirement, refusal.hint) == ("rows must be a positive integer", "rows=100")


@pytest.mark.parametrize("name", ["run", "data.path", "id"])
def test_a_word_without_a_value_is_refused(name: str) -> None:
    assert refusal_of(*{"run=a", f"{name}="} - ({"run=a"} if name == "run" else set())).actual == f"{name}="


@given(st.lists(st.one_of(st.sampled_from([f"{name}=" for name in OPTIONS]), st.text()).flatmap(
    lambda start: st.text().map(lambda rest: start + rest)
)))  # fmt: skip
def test_whatever_is_typed_is_read_or_refused(typed: list[str]) -> None:
    try:
        settings = parse_options(typed, OPTIONS)
    except UserError:
        return
    assert settings.keys() == OPTIONS.keys()


HELP = """Does it.

    python scripts/do.py run=a
    python scripts/do.py run=a data.path=b.csv

    run=DIRECTORY      of the run
    data.path=FILE     rows; without it,
                       others
    data.quote=…       how they are written
    out=FILE           where
    --json             as JSON

More.
"""


def test_an_option_of_a_part_that_was_left_out_is_refused_and_missing_in_the_help(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = {
        "run": Option("path"), "data.path": Option("path", part="tables"), "data.quote": Option(), "out": Option(),
    }  # fmt: skip
    # The place of a part decides whether it is there.
    monkeypatch.setitem(PARTS, "tables", "config")
    assert help_for(HELP, options) == HELP.strip()
    monkeypatch.setitem(PARTS, "tables", "gone")
    del options["data.quote"]
    lines = HELP.strip().splitlines()
    assert help_for(HELP, options).splitlines() == [*lines[:3], *lines[4:6], *lines[9:]]
    with pytest.raises(UserError, match=r"must have its part 'tables' for data\.path=b\.csv"):
        parse_options(["data.path=b.csv"], options)
    with pytest.raises(UserError, match=r"options must be run=…, out=…, got data\.quote=x"):
        parse_options(["data.quote=x"], options)


# Running.


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., int]]:
    """Runs a script within this process, and puts the signal handlers back."""
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]

    def script(main: Callable[[dict[str, Any]], None], *typed: str) -> int:
        monkeypatch.setattr(sys, "argv", ["scripts/do.py", *typed])
        return run_script(main, OPTIONS, "What it does.\n\n    run=DIRECTORY\n")

    yield script
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def nothing(settings: dict[str, Any]) -> None:
    pass


def forbidden(settings: dict[str, Any]) -> None:
    raise AssertionError("it was run")


def test_a_script_that_succeeds_gives_0_and_says_nothing_by_itself(run: Callable[..., int], capsys: Any) -> None:
    seen: list[dict[str, Any]] = []
    assert run(seen.append, "run=a") == 0
    assert seen[0]["run"] == Path("a")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("typed", [["--help"], ["-h"], ["run=a", "--help"], ["nonsense", "--help"]])
def test_help_is_shown_and_nothing_is_run(run: Callable[..., int], capsys: Any, typed: list[str]) -> None:
    assert run(forbidden, *typed) == 0
    assert capsys.readouterr() == ("What it does.\n\n    run=DIRECTORY\n", "")


def test_a_mistake_on_the_command_line_is_one_line_and_2_and_nothing_is_run(
    run: Callable[..., int], capsys: Any
) -> None:
    assert run(forbidden, "rnu=a") == EXIT_REFUSED == 2
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.startswith("do.py: options must be run=…")
    assert errors.endswith("got rnu=a; try run=a\n")
    assert errors.count("\n") == 1


def test_a_refusal_is_one_line_and_2(run: Callable[..., int], capsys: Any) -> None:
    def refuse(settings: dict[str, Any]) -> None:
        raise UserError("it must be this", "that", "this")

    assert run(refuse, "run=a") == 2
    assert capsys.readouterr() == ("", "do.py: it must be this, got that; try this\n")


def test_a_fault_of_our_own_keeps_its_traceback(run: Callable[..., int]) -> None:
    def fail(settings: dict[str, Any]) -> None:
        raise ValueError("a fault")

    with pytest.raises(ValueError, match="a fault"):
        run(fail, "run=a")


def test_ctrl_c_is_one_line_and_130(run: Callable[..., int], capsys: Any) -> None:
    def interrupted(settings: dict[str, Any]) -> None:
        signal.raise_signal(signal.SIGINT)

    assert run(interrupted, "run=a") == EXIT_INTERRUPTED == 130
    assert capsys.readouterr() == ("", "do.py: stopped by Ctrl-C\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_termination_and_a_closed_terminal_unwind(run: Callable[..., int], number: signal.Signals) -> None:
    unwound = []

    def terminated(settings: dict[str, Any]) -> None:
        assert callable(signal.getsignal(number))  # or the tests themselves would end here
        try:
            signal.raise_signal(number)
        finally:
            unwound.append(True)

    assert run(terminated, "run=a") == 128 + number
    assert unwound == [True]


def test_what_nohup_has_switched_off_stays_off(run: Callable[..., int]) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    assert run(nothing, "run=a") == 0
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_words_are_read_before_anything_heavy_is_imported() -> None:
    heavy = "{'torch', 'lightning', 'polars', 'numpy', 'hydra'}"
    code = f"import sys, mlplab.cli.script; assert not {heavy} & set(sys.modules), set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def answer(settings: dict[str, Any]) -> Result:
    print("on the way")
    return Result("rows  3", {"rows": 3, "loss": math.nan, "name": "é", "run": str(settings["run"])}, 1)


@pytest.mark.parametrize("flags", [["--json"], ["--json", "--json"]])
@pytest.mark.parametrize("is_first", [True, False])
def test_json_is_one_document_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], flags: list[str], is_first: bool
) -> None:
    words = ["run=here"]
    monkeypatch.setattr(sys, "argv", ["scripts/x.py", *(flags + words if is_first else words + flags)])
    assert run_script(answer, {"run": Option("path"), **JSON}, "help") == 1
    out, errors = capsys.readouterr()
    content = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert content == {"rows": 3, "loss": None, "name": "é", "run": "here"}
    assert errors == "on the way\n"


def test_without_it_the_text_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["scripts/x.py", "run=here"])
    assert run_script(answer, {"run": Option("path"), **JSON}, "help") == 1
    assert capsys.readouterr().out == "on the way\nrows  3\n"


@pytest.mark.parametrize("typed", ["--jsn", "--json=true", "json", "-j"])
def test_flags_that_are_none_are_refused(typed: str) -> None:
    with pytest.raises(UserError, match=r"options must be run=…, --json, got .*; try "):
        parse_options([typed], {"run": Option("path"), **JSON})


def test_scripts_that_do_not_answer_have_no_json() -> None:
    with pytest.raises(UserError, match="got --json"):
        parse_options(["--json"], {"run": Option("path")})


def test_leaving_does_what_was_registered_and_keeps_the_status() -> None:
    status = 3
    code = (
        "import atexit, sys, threading, time\nsys.modules['torch'] = sys\n"  # as if it were imported
        "from mlplab.cli.script import exit_fast\n"
        "atexit.register(print, 'registered')\n"
        "threading.Thread(target=lambda: (time.sleep(0.2), print('thread'))).start()\n"
        f"print('work')\nexit_fast({status})"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout.split(), done.stderr) == (status, ["work", "thread", "registered"], "")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/dev/full", "the disk must have free space, but [Errno 28] No space left on device"),
        ("/", "a file must not be a folder, but [Errno 21] Is a directory: '/'; try the name of a file in it"),
        ("/nothing/here", "files and their folders must exist, but [Errno 2]"),
        ("/dev/null/here", "a folder must not be a file, but [Errno 20]"),
        ("/" + "a" * 300, "file names must not be too long for the disk, but [Errno 36]"),
    ],
)
def test_what_cannot_be_written_says_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], path: str, message: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["scripts/some.py"])
    assert run_script(lambda settings: Path(path).write_bytes(b"1"), {}, None) == 2
    assert capsys.readouterr().err.startswith(f"some.py: {message}")
