"""Provenance: what differs from conf/, the budget, the machine and the time."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlplab.config.differing import ABSENT, changes
from mlplab.errors import counted, printable
from mlplab.report.rerun_commands import portable, portable_command, shared_words
from mlplab.report.sweep_analysis import SweepAnalysis
from mlplab.rules import shown
from mlplab.sweeps.job_values import SEEDS
from mlplab.sweeps.reading.formatting import machine_text, number, value_text
from mlplab.sweeps.reading.sweep_reading import constraints_of
from mlplab.sweeps.reading.sweep_records import SweepRecord, as_list, as_mapping, as_number, distinct
from mlplab.sweeps.sweep_progress import duration

MOST_NAMED = 8  # swept options in the first line
UNTOLD = ("paths", "sweep", "resume", "trust", *SEEDS)  # keys that do not affect what is learned


def provenance_of(analysis: SweepAnalysis, root: Path) -> list[tuple[str, str]]:
    """Returns name and text of everything that was asked and used; texts can have several lines."""
    sweep = analysis.sweep
    # Folders of one machine mean nothing on another, and can hold a user's name.
    commands = distinct(portable_command(str(command)) for command in as_list(sweep.asked.get("commands")))
    better = {"min": "smaller", "max": "larger"}
    spaces = [(f"{arm}: " if arm is not None else "", those) for arm, those in sweep.spaces.items()]
    manifests = [run.manifest for run in sweep.runs if run.manifest]
    versions = [as_mapping(manifest.get("versions")) for manifest in manifests]
    facts = {
        "sources": [portable(str(source)) for source in as_list(sweep.asked.get("sources"))],
        "command" if len(commands) < 2 else "commands": commands,
        "search": [_search(sweep)],
        "space": [f"{arm}{name}: {_space(space)}" for arm, those in spaces for name, space in those.items()],
        "shared by all runs": shared_words(sweep.constants),
        "differs from conf/": _differing(analysis, root),
        "decided by": [", ".join(f"{o.metric}, {better[o.mode]} is better" for o in sweep.objectives)],
        "constraints": list(map(printable, constraints_of(sweep.asked))),
        "target": [printable(sweep.target)] if sweep.target is not None else [],
        "time": [_time(sweep)],
        # As a rule there is one of each; of many, a few show that they differ.
        "machine": distinct(map(machine_text, manifests))[:4],
        "versions": distinct(", ".join(f"{name} {v}" for name, v in one.items()) for one in versions)[:4],
        "commit": distinct(map(_commit, manifests))[:4],
        "data": distinct(map(_data, manifests))[:4],
    }
    texts = {name: "\n".join(filter(None, lines)) for name, lines in facts.items()}
    return [(name, text) for name, text in texts.items() if text]


def headline(analysis: SweepAnalysis) -> Sequence[str]:
    """Describes the sweep in a few words."""
    sweep, n_settings = analysis.sweep, len(analysis.searched or analysis.settings)
    swept = [name for name in _swept(sweep) if name not in SEEDS] or list(analysis.axes)
    datasets = distinct(as_mapping(run.manifest.get("data")).get("name") for run in sweep.runs if run.manifest)
    parts = [f"{counted(len(sweep.runs), 'run')} of {counted(n_settings, 'setting')}"]
    parts += [f"arms {', '.join(arm.name for arm in analysis.arms)}"] if analysis.arms else []
    more = f" and {counted(len(swept) - MOST_NAMED, 'more option')}" if len(swept) > MOST_NAMED else ""
    parts += [f"over {', '.join(swept[:MOST_NAMED])}{more}"] if swept else []
    return [*parts, *(str(name) for name in datasets[:3] if name)]


def _swept(sweep: SweepRecord) -> list[str]:
    return list(dict.fromkeys(name for spaces in sweep.spaces.values() for name in spaces))


def _search(sweep: SweepRecord) -> str:
    search, comparison = as_mapping(sweep.asked.get("search")), as_mapping(sweep.asked.get("comparison"))
    # The budget of a comparison is that of each arm.
    budget = {} if comparison else as_mapping(search.get("budget"))
    seeds, trials = as_list(search.get("seeds")), as_number(comparison.get("trials"))
    names = [name for name in ("sampler", "seed", "pruner") if search.get(name) not in (None, "none")]
    parts = [str(sweep.asked.get("sweeper") or ""), *(f"{name} {search[name]}" for name in names)]
    parts += [f"{shown(value)} {name}" for name, value in budget.items() if value is not None]
    parts += [f"each trial on {counted(len(seeds), 'seed')}"] if seeds else []
    parts += [f"{counted(int(trials), 'trial')} for each arm"] if trials else []
    parts += [f"{n.replace('_', ' ')} {shown(comparison[n])}" for n in ("tuning_seeds", "seeds") if n in comparison]
    return ", ".join(filter(None, parts))


def _space(space: Mapping[str, Any]) -> str:
    if isinstance(values := space.get("values"), list):
        return ", ".join(map(value_text, values))
    kind = "whole numbers " if space.get("kind") == "int" else ""
    scale = ", on a logarithmic scale" if space.get("log") else ""
    return f"{kind}{number(as_number(space.get('low')))} to {number(as_number(space.get('high')))}{scale}"


def _differing(analysis: SweepAnalysis, root: Path) -> list[str]:
    """Lists values of the first known configuration that differ from conf/ and were not swept."""
    # One is enough, as configurations of a sweep differ in what is swept.
    config = next(iter(analysis.sweep.configs.values()), None)
    if not isinstance(config, Mapping):
        return []
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from mlplab.config.resolvers import register_resolvers

    try:
        register_resolvers(root)
        with initialize_config_dir(str(root / "conf"), version_base="1.3"):
            # Unresolved, as the configurations in sweep.json are.
            default = OmegaConf.to_container(compose("config"), resolve=False)
    except Exception:  # a changed conf/ can fail in any way, and the report does without the comparison
        return []
    # Swept parameters differ by intention, and stand in the space.
    changed = changes(default, config, (*UNTOLD, *_swept(analysis.sweep), *analysis.axes))
    texts = {key: ["" if v is ABSENT else portable(shown(v)) for v in both] for key, both in changed.items()}
    return [f"{key}: {now or 'left out'}{f' (conf/: {then})' if then else ''}" for key, (then, now) in texts.items()]


def _time(sweep: SweepRecord) -> str:
    started = str(sweep.asked.get("started") or "")[:16].replace("T", " ")
    seconds = as_number(sweep.asked.get("seconds"))
    trained = sum(run.measured.get("seconds", 0.0) for run in sweep.runs)
    parts = [f"begun {started} UTC"] if started else []
    parts += [f"{duration(seconds)} by the clock"] if seconds else []
    # Longer than by the clock, where jobs ran side by side.
    parts += [f"{duration(trained)} of training in all"] if trained else []
    return ", ".join(parts)


def _commit(manifest: Mapping[str, Any]) -> str:
    git = as_mapping(manifest.get("git"))
    # Twelve digits are enough for git to find it.
    commit = str(git.get("commit") or "")[:12]
    return f"{commit}{', with changes that are not in it' if git.get('dirty') else ''}" if commit else ""


def _data(manifest: Mapping[str, Any]) -> str:
    data = as_mapping(manifest.get("data"))
    rows = "/".join(str(count) for count in as_mapping(data.get("rows")).values())
    print = f"fingerprint {str(data['fingerprint'])[:12]}" if data.get("fingerprint") else ""
    return ", ".join(filter(None, [str(data.get("name") or ""), rows and f"{rows} rows to train/validate/test", print]))
