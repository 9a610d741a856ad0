"""A sweep in its directory: going on with what is there, and launching what is not done."""

import contextlib
import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, OmegaConf

from mlplab.config.checks import check_sweep
from mlplab.config.paths import shortest
from mlplab.config.resolvers import job_name, project_root
from mlplab.errors import DiskFull, NoRoom, RunFailed, RunStopped, UserError, counted, described, is_disk_full
from mlplab.runs.files import remove_temporary_files, require_ordinary, timestamp
from mlplab.runs.lock import Lock
from mlplab.runs.trust import require_trust
from mlplab.sweeps.comparing import require_same
from mlplab.sweeps.composing import Composer, without_hydra
from mlplab.sweeps.job import STOPPING
from mlplab.sweeps.ledger import FILE as LEDGER
from mlplab.sweeps.ledger import Entry, Ledger, read_ledger
from mlplab.sweeps.overrides import parse, plain, word_of
from mlplab.sweeps.place import require_one_place
from mlplab.sweeps.progress import Progress
from mlplab.sweeps.states import State, read_result, read_state
from mlplab.sweeps.stopping import letting_jobs_finish
from mlplab.sweeps.untrusted_words import first_unknown_word

MOST_DEATHS = 2
"""Times that the process of a job may die in one launch before the job is given up."""


class Sweep:
    """Jobs that share a configuration but for what is swept.

    Args:
        config: as Hydra composed it for the sweep, with its `hydra` part.
        loader: composes the jobs' configurations.
        launcher: runs jobs.
        sweeper: how the jobs are chosen, for the report.

    Attributes:
        ledger: which jobs there are; read when the sweep is opened.
        composer: of its jobs' configurations.
        at_once: jobs that the launcher runs at the same time.
    """

    def __init__(self, config: DictConfig, loader: ConfigLoader, launcher: Launcher, sweeper: str) -> None:
        check_sweep(without_hydra(config))
        self.config, self.loader, self.launcher, self.sweeper = config, loader, launcher, sweeper
        self.composer = Composer(config, loader)
        self.directory = Path(str(config.hydra.sweep.dir)).absolute()
        self.ledger = Ledger(self.directory)
        self.at_once = jobs_at_once(config.hydra.launcher)
        self._began, self._before, self._is_saved = time.monotonic(), 0.0, False

    # What is there

    @property
    def told(self) -> str:
        """The directory, as one would type it."""
        return shortest(self.directory)

    @contextmanager
    def opened(self, constants: Sequence[str], names: Sequence[str]) -> Iterator[list[str]]:
        """Within it, the sweep's directory is this process's own; gives the words that its jobs share.

        Args:
            constants: the words that are to be shared.
            names: what is to be swept.

        Raises:
            UserError: another process has it, or the sweep was begun with another configuration.
            RunFailed: its files could not be written; they are as they were.
        """
        require_one_place(self.config, constants, names)
        if self.directory.exists() and not self.directory.is_dir():
            raise UserError("a sweep must have a folder", f"{self.told} is a file", "another sweep.name")
        try:
            with self._locked(constants, names) as shared:
                yield shared
        except Exception as error:
            is_full = is_disk_full(error)
            if not is_full and not (isinstance(error, OSError) and self._is_saved):
                raise
            must, remedy = ("fit on the disk", "freeing some") if is_full else ("write its files", "mending that")
            told = f"a sweep must {must}, but {described(error)}; {LEDGER} is whole, and what its jobs had saved"
            if isinstance(error, DiskFull | NoRoom):  # of its jobs
                told = str(error).partition("; try ")[0]
            raise RunFailed(f"{told}; try {remedy}, then the same command, which goes on with the sweep") from error

    @contextmanager
    def _locked(self, constants: Sequence[str], names: Sequence[str]) -> Iterator[list[str]]:
        self.directory.mkdir(parents=True, exist_ok=True)
        require_ordinary(self.directory, deep=False)  # of a job the folder is looked through when it is run
        lock = Lock(self.directory / ".lock", "a sweep must be run by one process at a time")
        died = lock.acquire()
        self._is_saved = False
        try:
            for folder in (self.directory, self.directory / "figures"):
                remove_temporary_files(folder)
            (self.directory / STOPPING).unlink(missing_ok=True)
            known = read_ledger(self.directory)
            self.ledger = known or Ledger(self.directory)
            if known:
                known.require_sound()
                sweeper = {"hydra/sweeper": self.ledger.asked.get("sweeper", self.sweeper)}
                require_same(sweeper, {"hydra/sweeper": self.sweeper}, "the sweep")
            shared = self._take_up(list(constants), list(names)) if known else list(constants)
            self.ledger.constants = shared
            self._note_command()
            self._before = self._seconds_before(has_died=died is not None)
            yield shared
        finally:
            try:
                if self._is_saved:  # else nothing was begun, and what was there stays as it was
                    self.save()
            finally:
                self._began = time.monotonic()
                lock.release()
                if not (self.directory / LEDGER).exists():
                    with contextlib.suppress(OSError):
                        (self.directory / ".lock").unlink(missing_ok=True)
                        self.directory.rmdir()

    def seconds(self) -> float:
        """Wall-clock time of the sweep, over all its launches."""
        return self._before + time.monotonic() - self._began

    def _seconds_before(self, *, has_died: bool) -> float:
        """Seconds of earlier launches; of one that was killed, until its last job said how far it was."""
        seconds = float(self.ledger.asked.get("seconds") or 0.0)
        if has_died and self.ledger.entries:
            saved = (self.directory / LEDGER).stat().st_mtime
            files = [self.directory / entry.directory / "status.json" for entry in self.ledger.entries]
            seconds += max([0.0, *(path.stat().st_mtime - saved for path in files if path.exists())])
        return seconds

    def save(self) -> None:
        """Writes sweep.json as it is now."""
        self.ledger.asked["seconds"] = round(self.seconds(), 1)
        self.ledger.save()
        self._is_saved = True

    def _note_command(self) -> None:
        asked = self.ledger.asked
        asked.setdefault("name", self.directory.name)
        asked["folder"] = str(Path.cwd())
        asked.setdefault("sweeper", self.sweeper)
        asked.setdefault("started", timestamp())
        program = [Path(sys.argv[0]).name, *sys.argv[1:]]
        asked.setdefault("commands", []).append(shlex.join(["python", *program]))
        asked["monitor"], asked["mode"] = str(self.config.monitor), str(self.config.mode)
        target = self.config.sweep.get("target")
        asked["target"] = None if target is None else OmegaConf.to_container(target, resolve=True)

    def _take_up(self, constants: list[str], names: list[str]) -> list[str]:
        """Compares a sweep that is there with what is asked now.

        What was shared and is swept now becomes a value of each job that is there; what was swept and has one
        value now stays a value. Returns the words that all jobs share.
        """
        ledger = self.ledger
        parsed = {override.key_or_group: override for override in parse(constants, self.loader)}
        before = {override.key_or_group: override for override in parse(ledger.constants, self.loader)}
        for name in names:
            if name in before and name not in ledger.names:
                word, value = word_of(before.pop(name)), plain(parsed_value(ledger.constants, name, self.loader))
                self.require_composable([word])
                for entry in ledger.entries:
                    ledger.give(entry, {name: value})
                    entry.overrides.append(word)
        shared = [word_of(override) for name, override in parsed.items() if name not in ledger.names]
        for number, config in ledger.configs.items():
            entry = next(entry for entry in ledger.entries if str(entry.number) == number)
            self.require_composable(entry.overrides)
            words = [*shared, *entry.overrides]
            now = OmegaConf.to_container(without_hydra(self.composer.compose(words)), resolve=False)
            require_same(config, now, entry.directory)
        return shared

    def entry(self, values: Mapping[str, Any], overrides: Sequence[str], shared: Sequence[str], **also: Any) -> Entry:
        """The job that has these values: the one that is there, or a new one with a number of its own."""
        values, overrides = self._complete(dict(values), list(overrides), shared)
        found = self.ledger.find(values, **also)
        if found is not None:
            found.overrides = overrides  # those typed now, which its values come from; not words of a file
            return found
        number = self.ledger.next_number()
        entry = Entry(number, job_name(number, overrides), values, overrides, **also)
        self._remember(entry, shared)
        return self.ledger.add(entry)

    def exact_entry(
        self, values: Mapping[str, Any], overrides: Sequence[str], shared: Sequence[str], **also: Any
    ) -> Entry:
        """The job that has these values and no others: the one that is there, or a new one.

        Args:
            values: what it is given; of a search not every job is given every name.
            overrides: the same in words of the command line.
            shared: words of all jobs.
            **also: arm, stage and trial; an earlier trial may have had the same job.
        """
        found = self.ledger.find(values, **{name: value for name, value in also.items() if name != "trial"})
        if found is not None:
            found.overrides = list(overrides)
            return found
        number = self.ledger.next_number()
        short = [
            f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}" for name, value in values.items()
        ]
        entry = Entry(number, job_name(number, short), dict(values), list(overrides), **also)
        self._remember(entry, shared)
        return self.ledger.add(entry)

    def _complete(
        self, values: dict[str, Any], overrides: list[str], shared: Sequence[str]
    ) -> tuple[dict[str, Any], list[str]]:
        """Values of names that only other jobs were given, as the configuration has them; and the other way round."""
        missing = [name for name in self.ledger.names if name not in values]
        if missing:
            config = self.composer.compose([*shared, *overrides])
            values |= {name: self.composer.value(config, name) for name in missing}
        absent = [name for name in values if name not in self.ledger.names]
        for entry in self.ledger.entries if absent else ():
            self.require_composable(entry.overrides)
            config = self.composer.compose([*shared, *entry.overrides])
            self.ledger.give(entry, {name: self.composer.value(config, name) for name in absent})
        return values, overrides

    def _remember(self, entry: Entry, shared: Sequence[str]) -> None:
        """Keeps the configuration of a job that is the first, or the first with some choice of a group."""
        groups = [name for name in entry.values if self.composer.is_group(name)]
        is_new = not self.ledger.entries or any(
            all(entry.values[name] != other.values.get(name) for other in self.ledger.entries) for name in groups
        )
        if is_new:
            config = without_hydra(self.composer.compose([*shared, *entry.overrides]))
            self.ledger.configs[str(entry.number)] = OmegaConf.to_container(config, resolve=False)

    def require_composable(self, words: Sequence[str]) -> None:
        """Refuses words of somebody else's sweep.json by which a job is to be known again.

        They are not run, but composed: a choice could name any file, a value any variable of the environment.

        Raises:
            UserError: for the first that is more than a plain value.
        """
        if self.ledger.why_not_own is not None:
            self.require_trusted(words)

    def require_trusted(self, words: Sequence[str]) -> None:
        """Refuses to run a job by words that come from sweep.json, where they name code and are not the user's own.

        Raises:
            UserError: with the first of them.
        """
        path, conf = self.directory / LEDGER, project_root() / "conf"
        why = self.ledger.why_not_own
        require_trust(path, first_unknown_word(words, path, conf), lambda: why, trust=bool(self.config.trust))

    # Running

    def state(self, entry: Entry) -> State:
        """What has become of a job."""
        return read_state(self.directory / entry.directory)

    def to_do(self, entries: Sequence[Entry]) -> list[Entry]:
        """Those that have not ended; with `sweep.retry_failed`, those that failed too."""
        again = ("failed", "infeasible") if self.config.sweep.retry_failed else ()
        states = {entry.number: self.state(entry) for entry in entries}
        for entry in entries:
            path = self.directory / entry.directory
            if path.exists() and not path.is_dir():
                raise UserError("a job must have a folder", f"{shortest(path)} is a file", f"rm {shortest(path)}")
        busy = [entry.directory for entry in entries if states[entry.number].name == "running"]
        if busy:
            print(f"running elsewhere, and left to it: {', '.join(busy)}")
        return [
            entry
            for entry in entries
            if states[entry.number].name != "running"
            and (not states[entry.number].has_ended or states[entry.number].name in again)
        ]

    def launch(self, entries: Sequence[Entry], shared: Sequence[str], progress: Progress) -> list[Entry]:
        """Runs jobs, those that were cut off from where they were; returns those whose process died again and again.

        Raises:
            RunStopped: by a signal; the sweep goes on with the same command.
        """
        left = list(entries)
        for n_deaths in range(1, MOST_DEATHS + 1):
            try:
                self._launch(left, shared, progress)
            except BrokenProcessPool:  # a worker was killed, and took the others with it
                left = [entry for entry in left if not self.state(entry).has_ended]
            else:
                return []
            if not left:
                return []
            if n_deaths < MOST_DEATHS:
                print(f"killed  a process of {counted(len(left), 'job')}: launched once more, from where they were")
        return left

    def require_ended(self, died: Sequence[Entry]) -> None:
        """Ends the sweep with an error where jobs have died.

        Raises:
            RunFailed: some have.
        """
        if died:
            names = ", ".join(entry.directory for entry in died[:3])
            raise RunFailed(
                f"the process of {counted(len(died), 'job')} was killed {MOST_DEATHS} times ({names}); all is saved "
                "that was reached; try the same command, which goes on, with more memory or fewer jobs at once"
            )

    def _launch(self, entries: Sequence[Entry], shared: Sequence[str], progress: Progress) -> None:
        jobs = [[*shared, *entry.overrides, f"hydra.sweep.subdir={entry.directory}"] for entry in entries]
        try:
            with progress, letting_jobs_finish(self.directory, [entry.directory for entry in entries]):
                self.launcher.launch(jobs, initial_job_idx=entries[0].number)
        except (RunStopped, KeyboardInterrupt) as stopped:
            message = str(stopped).partition("; resume=")[0] or "stopped by Ctrl-C"
            status = stopped.status if isinstance(stopped, RunStopped) else 130
            raise RunStopped(f"{message}; the same command goes on with the sweep", status) from None

    def progress(self, entries: Sequence[Entry], to_do: Sequence[Entry]) -> Progress:
        """What shows how far these jobs are."""
        return Progress(self.directory, entries, to_do, monitor=str(self.config.monitor), mode=str(self.config.mode))

    def say(self, entries: Sequence[Entry], to_do: Sequence[Entry]) -> None:
        """Tells on the terminal where the sweep lies and what is left of it."""
        names = [self.state(entry).name for entry in entries]
        counts = [f"{names.count(name)} {name}" for name in dict.fromkeys(names) if name != "waiting"]
        there = f" ({', '.join(counts)})" if counts else ""
        print(f"sweep   {self.told}: {counted(len(entries), 'job')}{there}, {len(to_do)} to do")
        n_failed = sum(name in ("failed", "infeasible") for name in names)
        if n_failed and not self.config.sweep.retry_failed:
            print(f"        {counted(n_failed, 'job')} failed before; sweep.retry_failed=true runs them again")

    def say_best(self, entries: Sequence[Entry]) -> None:
        """Tells which run came to the best value of `monitor`, and where to read more."""
        objectives = {
            entry.directory: read_result(self.directory / entry.directory).get("objective") for entry in entries
        }
        reached = {name: value for name, value in objectives.items() if isinstance(value, int | float)}
        if reached:
            best = (min if str(self.config.mode) == "min" else max)(reached, key=lambda name: reached[name])
            print(f"best    {self.config.monitor} {reached[best]:.4g}  {best}")
            print(f"report  python scripts/report.py {self.told}")


def parsed_value(words: Sequence[str], name: str, loader: ConfigLoader) -> Any:
    """The value that a name is given in words of the command line."""
    return next(o.value() for o in parse(words, loader) if o.key_or_group == name)


def jobs_at_once(launcher: Any) -> int:
    """How many jobs a launcher runs at the same time; 1 where it does not say."""
    launcher = launcher or {}
    n_jobs = launcher.get("members") or launcher.get("n_jobs", 1)
    if not isinstance(n_jobs, int):
        return 1
    if n_jobs == 0:
        raise UserError(
            "hydra.launcher.n_jobs must be a number of jobs, or -1 for one on each core", "hydra.launcher.n_jobs=0",
            "hydra.launcher.n_jobs=2",
        )  # fmt: skip
    if n_jobs > 0:
        return n_jobs
    from joblib import cpu_count  # which counts as its launcher does

    return max(1, int(cpu_count()) + 1 + n_jobs)
