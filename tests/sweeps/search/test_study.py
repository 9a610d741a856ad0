"""The search against Optuna used directly, and after interruptions of every kind."""

import itertools
import math
import pickle
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from slow_cases import slow, slow_but

from mlplab.errors import UserError
from mlplab.sweeps.overrides import Dimension
from mlplab.sweeps.search.outcomes import Outcome
from mlplab.sweeps.search.samplers import build_sampler
from mlplab.sweeps.search.space import Space, space_of
from mlplab.sweeps.search.study import JOURNAL, Proposal, Search, mend_journal, open_journal

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")

SEED = 3

LR = Dimension("lr", "lr", interval=(1e-5, 1e-1), is_log=True)
WIDTH = Dimension("width", "width", interval=(4, 64), is_int=True)
OPTIMIZER = Dimension("optimizer", "optimizer", ("sgd", "adam"), ("sgd", "adam"))
MOMENTUM = Dimension("momentum", "momentum", interval=(0.0, 0.99))
DEPTH = Dimension("depth", "depth", (1, 2, 3), ("1", "2", "3"), step=1.0)
CONDITIONAL = space_of([OPTIMIZER, LR, MOMENTUM, WIDTH, DEPTH], {"momentum": {"optimizer": ["sgd"]}})
GRID = space_of([OPTIMIZER, Dimension("rate", "rate", (0.1, 0.01, 0.001), ("0.1", "0.01", "0.001")), DEPTH], {})

OPTUNAS_OWN = {
    "tpe": lambda: optuna.samplers.TPESampler(seed=SEED),
    "random": lambda: optuna.samplers.RandomSampler(seed=SEED),
    "qmc": lambda: optuna.samplers.QMCSampler(seed=SEED, scramble=True, warn_independent_sampling=False),
    "cmaes": lambda: optuna.samplers.CmaEsSampler(seed=SEED, warn_independent_sampling=False),
    "nsgaii": lambda: optuna.samplers.NSGAIISampler(seed=SEED, population_size=6),
    "gp": lambda: optuna.samplers.GPSampler(seed=SEED, n_startup_trials=12, warn_independent_sampling=False),
    "grid": lambda: optuna.samplers.GridSampler(
        {"optimizer": ["sgd", "adam"], "rate": [0.1, 0.01, 0.001], "depth": [1, 2, 3]}, seed=SEED
    ),
}
OPTIONS: dict[str, dict[str, Any]] = {"nsgaii": {"population_size": 6}, "gp": {"n_startup_trials": 12}}


def suggested(trial: optuna.Trial, name: str) -> dict[str, Any]:
    """What a user of Optuna would write by hand for the two spaces."""
    chosen: dict[str, Any] = {"optimizer": trial.suggest_categorical("optimizer", ["sgd", "adam"])}
    if name == "grid":
        chosen["rate"] = trial.suggest_categorical("rate", [0.1, 0.01, 0.001])
        chosen["depth"] = trial.suggest_int("depth", 1, 3)
        return chosen
    chosen["lr"] = trial.suggest_float("lr", 1e-5, 1e-1, log=True)
    if chosen["optimizer"] == "sgd":
        chosen["momentum"] = trial.suggest_float("momentum", 0.0, 0.99)
    chosen["width"] = trial.suggest_int("width", 4, 64)
    chosen["depth"] = trial.suggest_int("depth", 1, 3)
    return chosen


def losses(values: dict[str, Any], name: str) -> list[float]:
    """A bowl, with a corner in which training would diverge; of two dimensions for the search of a front."""
    if name == "grid":
        return [abs(math.log(values["rate"] / 0.01)) + values["depth"]]
    loss = abs(math.log10(values["lr"]) + 3) + values.get("momentum", 0.5) + values["width"] / 64
    if values["lr"] > 0.03:
        loss = math.nan
    return [loss, float(values["width"])] if name == "nsgaii" else [loss]


def outcome(values: dict[str, Any], name: str) -> Outcome:
    found = losses(values, name)
    return Outcome("finished", tuple(found)) if all(map(math.isfinite, found)) else Outcome("infeasible", reason="nan")


def space_for(name: str) -> Space:
    return GRID if name == "grid" else CONDITIONAL


def opened(path: Path, name: str) -> Search:
    space = space_for(name)
    sampler = build_sampler(name, SEED, OPTIONS.get(name, {}), space)
    return Search(open_journal(path / JOURNAL), "study", space, sampler, ["min"] * (2 if name == "nsgaii" else 1))


def carried_out(search: Search, name: str, proposals: Sequence[Proposal]) -> list[dict[str, Any]]:
    values = [{one.name: one.value for one in proposal.assignments} for proposal in proposals]
    for proposal, chosen in zip(proposals, values, strict=True):
        search.tell(proposal.number, outcome(chosen, name))
    return values


@pytest.mark.parametrize("name", slow_but(OPTUNAS_OWN.keys() - {"gp"}, OPTUNAS_OWN))
def test_it_proposes_what_optuna_does_however_often_it_is_interrupted(tmp_path: Path, name: str) -> None:
    n_trials = 18
    study = optuna.create_study(sampler=OPTUNAS_OWN[name](), directions=["minimize"] * (2 if name == "nsgaii" else 1))
    expected: list[dict[str, Any]] = []

    def objective(trial: optuna.Trial) -> Any:
        expected.append(suggested(trial, name))
        found = losses(expected[-1], name)
        return found if len(found) > 1 else found[0]

    study.optimize(objective, n_trials=n_trials)
    proposed: list[dict[str, Any]] = []
    for n in (1, 4, 7, 2, 4):  # launches, each of which goes on where the one before stopped
        search = opened(tmp_path, name)
        for _ in range(n):
            proposed += carried_out(search, name, search.ask(1))
    assert proposed == expected
    assert opened(tmp_path, name).n_trials == n_trials


@pytest.mark.parametrize("name", ["tpe", *slow("gp")])
def test_constraints_are_those_of_optuna_and_outlast_an_interruption(tmp_path: Path, name: str) -> None:
    study = optuna.create_study(sampler=OPTUNAS_OWN[name]())
    expected: list[dict[str, Any]] = []

    def objective(trial: optuna.Trial) -> float:
        expected.append(suggested(trial, name))
        trial.set_constraint("parameters", expected[-1]["width"] - 20.0)
        return losses(expected[-1], name)[0]

    study.optimize(objective, n_trials=18)
    proposed: list[dict[str, Any]] = []
    for n in (12, 4, 2):
        search = opened(tmp_path, name)
        for proposal in itertools.chain.from_iterable(search.ask(1) for _ in range(n)):
            values = {one.name: one.value for one in proposal.assignments}
            told = outcome(values, name)
            search.tell(proposal.number, replace(told, excess={"parameters": values["width"] - 20.0}))
            proposed.append(values)
    assert proposed == expected
    n_violating = sum(values["width"] > 20 for values in expected if math.isfinite(losses(values, name)[0]))
    assert opened(tmp_path, name).n_infeasible >= n_violating > 0
    assert study.best_trial.params["width"] <= 20


@pytest.mark.parametrize("name", ["tpe", "cmaes", "random", "qmc"])
def test_batches_are_those_of_asking_optuna_for_as_many(tmp_path: Path, name: str) -> None:
    study = optuna.create_study(sampler=OPTUNAS_OWN[name]())
    expected = []
    for _ in range(4):
        trials = [study.ask() for _ in range(4)]
        chosen = [suggested(trial, name) for trial in trials]
        for trial, values in zip(trials, chosen, strict=True):
            found = outcome(values, name)
            study.tell(
                trial, found.objectives[0] if found.objectives else None, None if found.objectives else TrialState.FAIL
            )
        expected += chosen
    proposed: list[dict[str, Any]] = []
    for _ in range(4):
        search = opened(tmp_path, name)
        proposed += carried_out(search, name, search.ask(4))
    assert proposed == expected


def test_what_was_proposed_and_not_told_comes_first_after_a_crash(tmp_path: Path) -> None:
    first = opened(tmp_path, "tpe").ask(3)
    again = opened(tmp_path, "tpe")
    assert again.begun() == first
    again.tell(first[0].number, Outcome("finished", (1.0,)))
    assert opened(tmp_path, "tpe").begun() == first[1:]


def test_a_journal_that_another_search_has_written_is_refused(tmp_path: Path) -> None:
    search = opened(tmp_path, "random")
    carried_out(search, "random", search.ask(2))
    with pytest.raises(UserError, match="trial 0 of study had"):
        Search(
            open_journal(tmp_path / JOURNAL),
            "study",
            CONDITIONAL,
            build_sampler("random", SEED + 1, {}, CONDITIONAL),
            ["min"],
        )


def test_nothing_that_a_journal_holds_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Optuna keeps the state of CMA-ES pickled beside its trials, where a sweep that was received has anything."""
    planted = pickle.dumps("planted").hex()
    search = opened(tmp_path, "cmaes")
    study_id = search.storage.get_study_id_from_name("study")
    for _ in range(6):
        (proposal,) = search.ask(1)
        trial_id = search.storage.get_trial_id_from_study_id_trial_number(study_id, proposal.number)
        search.storage.set_trial_system_attr(trial_id, "cma:optimizer:0", planted)
        search.tell(proposal.number, Outcome("finished", (1.0,)))
    loaded = []
    real = pickle.loads
    monkeypatch.setattr("pickle.loads", lambda content: (loaded.append(content), real(content))[1])
    opened(tmp_path, "cmaes").ask(1)
    assert bytes.fromhex(planted) not in loaded
    study = optuna.load_study(
        study_name="study", storage=open_journal(tmp_path / JOURNAL), sampler=OPTUNAS_OWN["cmaes"]()
    )
    with pytest.raises(AttributeError):  # which Optuna itself reads
        suggested(study.ask(), "cmaes")
    assert bytes.fromhex(planted) in loaded


def test_half_a_line_and_a_lock_of_a_process_that_died_are_mended(tmp_path: Path) -> None:
    search = opened(tmp_path, "tpe")
    carried_out(search, "tpe", search.ask(2))
    journal = tmp_path / JOURNAL
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code": 5, "wor')
    (tmp_path / f"{JOURNAL}.lock").touch()
    mend_journal(journal)
    assert journal.read_bytes() == whole
    assert opened(tmp_path, "tpe").n_trials == 2


def test_a_journal_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / JOURNAL).write_text("this is no journal\nnor this\n")
    with pytest.raises(UserError, match="its own journal"):
        opened(tmp_path, "tpe")


def test_an_infeasible_trial_is_noted_with_its_reason(tmp_path: Path) -> None:
    search = opened(tmp_path, "tpe")
    (proposal,) = search.ask(1)
    search.tell(proposal.number, Outcome("infeasible", reason="diverged: loss nan"))
    trial = search.study.trials[0]
    assert trial.state == TrialState.FAIL
    assert (trial.user_attrs["state"], trial.user_attrs["reason"]) == ("infeasible", "diverged: loss nan")
    assert search.failed() == [proposal]


def test_a_failed_trial_that_is_run_again_counts_once_and_keeps_the_order_of_proposals(tmp_path: Path) -> None:
    def run(path: Path, *, fails: bool) -> list[dict[str, Any]]:
        search = opened(path, "tpe")
        (first,) = search.ask(1)
        search.tell(first.number, Outcome("failed", reason="planted") if fails else Outcome("finished", (0.5,)))
        if fails:
            search = opened(path, "tpe")
            (failed,) = search.failed()
            search.tell(failed.number, Outcome("finished", (0.5,)))
            assert search.failed() == []
            assert search.study.best_value == 0.5
        assert search.n_trials == 1
        search = opened(path, "tpe")
        return [values for _ in range(3) for values in carried_out(search, "tpe", search.ask(1))]

    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert run(tmp_path / "a", fails=True) == run(tmp_path / "b", fails=False)


def test_pruned_trials_have_their_last_value(tmp_path: Path) -> None:
    search = opened(tmp_path, "tpe")
    (proposal,) = search.ask(1)
    study = optuna.load_study(study_name="study", storage=open_journal(tmp_path / JOURNAL))
    trial = optuna.trial.Trial(study, study.trials[proposal.number]._trial_id)
    trial.report(0.7, 1)
    search.tell(proposal.number, Outcome("pruned"))
    assert search.study.trials[0].state == TrialState.PRUNED
    assert search.study.trials[0].value == 0.7
    opened(tmp_path, "tpe")  # which tells its sampler the same


def test_the_journal_names_the_objectives(tmp_path: Path) -> None:
    for _ in range(2):  # also where it goes on
        storage, sampler = open_journal(tmp_path / JOURNAL), build_sampler("random", SEED, {}, CONDITIONAL)
        search = Search(storage, "study", CONDITIONAL, sampler, ["max"], seeds=[7], metrics=["val/accuracy"])
        assert [study.metric_names for study in (search.study, search.seeds[7])] == [["val/accuracy"]] * 2
