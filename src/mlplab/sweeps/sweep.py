"""A sweep in its directory: goes on with the jobs that are there, and launches those that are not done."""

import contextlib
import os
import shlex
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, OmegaConf

from mlplab.config.checks import check_sweep
from mlplab.config.commands import same_command
from mlplab.config.differing import CHANGED, MAY_DIFFER, describe_new, extended, flat, is_below, require_same
from mlplab.config.experiment_heads import as_lines, chosen_heads
from mlplab.config.paths import shortest
from mlplab.config.resolvers import job_name, project_root
from mlplab.errors import DiskFull, NoRoom, RunFailed, UserError, described, is_disk_full
from mlplab.runs.files import remove_temporary_files, require_ordinary, timestamp
from mlplab.runs.lock import Lock
from mlplab.runs.run_reading import State, read_state
from mlplab.sweeps.composer import Composer, require_one_location
from mlplab.sweeps.data_changes import require_same_data
from mlplab.sweeps.job import STOPPING
from mlplab.sweeps.job_loader import JobLoader, without_hydra
from mlplab.sweeps.ledger import FILE as LEDGER
from mlplab.sweeps.ledger import Assignment, Entry, Ledger, read_ledger
from mlplab.sweeps.overrides import as_typed, dimension_of, parse_overrides
from mlplab.sweeps.ranking import Ranking
from mlplab.sweeps.untrusted_overrides import require_trusted_overrides


class Sweep:
    """Jobs that share a configuration except for what is swept.

    Args:
        config: as Hydra composed it for the sweep, with its `hydra` part.
        loader: composes the jobs' configurations.
        launcher: runs jobs.
        sweeper: name of the sweeper, for the report.
        ranking: ranks the settings in the sweep's directory.

    Attributes:
        ledger: the jobs that there are; read when the sweep is opened.
        composer: of the jobs' configurations.
    """

    def __init__(
        self, config: DictConfig, loader: JobLoader, launcher: Launcher, sweeper: str, ranking: Ranking
    ) -> None:
        check_sweep(without_hydra(config))  # before anything is written
        if config.sweep.dry_run and sweeper != "grid":
            raise UserError(
                "sweep.dry_run must be for a grid, whose jobs are known before they run",
                f"hydra/sweeper={sweeper}, which proposes its jobs one after the other",
                "sweep.dry_run=false; --cfg job without -m shows the configuration",
            )
        self.config, self.loader, self.launcher, self.sweeper = config, loader, launcher, sweeper
        self.ranking = ranking
        self.composer = Composer(config, loader)
        self.directory = Path(str(config.hydra.sweep.dir)).absolute()  # a job may change the working directory
        self.shown = shortest(self.directory)
        self.ledger = Ledger(self.directory)
        self._began, self._before, self._is_saved = time.monotonic(), 0.0, False

    @property
    def n_at_once(self) -> int:
        """Number of jobs that the launcher runs at the same time."""
        jobs = getattr(self.launcher, "jobs", None)
        return getattr(jobs, "n_at_once", None) or jobs_at_once(self.config.hydra.launcher)

    @contextmanager
    def opened(self, shared: Sequence[str], names: Sequence[str]) -> Iterator[None]:
        """Reserves the sweep's directory for this process, and reads what is there. Afterwards the ledger is saved.

        Args:
            shared: overrides that all jobs are to share. `ledger.shared` has those of them that were never swept.
            names: what is to be swept.

        Raises:
            UserError: another process runs the sweep, or it was begun with another configuration.
            RunFailed: a file could not be written; the ledger remains as it was.
        """
        require_one_location(self.config, shared, names)
        if self.directory.exists() and not self.directory.is_dir():
            raise UserError("a sweep must have a folder", f"{self.shown} is a file", "another sweep.name")
        try:
            with self._locked(list(shared), names):
                head = as_lines(chosen_heads(self.config.hydra))
                if head:
                    print("\n".join([*head, ""]))
                yield
        except Exception as error:
            if not is_disk_full(error) and not (isinstance(error, OSError) and self._is_saved):
                raise
            raise _unwritten(error, self.same_command) from error

    @contextmanager
    def _locked(self, shared: list[str], names: Sequence[str]) -> Iterator[None]:
        self.directory.mkdir(parents=True, exist_ok=True)
        require_ordinary(self.directory, deep=False)  # the folder of a job is examined when the job runs
        lock = Lock(self.directory / ".lock", "a sweep must be run by one process at a time")
        died = lock.acquire()
        self._is_saved = False
        try:
            for folder in (self.directory, self.directory / "figures"):
                remove_temporary_files(folder)  # left by a launch that was killed
            (self.directory / STOPPING).unlink(missing_ok=True)  # likewise: no job would begin
            known = read_ledger(self.directory)
            self.ledger = known or Ledger(self.directory)
            self.ledger.shared = self._continued(shared, names) if known else shared  # refuses before the file changes
            _note_command(self.ledger, self.config, self.sweeper)
            self._before = _seconds_before(self.ledger, has_died=died is not None)
            yield
        finally:
            try:
                if self._is_saved:  # else nothing was begun, and the file stays as it was
                    self.save()
            finally:
                self._began = time.monotonic()
                lock.release()  # also where saving failed
                if not (self.directory / LEDGER).exists():
                    with contextlib.suppress(OSError):
                        (self.directory / ".lock").unlink(missing_ok=True)  # a refused command leaves no folder behind
                        self.directory.rmdir()

    def _continued(self, shared: Sequence[str], names: Sequence[str]) -> list[str]:
        """Checks that a known sweep has the configuration it was begun with; returns the overrides all jobs share.

        What was shared and is swept now becomes a value of each known job. What was swept and has one value now stays
        a value.
        """
        ledger = self.ledger
        ledger.require_sound()
        sweeper = {"hydra/sweeper": ledger.metadata.get("sweeper", self.sweeper)}
        require_same(sweeper, {"hydra/sweeper": self.sweeper}, "the sweep")  # their journals and stages differ
        before = {override.key_or_group: override for override in parse_overrides(ledger.shared, self.loader)}
        for name in names:
            if name in before and name not in ledger.names:
                (assignment,) = dimension_of(before[name]).assignments
                self._require_composable([str(assignment.override)])
                for entry in ledger.entries:
                    ledger.extend_values(entry, {name: assignment.value})
                    # Else it would be lost when the job is launched again.
                    entry.overrides.append(str(assignment.override))
        parsed = {override.key_or_group: override for override in parse_overrides(shared, self.loader)}
        shared = [as_typed(override) for name, override in parsed.items() if name not in ledger.names]
        typed = {*parsed, *names}
        shared += _former_defaults(ledger, self.composer, shared, typed)
        new = ""
        for entry in ledger.entries:
            then = ledger.configs.get(str(entry.number))
            if then is not None:
                self._require_composable(entry.overrides)
                now = self.composer.as_plain([*shared, *entry.overrides])
                whole = extended(then, now, parsed)  # of a name that is swept, the jobs so far have the default
                require_same(whole, now, entry.directory, typed=typed)
                new = new or describe_new(then, whole, "the sweep", MAY_DIFFER)
                ledger.configs[str(entry.number)] = whole
        if new:
            print(new)

        def compose(overrides: Sequence[str]) -> DictConfig:
            self._require_composable(overrides)
            return self.composer.compose([*shared, *overrides])

        require_same_data(ledger, compose, self.loader.is_group)
        return shared

    @property
    def same_command(self) -> str:
        """Names the command that goes on with the sweep; where its name was made for it, with that name."""
        plain: Any = OmegaConf.to_container(self.config, resolve=False)  # `${run_name:}` is another one each time
        texts = (plain["sweep"]["name"], plain["hydra"]["sweep"]["dir"])
        is_named = "sweep.name" not in texts[1] or "run_name:" not in str(texts[0])
        return same_command(self.directory, is_named and "run_name:" not in texts[1])

    def seconds(self) -> float:
        """Returns the wall-clock time of the sweep, over all its launches."""
        return self._before + time.monotonic() - self._began

    def save(self) -> None:
        """Writes sweep.json as it is now."""
        self.ledger.metadata["seconds"] = round(self.seconds(), 1)  # a search may have a budget of minutes
        self.ledger.save()
        self._is_saved = True

    # Jobs

    def entry(self, assignments: Sequence[Assignment], **stage: Any) -> Entry:
        """Finds the job with exactly these assignments, or adds it.

        Args:
            assignments: what the job is given.
            **stage: arm, stage and trial; an earlier trial may have had the same job.
        """
        values = {one.name: one.value for one in assignments}
        overrides = [one.override for one in assignments if one.override is not None]
        found = self.ledger.find(values, **{name: value for name, value in stage.items() if name != "trial"})
        if found is not None:
            found.overrides = overrides  # as they are typed now: those of a received sweep.json must not be run
            return found
        number = self.ledger.next_number()  # not a position, so that directories keep their names when a grid grows
        labels = [one.label for one in assignments if one.override is not None]
        entry = Entry(number, job_name(number, labels), values, overrides, **stage)
        self._keep_config(entry)
        return self.ledger.add(entry)

    def complete(self, assignments: Sequence[Assignment]) -> list[Assignment]:
        """Adds values of the configuration for names that only other jobs are given, and to those jobs likewise."""
        given = {one.name for one in assignments}
        overrides = [*self.ledger.shared, *(one.override for one in assignments if one.override is not None)]
        missing = [
            Assignment(name, self.composer.value(overrides, name), None)
            for name in self.ledger.names
            if name not in given
        ]
        absent = [one.name for one in assignments if one.name not in self.ledger.names]  # swept for the first time
        for entry in self.ledger.entries if absent else ():
            self._require_composable(entry.overrides)
            of_entry = [*self.ledger.shared, *entry.overrides]
            self.ledger.extend_values(entry, {name: self.composer.value(of_entry, name) for name in absent})
        return [*assignments, *missing]

    def _keep_config(self, entry: Entry) -> None:
        """Keeps the configuration of a job that is the first, or the first with some choice of a group."""
        groups = [name for name in entry.values if self.loader.is_group(name)]
        if not self.ledger.entries or any(not self.ledger.has_value(name, entry.values[name]) for name in groups):
            self.ledger.configs[str(entry.number)] = self.composer.as_plain([*self.ledger.shared, *entry.overrides])

    def _require_composable(self, overrides: Sequence[str]) -> None:
        """Refuses overrides of a received sweep.json before they are composed, though they are not run.

        A choice could name any file, a value any variable of the environment.

        Raises:
            UserError: for the first that is more than a plain value.
        """
        if self.ledger.why_not_own is not None:
            self.require_trusted(overrides)

    def require_trusted(self, overrides: Sequence[str]) -> None:
        """Refuses to run a job by overrides of a received sweep.json, if they name code.

        Raises:
            UserError: with the first of them.
        """
        require_trusted_overrides(self.ledger, overrides, project_root() / "conf", trust=bool(self.config.trust))

    def state(self, entry: Entry) -> State:
        """Reads the state of a job."""
        return read_state(self.directory / entry.directory)


def states_of(sweep: Sweep, entries: Sequence[Entry]) -> dict[int, State]:
    """Reads the states of many jobs: number → state. Those without a folder cost nothing.

    Raises:
        UserError: what should be the folder of a job is a file.
    """
    with os.scandir(sweep.directory) as found:  # one question to a shared file system instead of thousands
        there = {one.name: one.is_dir() for one in found}
    states = {}
    for entry in entries:
        if not there.get(entry.directory, True):
            require_folder(sweep.directory / entry.directory)
        states[entry.number] = sweep.state(entry) if entry.directory in there else State("waiting")
    return states


def _unwritten(error: Exception, command: str) -> RunFailed:
    """Describes why a sweep could not write its files, and by which command it goes on."""
    is_full = is_disk_full(error)
    requirement, hint = ("fit on the disk", "freeing some space") if is_full else ("write its files", "mending that")
    message = f"a sweep must {requirement}, but {described(error)}; {LEDGER} is whole, and what its jobs had saved"
    if isinstance(error, DiskFull | NoRoom):  # raised by a job, whose message is better
        message = str(error).partition("; try ")[0]
    return RunFailed(f"{message}; try {hint}, then {command}, which goes on with the sweep")


def _former_defaults(ledger: Ledger, composer: Composer, shared: Sequence[str], typed: Collection[str]) -> list[str]:
    """Returns overrides for options that a sweep left to a default which a later release has changed."""
    configs = [flat(config) for config in ledger.configs.values()]
    overrides = [
        f"{key}={then}"
        for key, (then, now) in CHANGED.items()
        if not is_below(key, typed)
        and configs
        and all(config.get(key) == then for config in configs)
        and composer.value(shared, key) == now
    ]
    if overrides:
        print(f"kept    {', '.join(overrides)}: the default of the release that began the sweep")
    return overrides


def _note_command(ledger: Ledger, config: DictConfig, sweeper: str) -> None:
    """Notes by which command a sweep was launched, and what ranks its jobs."""
    metadata = ledger.metadata
    metadata.setdefault("name", ledger.directory.name)
    metadata["folder"] = str(Path.cwd())  # for a rerun: paths on the command line are relative to it
    metadata.setdefault("sweeper", sweeper)
    metadata.setdefault("started", timestamp())
    program = [Path(sys.argv[0]).name, *sys.argv[1:]]
    metadata.setdefault("commands", []).append(shlex.join(["python", *program]))  # all of them, for the report
    metadata["monitor"], metadata["mode"] = str(config.monitor), str(config.mode)
    target = config.sweep.get("target")
    metadata["target"] = None if target is None else OmegaConf.to_container(target, resolve=True)


def require_folder(path: Path) -> None:
    """Refuses a file in the place of a job's folder: the job would fail when it is launched.

    Raises:
        UserError: as above.
    """
    if path.exists() and not path.is_dir():
        raise UserError("a job must have a folder", f"{shortest(path)} is a file", f"rm {shortest(path)}")


def _seconds_before(ledger: Ledger, *, has_died: bool) -> float:
    """Returns the seconds of earlier launches; of one that was killed, until a job last wrote its status."""
    seconds = float(ledger.metadata.get("seconds") or 0.0)
    if has_died and ledger.entries:
        saved = (ledger.directory / LEDGER).stat().st_mtime
        files = [ledger.directory / entry.directory / "status.json" for entry in ledger.entries]
        seconds += max([0.0, *(path.stat().st_mtime - saved for path in files if path.exists())])
    return seconds


def jobs_at_once(launcher: Any) -> int:
    """Returns how many jobs a launcher runs at the same time; 1 where it does not say."""
    launcher = launcher or {}
    n_jobs = launcher.get("members") or launcher.get("array_parallelism") or launcher.get("n_jobs", 1)
    if not isinstance(n_jobs, int):
        return 1
    if n_jobs == 0:
        raise UserError(
            "hydra.launcher.n_jobs must be a number of jobs, or -1 for one on each core", "hydra.launcher.n_jobs=0",
            "hydra.launcher.n_jobs=2",
        )  # fmt: skip
    if n_jobs > 0:
        return n_jobs
    from joblib import cpu_count  # its launcher counts the cores with this

    return max(1, int(cpu_count()) + 1 + n_jobs)  # -1 is all cores, -2 all but one
