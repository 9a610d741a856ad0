"""Runs that are killed and go on, against the same runs that were never killed: equal to the last bit."""

import random
import signal
import time
from pathlib import Path

import pytest
from comparing import difference, doubled
from killing import POINTS, Kill, run, start
from parts import needs
from slow_cases import slow, slow_but

SMALL = ["data=wine", "trainer.max_epochs=4", "callbacks.figures=null", "trainer.log_every_n_steps=1"]
AFTER_EVERY_STEP = "callbacks.checkpoints.every_seconds=0"
AFTER_EVERY_EPOCH = "callbacks.checkpoints.every_n_epochs=1"

# 124 rows to train: in batches of 32 four steps an epoch, the last one ragged.
GRID = {
    "dropout, ragged last batch": ["model.dropout=0.5", "model.input_dropout=0.1"],
    "batch normalisation": ["model.normalization=batch", "data.batch_size=31"],
    "plateau, dropout": [
        "scheduler=plateau",
        "scheduler.patience=0",
        "scheduler.threshold=0.3",
        "optimizer.lr=0.01",
        "model.dropout=0.5",
    ],
    "cosine": ["scheduler=cosine"],
    "warm-up and cosine": ["scheduler=warmup_cosine", "scheduler.warmup_fraction=0.5"],
    "one cycle": ["scheduler=one_cycle", "optimizer=momentum"],
    "exponential": ["scheduler=exponential", "optimizer=rmsprop"],
    "lbfgs": ["optimizer=lbfgs", "data.batch_size=full", "trainer.max_epochs=16", "optimizer.max_iter=3"],
    "lbfgs on mini-batches": ["optimizer=lbfgs", "optimizer.max_iter=3"],
    "validation within an epoch": ["trainer.val_check_interval=2", "scheduler=plateau", "scheduler.patience=0"],
    "validation in the middle alone": ["trainer.val_check_interval=0.75", "scheduler=plateau", "scheduler.patience=0"],
    "validation every other epoch": ["trainer.check_val_every_n_epoch=2", "scheduler=plateau", "scheduler.patience=0"],
    "full batch": ["data.batch_size=full", "trainer.max_epochs=16"],
    "single rows": ["data.batch_size=1", "trainer.max_epochs=1", "trainer.limit_train_batches=20"],
    "gathered gradients": ["trainer.accumulate_grad_batches=3"],
    "clipping": ["trainer.gradient_clip_val=0.1", "optimizer=adamw"],
    "early stopping": ["callbacks.early_stopping.patience=1", "optimizer.lr=0.03", "trainer.max_epochs=30"],
    "early stopping before the least number of epochs": [
        "callbacks.early_stopping.patience=1",
        "callbacks.early_stopping.min_delta=10",
        "trainer.min_epochs=4",
        "trainer.max_epochs=6",
    ],
    "a limit of steps": ["trainer.max_steps=14"],
    "regression in 64 bits": ["data=diabetes", "data.batch_size=100", "trainer.precision=64-true", "optimizer=nadam"],
    "regularisation": [
        "regularization.l1=0.001",
        "optimizer=adagrad",
        "loss.label_smoothing=0.1",
        "loss=cross_entropy",
    ],
    "muon": ["optimizer=muon"],
    "an ensemble behind numeric embeddings": [
        "model=tabm",
        "model.k=3",
        "model.hidden_dims=[9,9]",
        "model.numeric_embedding=piecewise",
        "model.normalization=batch",
    ],
    "16 bits": ["trainer.precision=bf16-true", "optimizer=nadam", "model.normalization=layer"],
    "momentum in 16 bits": ["trainer.precision=bf16-true", "optimizer=momentum"],
    "metrics as a CSV file too": ["logger=many"],
}


@pytest.fixture(scope="session")
def never_killed(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, ...], Path]:
    """Runs that were never killed: their overrides → directory; filled as they are asked for."""
    return Reference(tmp_path_factory)


class Reference(dict[tuple[str, ...], Path]):
    def __init__(self, folders: pytest.TempPathFactory) -> None:
        super().__init__()
        self.folders = folders

    def __missing__(self, overrides: tuple[str, ...]) -> Path:
        directory = self[overrides] = self.folders.mktemp("never_killed") / "run"
        assert run(overrides, directory) == 0
        return directory


def assert_alike(one: Path, other: Path) -> None:
    assert difference(one, other) == ""
    assert doubled(one) == {}


def killed_and_resumed(overrides: list[str], directory: Path, *kills: Kill, without: str = "") -> Path:
    for kill in kills:
        assert run(overrides, directory, kill, without) == -9, f"it never came to {kill}"
    assert run(overrides, directory, without=without) == 0
    return directory


TIMES = {
    "after the best is written": 2,
    "in validation": 3,
    "after validation": 2,
    "between epochs": 3,
    "after training": 1,
    "in the test": 1,
    "after the result": 1,
}


FEW = ["after the update", "in the middle of writing a checkpoint", "in validation", "between epochs", "in the test"]
"""Of the points: one in each part of a run."""


@pytest.mark.parametrize("points", [FEW, *slow(list(POINTS))], ids=["some points", "all points"])
def test_a_run_that_is_killed_everywhere_ends_as_if_it_had_not_been(
    tmp_path: Path, never_killed: dict[tuple[str, ...], Path], points: list[str]
) -> None:
    overrides = [*SMALL, AFTER_EVERY_STEP, "logger=many"]
    kills = [Kill(point, 2 if point in ("before forward", "between epochs") else 1) for point in points]
    assert_alike(killed_and_resumed(overrides, tmp_path / "run", *kills), never_killed[tuple(overrides)])


@pytest.mark.slow
@pytest.mark.parametrize("cadence", [AFTER_EVERY_STEP, AFTER_EVERY_EPOCH])
@pytest.mark.parametrize("point", POINTS)
def test_a_run_that_is_killed_there_ends_as_if_it_had_not_been(
    tmp_path: Path, never_killed: dict[tuple[str, ...], Path], point: str, cadence: str
) -> None:
    overrides = [*SMALL, cadence]
    count = TIMES.get(point, 6)
    if cadence == AFTER_EVERY_EPOCH and any(word in point for word in ("checkpoint", "rename", "kept")):
        count = 2
    killed = killed_and_resumed(overrides, tmp_path / "run", Kill(point, count))
    assert_alike(killed, never_killed[tuple(overrides)])


OFTEN = "plateau, dropout"
"""The setting that goes most of the ways that the others go in the slow tests."""


@pytest.mark.parametrize("setting", slow_but([OFTEN], GRID))
def test_whatever_is_learned_it_goes_on_exactly(
    tmp_path: Path, never_killed: dict[tuple[str, ...], Path], setting: str
) -> None:
    overrides = [*SMALL, *GRID[setting], AFTER_EVERY_STEP]
    kills = [Kill("after the update", 3), Kill("before forward", 4)]  # the first two within the first epoch
    killed = killed_and_resumed(overrides, tmp_path / "run", *kills)
    assert_alike(killed, never_killed[tuple(overrides)])


@pytest.mark.slow
@pytest.mark.parametrize("cadence", [AFTER_EVERY_STEP, AFTER_EVERY_EPOCH])
@pytest.mark.parametrize("point", ["after the update", "in validation", "between epochs", "before its rename"])
@pytest.mark.parametrize("setting", GRID)
def test_the_whole_grid_of_settings_and_points(
    tmp_path: Path, never_killed: dict[tuple[str, ...], Path], setting: str, point: str, cadence: str
) -> None:
    overrides = [*SMALL, *GRID[setting], cadence]
    directory = tmp_path / "run"
    for count in (2, 1):
        status = run(overrides, directory, Kill(point, count))
        assert status in (0, -9)  # some do not come there a second time
    assert run(overrides, directory) == 0
    assert_alike(directory, never_killed[tuple(overrides)])


@pytest.mark.slow
def test_twice_in_one_epoch_and_once_in_what_comes_after(
    tmp_path: Path, never_killed: dict[tuple[str, ...], Path]
) -> None:
    overrides = [*SMALL, AFTER_EVERY_STEP]
    kills = [Kill("before forward", 6), Kill("after backward", 1), Kill("after the update", 1), Kill("in the test", 1)]
    killed = killed_and_resumed(overrides, tmp_path / "run", *kills)
    assert_alike(killed, never_killed[tuple(overrides)])


@pytest.mark.slow
@pytest.mark.parametrize("setting", GRID)
def test_the_plain_engine_goes_on_as_exactly(
    tmp_path: Path, never_killed: dict[tuple[str, ...], Path], setting: str
) -> None:
    overrides = [*SMALL, *GRID[setting], AFTER_EVERY_STEP]
    kills = [Kill("after the update", 3), Kill("before forward", 4)]
    plain = killed_and_resumed([*overrides, "engine=plain"], tmp_path / "run", *kills)
    assert_alike(plain, never_killed[tuple(overrides)])


@pytest.mark.parametrize("setting", slow_but([OFTEN], GRID))
def test_a_run_may_change_between_both_engines(
    tmp_path: Path, never_killed: dict[tuple[str, ...], Path], setting: str
) -> None:
    overrides = [*SMALL, *GRID[setting], AFTER_EVERY_STEP]
    fast = never_killed[tuple(overrides)]
    for engine, other in (("fast", "plain"), ("plain", "fast")):
        changed = tmp_path / engine / "changed"
        assert run([*overrides, f"engine={engine}"], changed, Kill("after the update", 3)) == -9
        assert run([], changed, also=f"engine={other}") == 0
        assert_alike(changed, fast)


@pytest.mark.slow
@needs("tables")
def test_a_table_goes_on_exactly(tmp_path: Path) -> None:
    generator = random.Random(0)
    lines = ["size,colour,price"]
    for _ in range(150):
        size, colour = generator.random(), generator.choice(["red", "green", "blue", ""])
        lines.append(f"{size:.3f},{colour},{3 * size + len(colour) + generator.random():.3f}")
    table = tmp_path / "table.csv"
    table.write_text("\n".join(lines) + "\n")
    overrides = [*SMALL, "data=table", f"data.path={table}", "data.target=price", AFTER_EVERY_STEP]
    straight = killed_and_resumed(overrides, tmp_path / "straight" / "run")
    killed = killed_and_resumed(overrides, tmp_path / "killed" / "run", Kill("after the update", 3))
    assert_alike(killed, straight)


def kill_at_random(overrides: list[str], directory: Path, seed: int, longest: float) -> int:
    """Kills a run up to three times within `longest` seconds, and lets it go on; returns how often it was hit."""
    generator = random.Random(seed)
    hits = 0
    for _ in range(3):
        process = start(overrides, directory)
        time.sleep(generator.uniform(0.05, longest))
        process.kill()
        process.join()
        if process.exitcode == 0:
            break
        hits += 1
    assert run(overrides, directory) == 0
    return hits


@pytest.mark.slow
def test_runs_killed_at_any_time_end_as_if_they_had_not_been(
    tmp_path: Path, never_killed: dict[tuple[str, ...], Path]
) -> None:
    seeds, hits = range(202), 0
    for seed in seeds:
        cadence = [AFTER_EVERY_STEP, AFTER_EVERY_EPOCH, "callbacks.checkpoints.every_seconds=0.05"][seed % 3]
        overrides = [*SMALL, "trainer.max_epochs=20", "trainer.val_check_interval=2", cadence]
        for longest in (0.8, 0.4, 0.2, 0.1):  # on a fast machine a run may have ended before
            directory = tmp_path / str(seed) / str(longest) / "run"
            found = kill_at_random(overrides, directory, seed, longest)
            assert_alike(directory, never_killed[tuple(overrides)])
            if found:
                break
        hits += found
    assert hits >= len(seeds)  # most were hit, or the test shows nothing


@pytest.mark.slow
def test_runs_stopped_at_any_time_go_on_too(tmp_path: Path, never_killed: dict[tuple[str, ...], Path]) -> None:
    seeds = range(1, 102)
    overrides = [*SMALL, "trainer.max_epochs=20", AFTER_EVERY_STEP]
    answered = 0
    for seed in seeds:
        directory = tmp_path / str(seed) / "run"
        began = time.monotonic()
        process = start(overrides, directory)
        # Of every four, one is stopped wherever it then is, the others once they train, which a busy machine delays.
        while seed % 4 and not (directory / "history.jsonl").exists() and process.is_alive():
            time.sleep(0.005)
        time.sleep(random.Random(seed).uniform(0.0, 0.5 if seed % 4 else 0.1 + time.monotonic() - began))
        process.terminate()
        process.join()
        assert process.exitcode in (0, 143, -signal.SIGTERM), (directory.parent / "output.txt").read_text()
        answered += process.exitcode == 143
        assert run(overrides, directory) == 0
        assert_alike(directory, never_killed[tuple(overrides)])
    assert answered >= (len(seeds) + 1) // 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("guard", "kill"),
    [
        ("the place in the epoch", Kill("after the update", 3)),
        ("the seeds of steps", Kill("between epochs", 3)),
        ("the state of early stopping", Kill("between epochs", 7)),
        ("the state of the curves", Kill("after the update", 3)),
        ("the best state", Kill("between epochs", 7)),
        ("rewinding the logs", Kill("between epochs", 4)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_without_a_guard_the_difference_is_seen(tmp_path: Path, guard: str, kill: Kill) -> None:
    cadence = "callbacks.checkpoints.every_n_epochs=2" if "logs" in guard else AFTER_EVERY_STEP
    overrides = [*SMALL, cadence, "model.dropout=0.5", "optimizer.lr=0.1", "logger.tensorboard.every_seconds=0"]
    overrides += ["callbacks.early_stopping.patience=3", "trainer.max_epochs=20"]
    straight = killed_and_resumed(overrides, tmp_path / "straight" / "run")
    assert run(overrides, tmp_path / "killed" / "run", kill) == -9
    assert run(overrides, tmp_path / "killed" / "run", without=guard) == 0
    assert difference(tmp_path / "killed" / "run", straight)
    if guard == "rewinding the logs":
        assert doubled(tmp_path / "killed" / "run")


@pytest.mark.slow
def test_without_atomic_writing_nothing_is_left_to_go_on_from(tmp_path: Path) -> None:
    overrides = [*SMALL, AFTER_EVERY_STEP]
    assert run(overrides, tmp_path / "run", without="writing atomically") == -9
    with pytest.raises(AssertionError, match="must have an intact checkpoint to resume"):
        run(overrides, tmp_path / "run")


@pytest.mark.slow
def test_a_run_that_is_given_more_epochs_is_the_longer_run(tmp_path: Path) -> None:
    overrides = [*SMALL, AFTER_EVERY_EPOCH, "callbacks.histograms=null", "scheduler=step", "model.dropout=0.3"]
    longer = killed_and_resumed([*overrides, "trainer.max_epochs=7"], tmp_path / "longer" / "run")
    grown = killed_and_resumed(overrides, tmp_path / "grown" / "run")
    assert run([], grown, also="trainer.max_epochs=7") == 0
    assert_alike(grown, longer)


def test_the_logs_of_a_run_that_began_again_hold_it_once(
    tmp_path: Path, never_killed: dict[tuple[str, ...], Path]
) -> None:
    """With the usual half minute between checkpoints there is none yet, and the run begins at its beginning."""
    killed = killed_and_resumed([*SMALL, "logger=many"], tmp_path / "killed" / "run", Kill("after the update", 13))
    assert_alike(killed, never_killed[(*SMALL, "logger=many")])
    assert not list(killed.rglob("*.tmp"))
