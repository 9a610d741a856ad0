"""What was asked: commands, what differs from conf/, the budget, the machine and the time."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlplab.config.differing import ABSENT, changes
from mlplab.config.rules import shown
from mlplab.errors import counted
from mlplab.report.analysis import Analysis
from mlplab.report.commands import OF_THE_SWEEP, portable, portable_command
from mlplab.report.finished_runs import Gathered, as_mapping, as_number, same
from mlplab.report.formatting import goal, number
from mlplab.report.ranked_settings import value_text
from mlplab.sweeps.ledger import SEEDS
from mlplab.sweeps.sweep_progress import duration

UNTOLD = ("paths", "sweep", "resume", "trust", *SEEDS)
"""Keys of no account for what was learned."""


def facts(analysis: Analysis, root: Path) -> list[tuple[str, str]]:
    """Name and text of all that was asked; texts can have several lines.

    Args:
        analysis: of the sweep.
        root: the project, with conf/.
    """
    sweep = analysis.sweep
    asked = sweep.asked
    listed = asked.get("commands")
    commands = [portable_command(str(command)) for command in (listed if isinstance(listed, list) else [])]
    found = [("command" if len(same(commands)) < 2 else "commands", "\n".join(same(commands)))]
    found.append(("search", _search(sweep)))
    found.append(("space", "\n".join(f"{name}: {_taken(space)}" for name, space in sweep.space.items())))
    shared = [portable(word) for word in sweep.constants if not OF_THE_SWEEP.match(word)]
    found.append(("shared by all runs", "\n".join(shared)))
    found.append(("differs from conf/", "\n".join(_differing(analysis, root))))
    better = {"min": "smaller", "max": "larger"}
    decided = ", ".join(f"{objective.metric}, {better[objective.mode]} is better" for objective in sweep.objectives)
    found += [("decided by", decided), ("target", goal(sweep.target) if sweep.target is not None else "")]
    found.append(("time", _time(sweep)))
    found += [(name, "\n".join(texts)) for name, texts in _machines(sweep)]
    return [(name, text) for name, text in found if text]


def _search(sweep: Gathered) -> str:
    asked, search = sweep.asked, as_mapping(sweep.asked.get("search"))
    told = [str(asked.get("sweeper") or "")]
    named = {name: search.get(name) for name in ("sampler", "seed", "pruner")}
    told += [f"{name} {value}" for name, value in named.items() if value not in (None, "none")]
    budget = as_mapping(search.get("budget"))
    comparison = as_mapping(asked.get("comparison"))
    told += [f"{shown(value)} {name}" for name, value in budget.items() if value is not None and not comparison]
    told += [f"{counted(int(n), 'trial')} for each arm"] if (n := as_number(comparison.get("trials"))) else []
    told += [
        f"{name.replace('_', ' ')} {shown(comparison[name])}"
        for name in ("tuning_seeds", "seeds")
        if name in comparison
    ]
    return ", ".join(text for text in told if text)


def _taken(space: Mapping[str, Any]) -> str:
    values = space.get("values")
    if isinstance(values, list):
        return ", ".join(value_text(value) for value in values[:40]) + (", …" if len(values) > 40 else "")
    kind = "whole numbers " if space.get("kind") == "int" else ""
    scale = ", on a logarithmic scale" if space.get("log") else ""
    return f"{kind}{number(as_number(space.get('low')))} to {number(as_number(space.get('high')))}{scale}"


def _differing(analysis: Analysis, root: Path) -> list[str]:
    """Values of the first configuration that conf/ has otherwise, but for what was swept."""
    config = next(iter(analysis.sweep.configs.values()), None)
    default = _default(root) if config is not None else None
    if default is None or not isinstance(config, Mapping):
        return []
    changed = changes(default, config, (*UNTOLD, *analysis.sweep.space, *analysis.axes))
    return [
        f"{key}: {portable(shown(now)) if now is not ABSENT else 'left out'}"
        f"{'' if then is ABSENT else f' (conf/: {portable(shown(then))})'}"
        for key, (then, now) in changed.items()
    ]


def _default(root: Path) -> Any:
    """What conf/ gives without a word on the command line; None where it cannot be composed."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from mlplab.config.resolvers import register_resolvers

    try:
        register_resolvers(root)
        with initialize_config_dir(str(root / "conf"), version_base="1.3"):
            return OmegaConf.to_container(compose("config"), resolve=False)
    except Exception:  # whatever a changed conf/ can cause: then the report tells what was typed alone
        return None


def _time(sweep: Gathered) -> str:
    started = str(sweep.asked.get("started") or "")[:16].replace("T", " ")
    seconds = as_number(sweep.asked.get("seconds"))
    trained = sum(run.measured.get("seconds", 0.0) for run in sweep.runs)
    told = [f"begun {started} UTC"] if started else []
    told += [f"{duration(seconds)} by the clock"] if seconds else []
    told += [f"{duration(trained)} of training in all"] if trained else []
    return ", ".join(told)


def _machines(sweep: Gathered) -> list[tuple[str, list[str]]]:
    """Hardware, versions, code and data: each distinct one, as a rule a single one."""
    tellers: dict[str, Callable[[Mapping[str, Any]], str]] = {
        "machine": _machine, "versions": _versions, "commit": _commit, "data": _data,
    }  # fmt: skip
    manifests = [run.manifest for run in sweep.runs if run.manifest]
    return [(name, [text for text in same(tell(m) for m in manifests) if text][:4]) for name, tell in tellers.items()]


def _machine(manifest: Mapping[str, Any]) -> str:
    hardware = as_mapping(manifest.get("hardware"))
    gpus = hardware.get("gpus")
    told = [hardware.get("processor"), f"{hardware.get('cores', '?')} cores", *(gpus if isinstance(gpus, list) else [])]
    told += [f"{counted(int(n), 'thread')} for each run"] if (n := as_number(manifest.get("threads"))) else []
    return ", ".join(str(text) for text in told if text) if hardware else ""


def _versions(manifest: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in as_mapping(manifest.get("versions")).items())


def _commit(manifest: Mapping[str, Any]) -> str:
    git = as_mapping(manifest.get("git"))
    commit = str(git.get("commit") or "")[:12]
    return f"{commit}{', with changes that are not in it' if git.get('dirty') else ''}" if commit else ""


def _data(manifest: Mapping[str, Any]) -> str:
    data = as_mapping(manifest.get("data"))
    rows = "/".join(str(count) for count in as_mapping(data.get("rows")).values())
    told = [str(data.get("name") or ""), f"{rows} rows to train/validate/test" if rows else ""]
    told.append(f"fingerprint {str(data['fingerprint'])[:12]}" if data.get("fingerprint") else "")
    return ", ".join(text for text in told if text)


def headline(analysis: Analysis) -> Sequence[str]:
    """The sweep in a few words."""
    sweep = analysis.sweep
    swept = [name for name in sweep.space if name not in SEEDS] or list(analysis.axes)
    datasets = same(as_mapping(run.manifest.get("data")).get("name") for run in sweep.runs if run.manifest)
    told = [f"{counted(len(sweep.runs), 'run')} of {counted(len(analysis.searched or analysis.settings), 'setting')}"]
    told += [f"arms {', '.join(arm.name for arm in analysis.arms)}"] if analysis.arms else []
    told += [f"over {', '.join(swept)}"] if swept else []
    told += [str(name) for name in datasets[:3] if name]
    return told
