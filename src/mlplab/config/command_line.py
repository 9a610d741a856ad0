"""Between the person at the keyboard and Hydra: mistakes become one message with a suggestion."""

import difflib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mlplab.config.resolvers import register_resolvers
from mlplab.config.rules import check
from mlplab.errors import Refusal, RunFailed, RunStopped

EXIT_FAILED, EXIT_REFUSED, EXIT_INTERRUPTED = 1, 2, 130


def run_command(main: Callable[[], None], root: Path) -> int:
    """Runs a function that `hydra.main` has decorated, and returns the exit status of the process.

    Args:
        main: composes the configuration and runs it.
        root: the project, where conf/ lies.
    """
    # Set by the user it means "show me the traceback". Set by us, Hydra lets exceptions through to here.
    wants_traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"
    register_resolvers(root)
    overrides = [word for word in sys.argv[1:] if not word.startswith("-") and ("=" in word or word[0] == "~")]
    try:
        if {"-m", "--multirun"} & set(sys.argv[1:]):
            check_sweep(overrides, root / "conf")
        main()
    except RunStopped as stopped:
        return _report(stopped, EXIT_INTERRUPTED)
    except KeyboardInterrupt:
        return _report("interrupted", EXIT_INTERRUPTED)
    except (Refusal, RunFailed, HydraException, OmegaConfBaseException) as error:
        if wants_traceback:
            raise
        if isinstance(error, RunFailed):
            return _report(error, EXIT_FAILED)
        return _report(error if isinstance(error, Refusal) else explain(error, overrides, root / "conf"), EXIT_REFUSED)
    return 0


def run_job(train: Callable[[DictConfig], float], config: DictConfig) -> float:
    """Runs one job; in a single run its mistake ends the process with one message.

    Hydra catches every `Exception` of a job and prints a line of its own before raising it again. In a sweep
    that is wanted: the other jobs go on, and the line tells which one failed.
    """
    try:
        return train(config)
    except (Refusal, RunFailed) as error:
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            raise
        raise SystemExit(_report(error, EXIT_REFUSED if isinstance(error, Refusal) else EXIT_FAILED)) from None


def _report(message: object, status: int) -> int:
    print(f"{Path(sys.argv[0]).name}: {message}", file=sys.stderr, flush=True)
    return status


def check_sweep(overrides: Sequence[str], conf: Path) -> None:
    """Checks every value of a sweep before its first job starts.

    Each swept value is tried with the first values of the others: as many checks as values, not as jobs.

    Raises:
        Refusal: for the first value that cannot be run.
    """
    with initialize_config_dir(str(conf), version_base="1.3"):
        try:
            parsed = OverridesParser.create().parse_overrides(list(overrides))
            alternatives = [_alternatives(override) for override in parsed]
            first = [values[0] for values in alternatives if values]
            for values in [[value] for value in first[:1]] + [v for v in alternatives if len(v) > 1]:
                for value in values:
                    others = [v[0] for v in alternatives if v and value not in v]
                    check(compose("config", overrides=[*others, value]))
        except (HydraException, OmegaConfBaseException) as error:
            raise explain(error, overrides, conf) from None


def _alternatives(override: Override) -> list[str]:
    """The overrides that a sweep makes of one; none of one that only a search can draw from."""
    if not override.is_sweep_override():
        return [override.input_line] if override.input_line else []
    if not override.is_discrete_sweep():
        return []
    return [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]


def explain(error: Exception, overrides: Sequence[str], conf: Path) -> Refusal:
    """Turns a failure to compose the configuration into a message that names the nearest valid choice."""
    if isinstance(error, OverrideParseException):
        return Refusal(
            "the command line must consist of GROUP=CHOICE and key=value",
            f"{error.override!r} does not parse",
            "quotes around it, as in 'key=\"some text\"'",
        )
    with initialize_config_dir(str(conf), version_base="1.3"):
        parsed = OverridesParser.create().parse_overrides(list(overrides))
        return (
            _unknown_choice(parsed)
            or _unknown_key(parsed)
            or Refusal("the configuration must compose", str(error).splitlines()[0], "python train.py --help")
        )


def _group_choices(group: str) -> list[str]:
    choices: list[str] = GlobalHydra.instance().config_loader().get_group_options(group, ObjectType.CONFIG)
    return sorted(choices)


def _values(override: Override) -> list[Any]:
    if override.is_sweep_override():
        return list(override.sweep_string_iterator()) if override.is_discrete_sweep() else []
    return [override.value()]


def _unknown_choice(overrides: Sequence[Override]) -> Refusal | None:
    for override in overrides:
        group = override.key_or_group
        choices = _group_choices(group)
        for value in _values(override) if choices else []:
            if isinstance(value, str) and value not in choices:
                example = (difflib.get_close_matches(value, choices, n=1) or choices)[0]
                return Refusal(
                    f"{group} must be one of {', '.join(choices)}", f"{group}={value}", f"{group}={example}"
                )
    return None


def _unknown_key(overrides: Sequence[Override]) -> Refusal | None:
    groups = [f"{o.key_or_group}={_values(o)[0]}" for o in overrides if _group_choices(o.key_or_group) and _values(o)]
    try:
        known = compose("config", overrides=groups)
    except (HydraException, OmegaConfBaseException):
        known = compose("config")
    group_names = GlobalHydra.instance().config_loader().get_group_options("", ObjectType.GROUP)
    keys = [*group_names, *_dotted_keys(OmegaConf.to_container(known, resolve=False))]
    for override in overrides:
        key = override.key_or_group
        if key in keys or override.is_add() or override.is_force_add() or key.startswith("hydra"):
            continue
        given = override.input_line or key
        return Refusal("a name on the command line must be one of the configuration's", given, _nearest_key(key, keys))
    return None


def _nearest_key(key: str, keys: Sequence[str]) -> str:
    """The most similar name; failing that, one that ends alike (`lr` → `optimizer.lr`)."""
    last = key.rsplit(".", 1)[-1]
    ends_alike = [known for known in keys if known.rsplit(".", 1)[-1] == last]
    close = difflib.get_close_matches(key, keys, n=1, cutoff=0.75)
    by_last_part = difflib.get_close_matches(last, [known.rsplit(".", 1)[-1] for known in keys], n=1, cutoff=0.8)
    misspelt = [known for known in keys if by_last_part and known.rsplit(".", 1)[-1] == by_last_part[0]]
    candidates = [*ends_alike[:1], *close, *misspelt[:1]]
    return candidates[0] if candidates else "python train.py --help, which lists them all"


def _dotted_keys(node: Any, prefix: str = "") -> list[str]:
    if not isinstance(node, dict):
        return []
    keys = []
    for name, value in node.items():
        keys += [f"{prefix}{name}", *_dotted_keys(value, f"{prefix}{name}.")]
    return keys
