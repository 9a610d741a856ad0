"""Jobs known by their values, whatever their spelling and order; a file that is whole, or told."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from drawn import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlplab.config.differing import MOST_SHOWN, require_same
from mlplab.errors import UserError
from mlplab.sweeps.job_values import canonical, key_of
from mlplab.sweeps.ledger import FILE, Entry, Ledger, read_ledger

PLAIN = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5))
VALUES = st.recursive(
    PLAIN, lambda part: st.one_of(st.lists(part, max_size=3), st.dictionaries(st.text(max_size=3), part, max_size=3)),
    max_leaves=6,
)  # fmt: skip
FINITE = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.floats(-1e300, 1e300), st.text(max_size=5)),
    lambda part: st.lists(part, max_size=3),
    max_leaves=6,
)


def entry(number: int, **values: Any) -> Entry:
    return Entry(number, f"{number}_job", values, [f"{name}={value}" for name, value in values.items()])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"lr": 0.001}, {"lr": 1e-3}),
        ({"lr": 1}, {"lr": 1.0}),
        ({"a": 1, "b": "x"}, {"b": "x", "a": 1}),
        ({"dims": [64, 32]}, {"dims": [64.0, 32]}),
        ({"x": {"a": 1, "b": [2]}}, {"x": {"b": [2.0], "a": 1}}),
    ],
)
def test_values_that_are_the_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert key_of(one) == key_of(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"x": 1}, {"x": True}),
        ({"x": 0}, {"x": None}),
        ({"x": "1"}, {"x": 1}),
        ({"x": "null"}, {"x": None}),
        ({"x": [1, 2]}, {"x": [2, 1]}),
        ({"x": ["1,2"]}, {"x": ["1", "2"]}),
        ({"x": [[1], [2]]}, {"x": [[1, 2]]}),
        ({"x": 1}, {"y": 1}),
        ({"x": 1}, {"x": 1, "y": None}),
        ({"x": 0.1}, {"x": 0.1 + 1e-17 + 1e-16}),
    ],
)
def test_values_that_are_not(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert key_of(one) != key_of(other)


@given(VALUES)
def test_a_value_stays_itself_through_the_file(value: Any) -> None:
    assert canonical(json.loads(json.dumps(value))) == canonical(value)


@given(FINITE, FINITE)
def test_values_are_one_exactly_where_they_are_equal(one: Any, other: Any) -> None:
    def typed(value: Any) -> Any:
        if isinstance(value, list):
            return ["list", *map(typed, value)]
        kind = "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__
        return (kind, value)

    assert (canonical(one) == canonical(other)) == (typed(one) == typed(other))


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(0, 3), min_size=1), max_size=12), st.randoms())
def test_jobs_are_found_by_their_values_alone(jobs: list[dict[str, int]], random: Any) -> None:
    ledger = Ledger(Path("nowhere"))
    for values in jobs:
        if ledger.find(values) is None:
            ledger.add(entry(ledger.next_number(), **values))
    assert [e.number for e in ledger.entries] == list(range(len({tuple(sorted(v.items())) for v in jobs})))
    for values in jobs:
        names = list(values)
        random.shuffle(names)
        found = ledger.find({name: float(values[name]) for name in names})
        assert found is not None
        assert found.values == values


def test_a_job_is_looked_for_within_its_stage_and_arm() -> None:
    ledger = Ledger(Path("nowhere"))
    search = ledger.add(Entry(0, "0", {"seed": 0}, [], arm="sgd"))
    rerun = ledger.add(Entry(1, "1", {"seed": 0}, [], arm="sgd", stage="rerun"))
    assert ledger.find({"seed": 0}, stage="rerun") is rerun
    assert ledger.find({"seed": 0}, arm="sgd", stage="search") is search
    assert ledger.find({"seed": 0}, arm="adam") is None


def test_a_job_that_is_given_a_new_name_is_found_by_it() -> None:
    ledger = Ledger(Path("nowhere"), [entry(0, seed=0)])
    assert ledger.find({"seed": 0}) is not None
    ledger.extend_values(ledger.entries[0], {"lr": 0.1})
    assert ledger.names == ["seed", "lr"]
    assert ledger.find({"seed": 0}) is None
    assert ledger.find({"lr": 0.1, "seed": 0}) is ledger.entries[0]


def test_what_is_saved_is_read_again(tmp_path: Path) -> None:
    assert read_ledger(tmp_path) is None
    metadata = {
        "name": "study",
        "commands": ["python train.py -m"],
        "space": {"lr": {"kind": "choice", "values": [0.1]}},
    }
    jobs = [entry(0, lr=0.1), Entry(3, "3_x", {"lr": None}, ["lr=null"], "sgd", "rerun", 7)]
    ledger = Ledger(tmp_path, jobs, ["data=wine"], {"0": {"seed": 0}}, metadata)
    ledger.save()
    assert read_ledger(tmp_path) == ledger
    assert ledger.next_number() == 4


def content(**changes: Any) -> dict[str, Any]:
    job = {"number": 0, "directory": "0_x", "values": {"seed": 0}, "overrides": ["seed=0"]}
    return {"format": 1, "jobs": [job], "constants": [], "configs": {"0": {}}, **changes}


@pytest.mark.parametrize(
    "damaged",
    [
        content(format=2),
        content(jobs={}),
        content(jobs=[3]),
        content(jobs=[{}]),
        content(jobs=[{"number": "0", "directory": "x", "values": {}, "overrides": []}]),
        content(jobs=[{"number": 0, "directory": "../x", "values": {}, "overrides": []}]),
        content(jobs=[{"number": 0, "directory": "/x", "values": {}, "overrides": []}], configs={}),
        content(jobs=[{"number": 0, "directory": "..", "values": {}, "overrides": []}]),
        content(jobs=[{"number": 0, "directory": "x", "values": [], "overrides": []}]),
        content(jobs=[{"number": 0, "directory": "x", "values": {}, "overrides": [3]}]),
        content(jobs=[{"number": 0, "directory": "x", "values": {}, "overrides": [], "more": 1}]),
        content(jobs=[*content()["jobs"], {**content()["jobs"][0], "number": 1}]),
        content(jobs=[*content()["jobs"], {**content()["jobs"][0], "directory": "y"}]),
        content(configs={"5": {}}),
        content(configs=[]),
        content(constants="data=wine"),
        content(seconds="long"),
        content(commands=[3]),
        content(space=[]),
        [],
        None,
        "sweep",
    ],
)
def test_what_no_sweep_wrote_is_told_in_one_line(tmp_path: Path, damaged: Any) -> None:
    (tmp_path / FILE).write_text(json.dumps(damaged))
    with pytest.raises(UserError, match=r"sweep\.json must be readable, but .*; try .* another sweep.name") as told:
        read_ledger(tmp_path)
    assert "\n" not in str(told.value)
    assert json.loads((tmp_path / FILE).read_text()) == damaged


@given(st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(150))
def test_no_damage_is_anything_but_told(tmp_path: Path, data: st.DataObject) -> None:
    text = json.dumps(content()).encode()
    position = data.draw(st.integers(0, len(text)))
    damaged = data.draw(
        st.sampled_from([text[:position], text[:position] + data.draw(st.binary(max_size=3)) + text[position + 1 :]])
    )
    (tmp_path / FILE).write_bytes(damaged)
    try:
        ledger = read_ledger(tmp_path)
    except UserError:
        return
    assert ledger is not None
    assert all(Path(e.directory).name == e.directory for e in ledger.entries)


def test_thousands_of_jobs_are_found_within_a_second() -> None:
    ledger = Ledger(Path("nowhere"))
    for seed in range(3000):
        if ledger.find({"seed": seed, "lr": 0.1}) is None:
            ledger.add(Entry(len(ledger.entries), str(seed), {"seed": seed, "lr": 0.1}, []))
    counted = 0

    class Counted(dict[str, Any]):
        def items(self) -> Any:
            nonlocal counted
            counted += 1
            return super().items()

    ledger = Ledger(Path("nowhere"), [Entry(e.number, e.directory, Counted(e.values), []) for e in ledger.entries])
    for seed in range(3000):
        assert ledger.find({"lr": 0.1, "seed": seed}) is not None
    assert counted == 3000  # each job is looked at once, not once for each that is looked for


def signed(directory: Path) -> Ledger:
    ledger = Ledger(directory, [entry(0, seed=0)], metadata={"commands": ["python train.py -m seed=0"], "folder": "/x"})
    ledger.save()
    return ledger


def test_ones_own_sweep_is_known_as_such_where_it_grows(tmp_path: Path) -> None:
    ledger = signed(tmp_path)
    ledger.add(entry(1, seed=1))
    ledger.metadata["seconds"] = 3.0
    ledger.save()
    again = read_ledger(tmp_path)
    assert again is not None
    assert again.why_not_own is None
    assert "signature" not in again.metadata


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda content: content["commands"].append("x"), "it was changed"),
        (lambda content: content.update(folder="/y"), "it was changed"),
        (lambda content: content["jobs"][0]["overrides"].append("x=1"), "it was changed"),
        (lambda content: content.pop("signature"), "was not signed"),
        (lambda content: content.update(signature="0" * 64), "somebody else signed it"),
        (lambda content: content.update(signature=3), "somebody else signed it"),
    ],
)
def test_a_changed_or_received_sweep_is_told_from_ones_own_and_never_signed(
    tmp_path: Path, change: Callable[[Any], Any], reason: str
) -> None:
    signed(tmp_path)
    content = json.loads((tmp_path / "sweep.json").read_text())
    change(content)
    (tmp_path / "sweep.json").write_text(json.dumps(content))  # in the same file
    ledger = read_ledger(tmp_path)
    assert ledger is not None
    assert reason in str(ledger.why_not_own)
    ledger.save()
    assert "signature" not in json.loads((tmp_path / "sweep.json").read_text())


def test_a_copy_of_ones_own_sweep_is_none(tmp_path: Path) -> None:
    signed(tmp_path)
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "sweep.json").write_bytes((tmp_path / "sweep.json").read_bytes())
    copy = read_ledger(tmp_path / "copy")
    assert copy is not None
    assert "copied" in str(copy.why_not_own)


THEN = {"seed": 0, "optimizer": {"lr": 0.1, "betas": [0.9, 0.999]}, "trainer": {"max_epochs": 4, "threads": "auto"}}


@pytest.mark.parametrize(
    "now",
    [
        THEN,
        {**THEN, "paths": {"logs": "elsewhere"}},
        {**THEN, "sweep": {"retry_failed": True}},
        {**THEN, "trainer": {"max_epochs": 4, "threads": 2}},
        {**THEN, "trainer": {"max_epochs": 4}},
        {**THEN, "callbacks": {"progress": None}},
    ],
)
def test_where_it_lies_and_how_many_cores_it_takes_may_differ(now: dict[str, Any]) -> None:
    require_same(THEN, now, "0_seed-0")


@pytest.mark.parametrize(
    ("now", "says"),
    [
        ({**THEN, "seed": 1}, "0_seed-0: seed=1 instead of 0"),
        ({**THEN, "seed": False}, "0_seed-0: seed=false instead of 0"),
        ({**THEN, "optimizer": {"lr": 0.1, "betas": [0.9, 0.99]}}, "optimizer.betas=[0.9,0.99] instead of [0.9,0.999]"),
        ({**THEN, "trainers": {"max_epochs": 4}}, "trainers.max_epochs=4 instead of nothing"),
        ({"seed": 0, "trainer": THEN["trainer"]}, "optimizer.lr=nothing instead of 0.1"),
        ({**THEN, "trainer": {"max_epochs": 4, "threads_more": 1}}, "trainer.threads_more=1 instead of nothing"),
    ],
)
def test_anything_else_is_refused_with_the_difference(now: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError) as told:
        require_same(THEN, now, "0_seed-0")
    assert says in str(told.value)
    assert str(told.value).endswith("; try another sweep.name")


def test_of_many_differences_some_are_shown() -> None:
    with pytest.raises(UserError) as told:
        require_same({}, {f"name_{i}": i for i in range(20)}, "0")
    assert str(told.value).count("instead of") == MOST_SHOWN
    assert "and 12 more" in str(told.value)
