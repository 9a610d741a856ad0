"""Explains why Hydra cannot compose a command line, with the nearest valid choice or name."""

import argparse
import difflib
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.conf import HydraConf
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from mlplab.config.checks import REQUIRED
from mlplab.config.commands import command, install
from mlplab.config.suggestions import nearest_key, nearest_name
from mlplab.config.trainer_flags import CHOSEN_ELSEWHERE, TRAINER_FLAGS
from mlplab.errors import UserError, first_of
from mlplab.parts import is_there, require_part
from mlplab.rules import shown

OF_EXTRAS = {"hydra/launcher=joblib": "sweeps"}
"""Choice → the package extra that installs its requirements."""

MEANT_FLAGS = {
    "help": "--help", "list": "--help", "ls": "--help", "choices": "--help", "options": "--help", "-?": "--help",
    "version": "--version", "-v": "--version", "-V": "--version",
}  # fmt: skip
"""Word or flag of other programs → the flag that does it here."""

OF_LISTS = ("dims", "betas", "applies_to", "class_weights")
"""Endings of option names with a list as value."""


SINGLE = ("data", "loss", "model", "optimizer", "scheduler")
"""Groups with exactly one choice per run."""

OF_SWEEPS = ("hydra/sweeper", "hydra/launcher", "hydra.sweeper.", "hydra.launcher.", "hydra.sweep.", "sweep.", "sweep=")
"""Prefixes of options that only a sweep reads."""


def require_known_flags(words: Sequence[str], conf: Path) -> None:
    """Refuses flags that Hydra does not have, in one line instead of argparse's usage.

    Raises:
        UserError: for the first of them.
    """
    parser = get_args_parser()
    parser.exit_on_error = parser.allow_abbrev = False
    try:
        unknown = parser.parse_known_args(words)[1]
    except argparse.ArgumentError as error:
        flag = str(error.argument_name).partition("/")[0]
        choices = list(parser._option_string_actions[flag].choices or ())
        what, hint = (f"one of {', '.join(choices)}", f"{flag} {choices[0]}") if choices else ("its value", "--help")
        given = [*words, ""][list(words).index(flag) + 1] if flag in words else ""
        raise UserError(f"{flag} must be followed by {what}", f"{flag}={given}", hint) from None
    if not unknown:
        return
    first = unknown[0]
    if not first.startswith("-"):
        # argparse accepts them in one place only.
        raise UserError("overrides must stand side by side", f"flags stand before {first}", "the flags first")
    if first in MEANT_FLAGS:
        raise UserError("flags must be those of --hydra-help", first, MEANT_FLAGS[first])
    name, equals, value = first.lstrip("-").partition("=")
    # Any flag of one letter would be near to -lr.
    flags = [flag for flag in parser._option_string_actions if flag.startswith("--")]
    near = next(iter(difflib.get_close_matches(first, flags, n=1, cutoff=0.75)), None)
    if near is None:
        with initialize_config_dir(str(conf), version_base="1.3"):
            key = nearest_key(name, _keys_with([]))
        if not equals:  # as in other programs: --lr 0.1
            behind = [*words, ""][list(words).index(first) + 1]
            value = "…" if not behind or behind.startswith("-") or "=" in behind else behind
        near = f"{key}={value}" if key else "--help"
    raise UserError("flags must be those of --hydra-help; all else is given as name=value", first, near)


def require_read_options(overrides: Sequence[str]) -> None:
    """Refuses options that nothing would read: a sweep's in a single run, and unknown ones of Hydra itself.

    Raises:
        UserError: for the first of them.
    """
    for text in overrides:
        if text.lstrip("+~").startswith(OF_SWEEPS):
            require_part("sweeps", text, "a single run, without it")
            sweep = command("train.py", "-m", *(word for word in overrides if word != "hydra.mode=RUN"))
            raise UserError("options of a sweep must be given with -m", f"{text} without it", sweep)
        group, _, name = re.split("[=@]", text.lstrip("+"))[0].partition(".")
        if group == "hydra" and name and name.partition(".")[0] not in HydraConf.__dataclass_fields__:
            near = nearest_name(name, list(HydraConf.__dataclass_fields__))
            hint = f"hydra.{near}" if near else "leaving it out"
            raise UserError("names below hydra must be those of Hydra, as --hydra-help lists them", text, hint)


def require_single_choices(overrides: Sequence[str]) -> None:
    """Refuses lists of choices and removed groups: Hydra composes them, but no run can be built.

    Raises:
        UserError: for the first of them.
    """
    for text in overrides:
        name, _, value = text.partition("=")
        if name in SINGLE and value.startswith("["):
            choices = value.strip("[]")
            first = f"{name}={choices.partition(',')[0].strip()}"
            hint = command("train.py", "-m", f"{name}={choices}") if is_there("sweeps") else first
            raise UserError(f"{name} must be one choice", text, hint)
        group = text.removeprefix("~")
        added = {re.split("[=.]", one.lstrip("+"))[0] for one in overrides if one.startswith("+")}
        if text == f"~{group}" and group in SINGLE and group not in added:  # `~model +model._target_=…` is a choice
            raise UserError(f"{group} must be chosen", text, f"{group}={REQUIRED[group]}")


def of_each_choice(words: Sequence[str], conf: Path) -> list[str]:
    """Lets a sweep use options that only its swept choices have: `optimizer.momentum=choice(0.5)`.

    Hydra first composes a sweep without its swept overrides, and would look for the option in the default choice.

    Args:
        words: of a sweep.
        conf: the folder of the configuration.
    """
    groups = [name for name, _, value in (word.partition("=") for word in words) if re.search("[,(]", value)]
    swept = tuple(f"{group.replace('/', '.')}." for group in groups if group and (conf / group).is_dir())
    options = [word for word in words if swept and word.startswith(swept) and "=" in word]
    if not options:
        return list(words)
    try:
        parsed = {word: OverridesParser.create().parse_override(word) for word in options}
        with initialize_config_dir(str(conf), version_base="1.3"):
            keys = _keys_with([])
    except (HydraException, OmegaConfBaseException, YAMLError):
        return list(words)  # the error is reported where the sweep is composed
    missing = [word for word, one in parsed.items() if one.key_or_group not in keys and not one.is_sweep_override()]
    return [word.replace("=", "=choice(", 1) + ")" if word in missing else word for word in words]


def explain_composition_error(error: Exception, overrides: Sequence[str], conf: Path) -> UserError:
    """Turns a failure to compose the configuration into a message with a suggestion."""
    if isinstance(error, OverrideParseException):
        text = str(error.override)
        key, equals, value = text.partition("=")
        if text.endswith(","):
            hint = text.rstrip(", ")
        elif value.startswith("="):
            hint = f"{key}={value.lstrip('=')}"
        else:
            hint = f"'{key}={_quoted(value)}'" if equals else _meant_by(text, conf)
        return UserError(
            "the command line must consist of GROUP=CHOICE and key=value", f"the override {text!r} does not parse", hint
        )
    # Choices and keys can only be read while Hydra is initialised, and its state was cleared by the failure.
    with initialize_config_dir(str(conf), version_base="1.3"):
        try:
            loader = GlobalHydra.instance().config_loader()
            parsed = OverridesParser.create(config_loader=loader).parse_overrides(list(overrides))  # each one parses
            known = _unknown_choice(parsed) or _sweep_without_flag(parsed) or _unknown_key(parsed, conf)
        except (HydraException, OmegaConfBaseException, YAMLError, ValueError):
            known = None
        reason = " ".join(str(error).split()) or type(error).__name__
        # Without a suggestion, Hydra's own message is the best explanation.
        return known or UserError("the configuration must compose", reason, command("train.py", "--help"))


def _meant_by(word: str, conf: Path) -> str:
    """Suggests an override for a word without "=", from the word that follows it on the command line."""
    if word in MEANT_FLAGS:
        return command("train.py", MEANT_FLAGS[word])
    if word in ("train", "run", "fit"):
        return command("train.py")
    words = [*sys.argv[1:], "", ""]
    behind = [one for one in words[words.index(word) + 1 :] if one != "="] if word in words else [""]
    value = behind[0] if "=" not in behind[0] and not behind[0].startswith("-") else ""
    word, _, attached = word.partition(":")  # as YAML has it: optimizer.lr: 0.1
    value = attached or value
    if word == "resume":
        return f"resume={value or 'logs/runs/NAME'}"
    # By os.path, as `Path.is_file` raises an error for a word that is too long for a name.
    groups = [group.name for group in sorted(conf.iterdir()) if os.path.isfile(group / f"{word.lower()}.yaml")]
    if groups:
        return f"{groups[0]}={word.lower()}"
    with initialize_config_dir(str(conf), version_base="1.3"):
        key = nearest_key(word, _keys_with([]))
    return f"{key}={value or '…'}" if key else command("train.py", "--help")


def _quoted(value: str) -> str:
    """Quotes a value, or each value of a list, so that Hydra accepts any text."""
    if value.startswith("[") and value.endswith("]"):
        return f"[{','.join(_quoted(part.strip()) for part in value[1:-1].split(','))}]"
    for quote in "'\"":  # one around the whole value, not one that is part of it
        if len(value) > 1 and value[0] == value[-1] == quote:
            value = value[1:-1]
    return '"{}"'.format(value.replace('"', r"\""))


def _typed(override: Override) -> tuple[str, str]:
    """Returns an override as it was typed, and its value alone."""
    text = override.input_line or override.key_or_group
    text = re.sub(r"=choice\(([^,]*)\)$", r"=\1", text)  # made by `of_each_choice`
    return text, text.partition("=")[2]


def _sweep_without_flag(overrides: Sequence[Override]) -> UserError | None:
    # From sys.argv, as Hydra does not reveal its flags when it fails.
    if {"-m", "--multirun"} & set(sys.argv[1:]):
        return None
    for override in overrides:
        if override.is_sweep_override():
            (text, value), key = _typed(override), override.key_or_group
            # 64,32 is a list without brackets.
            if is_there("sweeps"):
                several, hint = "; several need -m", command("train.py", "-m", text)
            else:
                several, hint = "", f"{key}={value.partition(',')[0]}"
            hint = f"{key}=[{value}]" if key.endswith(OF_LISTS) and not value.startswith("[") else hint
            return UserError(f"a single run must be given one value for each name{several}", text, hint)
    return None


def _choices(group: str) -> list[str]:
    choices: list[str] = GlobalHydra.instance().config_loader().get_group_options(group, ObjectType.CONFIG)
    return sorted(choices)


def _values(override: Override) -> list[Any]:
    if override.is_sweep_override():
        return list(override.sweep_string_iterator()) if override.is_discrete_sweep() else []
    return [override.value()]


def _unknown_choice(overrides: Sequence[Override]) -> UserError | None:
    for override in overrides:
        group = override.key_or_group
        choices = _choices(group) if group else []
        for value in _values(override) if choices else []:
            if isinstance(value, list) or str(value) in choices:
                continue
            if f"{group}={value}" in OF_EXTRAS:
                hint = install(OF_EXTRAS[f"{group}={value}"])
                return UserError(f"{group}={value} must have its package installed", "there is none", hint)
            if isinstance(value, dict):
                text, typed = _typed(override)
                hint = f"~{group} '+{group}={typed}', or a file conf/{group}/NAME.yaml that holds it"
                return UserError(f"{group} must be one of {', '.join(choices)}", text, hint)
            near = nearest_name(str(value), choices) or choices[0]
            return UserError(
                f"{group} must be one of {', '.join(choices)}", f"{group}={shown(value)}", f"{group}={near}"
            )
    return None


def _unknown_key(overrides: Sequence[Override], conf: Path) -> UserError | None:
    # The chosen groups determine the keys. In a sweep over a group, the first choice represents all.
    groups = [f"{o.key_or_group}={_values(o)[0]}" for o in overrides if _choices(o.key_or_group) and _values(o)]
    keys = _keys_with(groups)
    for override in overrides:
        key, (text, value) = override.key_or_group, _typed(override)
        if lacking := _choice_without(key, overrides):
            return UserError(f"{key} must be an option of each choice", f"{lacking} has none", f"-m without {lacking}")
        if override.is_add() and key in keys:
            # Hydra refuses + for an existing name.
            return UserError("+ must only be used for names that are not in the configuration", text, text[1:])
        # Nested groups such as `callbacks/averaging` are not keys.
        if override.is_add() or override.is_force_add() or key in keys or _choices(key):
            continue
        if key.endswith("._target_"):
            return UserError("names on the command line must exist in the configuration", text, f"+{text}")
        if key.startswith(("hydra.sweeper.", "hydra.launcher.")):
            unknown = _unknown_setting_of_a_sweep(key, text, groups)
            if unknown is not None:
                return unknown
        if key.startswith("hydra"):
            continue
        flag = key.removeprefix("trainer.") if key.startswith("trainer.") else ""
        # Lightning has these flags, so suggesting the nearest name would mislead.
        if flag in CHOSEN_ELSEWHERE:
            return UserError(f"{key} must be chosen by another option", text, CHOSEN_ELSEWHERE[flag])
        hint = _other_choice_with(key, value, conf) or (f"+{text}" if flag in TRAINER_FLAGS else None)
        if hint is None:
            beside = _options_beside(key, groups)
            near = nearest_key(key, beside or keys)
            # A nested group: `callbacks/averaging`.
            near = near.replace(".", "/") if near and value in _choices(near.replace(".", "/")) else near
            place = f"{key.rpartition('.')[0] or key}."
            within = [one for one in keys if one.startswith(place) and "._" not in one]  # as in _target_
            others = (
                f"one of {first_of(within, 8)}" if within else f"{command('train.py', '--help')}, which lists them all"
            )
            hint = f"{near}={value}" if near else others
            if not near and beside:
                hint = f"+{text}, if its _target_ takes it"
        return UserError("names on the command line must exist in the configuration", text, hint)
    return None


def _options_beside(key: str, groups: list[str]) -> list[str]:
    """Returns the options of the key's group if it builds the user's own class; else an empty list."""
    group = key.rpartition(".")[0]
    node = OmegaConf.select(compose("config", overrides=groups), group) if group else None
    target = node.get("_target_") if isinstance(node, DictConfig) else None
    if target is None or str(target).startswith(("mlplab.", "torch.", "lightning.")):
        return []
    return [f"{group}.{name}" for name in node if name != "_target_"]  # type: ignore[union-attr]


def _choice_without(key: str, overrides: Sequence[Override]) -> str | None:
    """Returns the swept choice, such as `optimizer=adam`, without a key that another has; None if all have it."""
    for override in overrides:
        group = override.key_or_group
        if override.is_sweep_override() and key.startswith(f"{group.replace('/', '.')}.") and _choices(group):
            have = {f"{group}={choice}": key in _keys_with([f"{group}={choice}"]) for choice in _values(override)}
            if any(have.values()) and not all(have.values()):
                return next(choice for choice, has_it in have.items() if not has_it)
    return None


def _unknown_setting_of_a_sweep(key: str, text: str, groups: list[str]) -> UserError | None:
    _, part, name = key.split(".")[:3]
    known = _settings_of(part, groups)
    if name in known:
        return None
    # The basic launcher and the grid sweeper have no options.
    choices = [choice for choice in _choices(f"hydra/{part}") if choice not in ("basic", "grid")]
    others = [choice for choice in choices if name in _settings_of(part, [f"hydra/{part}={choice}"])]
    fitting = others or choices
    # A cluster is suggested only if no other choice has the option.
    choice = ([one for one in fitting if not one.startswith("submitit_")] or fitting)[-1]
    near = nearest_name(name, known) or ("" if others or not known else known[0])
    value = text.partition("=")[2]
    hint = f"hydra.{part}.{near}={value}" if near else f"hydra/{part}={choice} {text}"
    requirement = f"an option of the {part} must be one of {', '.join(known)}"
    return UserError(requirement if known else f"the {part} must be one that has options", text, hint)


def _settings_of(part: str, groups: list[str]) -> list[str]:
    """Returns the option names of the chosen sweeper or launcher."""
    config = compose("config", overrides=groups, return_hydra_config=True)
    return [str(name) for name in config.hydra[part] if not str(name).startswith("_")]


def _keys_with(groups: list[str]) -> list[str]:
    """Returns all group names and dotted keys of the configuration with these choices."""
    try:
        config = compose("config", overrides=groups)
    except (HydraException, OmegaConfBaseException):
        config = compose("config")  # the defaults, as the given choices do not compose
    names: list[str] = GlobalHydra.instance().config_loader().get_group_options("", ObjectType.GROUP)
    return [*names, *_dotted_keys(OmegaConf.to_container(config, resolve=False))]


def _other_choice_with(key: str, value: str, conf: Path) -> str | None:
    """Suggests another choice of the group that has the key: `loss=cross_entropy loss.label_smoothing=0.1`."""
    *within, last = key.split(".")
    for group in ("/".join(within[:depth]) for depth in range(1, len(within) + 1)):  # `callbacks/averaging` is one too
        fitting = [
            choice
            for choice in _choices(group)
            # Composing takes a tenth of a second, so only where the file, or its defaults list, may have it.
            if re.search(rf"^(.*\b{re.escape(last)}|defaults):", _text_of(conf, group, choice), re.MULTILINE)
            and key in _dotted_keys(OmegaConf.to_container(compose("config", [f"{group}={choice}"]), resolve=False))
        ]
        if fitting:
            return f"{group}={nearest_name(last, fitting) or min(fitting, key=len)} {key}={value}"
    return None


def _text_of(conf: Path, group: str, choice: str) -> str:
    path = conf / group / f"{choice}.yaml"
    return path.read_text(encoding="utf-8") if path.is_file() else "defaults:"  # a plug-in's


def _dotted_keys(node: Any, prefix: str = "") -> list[str]:
    if not isinstance(node, dict):
        return []
    return [
        key for name, value in node.items() for key in (f"{prefix}{name}", *_dotted_keys(value, f"{prefix}{name}."))
    ]
