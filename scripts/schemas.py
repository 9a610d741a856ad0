"""Writes a JSON schema for each group of conf/, by which an editor completes options and marks mistakes.

    python scripts/schemas.py

    out=.vscode/schemas    the folder for them

They are made of what the command line is checked by: the rules of options, the choices in conf/, and the signatures of
the classes that conf/ names, also of your own. `make setup` makes them, and `make schemas` anew after a change. They
lie in .vscode/schemas, to which .vscode/settings.json points. git ignores them, so that none is older than the code.
"""

import json
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra.utils
import lightning.pytorch as pl
import yaml

from mlplab.cli.script import Option, run_script
from mlplab.config.checks import rules_for
from mlplab.config.config_rules import SWEEP_RULES
from mlplab.config.rule_schemas import REFERENCE, Schema, schema_of_option
from mlplab.config.trainer_flags import CHOSEN_ELSEWHERE, TRAINER_FLAGS
from mlplab.instantiation import annotations_of, members_of, parameters_of
from mlplab.objectives import losses
from mlplab.objectives.options import OPTIONS as LOSS_OPTIONS
from mlplab.optimization.schedules import BY_EPOCH, BY_STEP, NOT_OPTIONS
from mlplab.own_code import DATA_OPTIONS

ROOT = Path(__file__).resolve().parents[1]

OPTIONS = {"out": Option("path", ROOT / ".vscode" / "schemas", example=".vscode/schemas")}

OF_HYDRA: Schema = {
    "_partial_": {"type": "boolean"}, "_recursive_": {"type": "boolean"}, "_convert_": {"type": "string"},
    "_args_": {"type": "array"},
}  # fmt: skip
"""Keys that Hydra reads beside a `_target_`."""

DEFAULTS: Schema = {"defaults": {"$ref": "#/$defs/defaults"}}

ENTRIES = ("callbacks", "logger", "metrics")
"""Groups whose keys are names of parts, each with a `_target_`."""

GLOBAL = ("experiment", "debug", "local", "hydra/default_sweeper")
"""Groups whose files hold values of all groups."""


@dataclass(frozen=True)
class Kind:
    """The options of a class or a named choice, and whether it takes any others."""

    options: dict[str, Schema]
    takes_any: bool = False


def main(settings: dict[str, Any]) -> None:
    out: Path = settings["out"]
    out.mkdir(parents=True, exist_ok=True)
    made = schemas(ROOT / "conf")
    for name, schema in made.items():
        (out / f"{name.replace('/', '.')}.json").write_text(json.dumps(schema, indent=1) + "\n", encoding="utf-8")
    print(f"schemas {len(made)} in {out}")


def schemas(conf: Path) -> dict[str, Schema]:
    """Makes the schemas: group, or `config` for conf/config.yaml → schema."""
    files = {path: yaml.safe_load(path.read_text(encoding="utf-8")) or {} for path in sorted(conf.rglob("*.yaml"))}
    whole = files.pop(conf / "config.yaml")
    by_group: dict[str, dict[str, Any]] = defaultdict(dict)
    for path, content in files.items():
        group = path.parent.relative_to(conf).as_posix()
        # Folders below experiment/ hold experiments.
        by_group["experiment" if group.startswith("experiment/") else group][path.stem] = content
    named = [name for item in whole["defaults"] if isinstance(item, dict) for name in item if " " not in name]
    by_group |= {name: {} for name in named if name not in by_group}
    made = {name: _of_group(name, choices, whole.get(name)) for name, choices in by_group.items() if name not in GLOBAL}
    referred = set(re.findall(r"\$\{(\w+)", "\n".join(path.read_text(encoding="utf-8") for path in files)))
    made |= dict.fromkeys(("config", *GLOBAL), _of_whole(whole, made, referred))
    definitions = _of_defaults(by_group)
    return {name: {"description": f"conf/{name}"} | schema | {"$defs": definitions} for name, schema in made.items()}


def _of_whole(whole: Mapping[str, Any], made: Mapping[str, Schema], referred: Iterable[str]) -> Schema:
    """Makes the schema of files that hold values of all groups: those of conf/config.yaml."""
    rules = rules_for({})
    known = {name: made[name] for name in made if "/" not in name}
    # Keys of one's own, which others are made of.
    properties: Schema = {name: {} for name in referred if name not in OF_HYDRA}
    for name, value in whole.items():
        if name in known or name in ("defaults", "hydra"):
            continue
        if isinstance(value, dict):
            parts = {key: schema_of_option(rules.get(f"{name}.{key}")) for key in value}
            properties[name] = _object(parts)
        else:
            properties[name] = schema_of_option(rules.get(name))
    for name, schema in known.items():
        properties[name] = {"anyOf": [schema, {"type": "null"}, REFERENCE]}
    of_hydra = {name.removeprefix("hydra/"): schema for name, schema in made.items() if name.startswith("hydra/")}
    properties["hydra"] = {"type": "object", "properties": of_hydra}
    return _object(properties | DEFAULTS)


def _of_defaults(groups: Mapping[str, Mapping[str, Any]]) -> Schema:
    """Makes the definitions of a list of defaults, and of the choices of each group."""
    # Hydra brings choices of its own for its groups, and packages may bring more.
    own = {name: choices for name, choices in groups.items() if choices and not name.startswith("hydra/")}
    definitions: Schema = {
        f"choice.{name.replace('/', '.')}": {"anyOf": [{"enum": [*choices, None]}, REFERENCE, {"type": "array"}]}
        for name, choices in own.items()
    }
    items: Schema = {
        written: {"$ref": f"#/$defs/choice.{name.replace('/', '.')}"} if name in own else {}
        for name in groups
        for written in (name, f"/{name}", f"override {name}", f"override /{name}", f"optional {name}")
    }
    of_hydra = {"@|^(override )?/?hydra/": {}}
    item = {"type": "object", "properties": items, "patternProperties": of_hydra, "additionalProperties": False}
    return definitions | {"defaults": {"type": "array", "items": {"anyOf": [{"type": "string"}, item]}}}


def _of_group(group: str, choices: Mapping[str, Any], own: Any) -> Schema:
    """Makes the schema of a group from its files, and from what conf/config.yaml has under its name."""
    if group in ENTRIES:
        return _of_entries(group, choices)
    if group == "trainer":
        return _of_trainer()
    kind = "name" if group in ("loss", "scheduler", "engine") else "_target_"
    given: dict[str, set[str]] = defaultdict(set)
    for content in choices.values():
        given[content.get(kind)] |= {name for name in content if name not in ("defaults", kind)}
    always = {*own} if isinstance(own, dict) else set()
    of_kinds = {name: _kind(group, kind, name, keys | always) for name, keys in given.items() if name is not None}
    if group == "loss":
        of_kinds["auto"].options.update(_union(of_kinds.values()))
    # What must be given is null in conf/.
    empty = {name for content in choices.values() for name, value in content.items() if value is None}
    for of_it in of_kinds.values():
        for name in empty & of_it.options.keys():
            of_it.options[name] = {"anyOf": [of_it.options[name], {"type": "null"}]}
    # A file may be put in the place above: `# @package callbacks`.
    above: Schema = {group.rpartition("/")[2]: {"type": "null"}} if "/" in group else {}
    return _told_apart(kind, of_kinds, above)


def _kind(group: str, kind: str, name: str, given: set[str]) -> Kind:
    """Finds the options of a class or a named choice, which files give some of."""
    prefix = group.replace("/", ".")
    rules = SWEEP_RULES if group.startswith("hydra/") else rules_for({prefix: name} if kind == "_target_" else {})
    function = _found(name) if kind == "_target_" else _named(group, name)
    parameters = {} if function is None else parameters_of(function)
    if group == "loss" and kind == "name":
        parameters = {key: p for key, p in parameters.items() if key in LOSS_OPTIONS}
    takes_any = parameters is None or any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    # What has no default and is in no file comes from the run: widths, parameters.
    options = given | {key for key, p in (parameters or {}).items() if p.default is not p.empty}
    options -= {*NOT_OPTIONS} if group == "scheduler" else set()
    if group == "data":
        options |= {*DATA_OPTIONS, "task"}
    # Options that the project itself reads, and no class takes.
    options |= {key for key in ("freeze", "compile", "groups") if f"{prefix}.{key}" in rules}
    kinds = {} if function is None else annotations_of(function)
    found = {
        key: schema_of_option(rules.get(f"{prefix}.{key}"), members_of(kinds.get(key, Any))) for key in sorted(options)
    }
    return Kind(found, takes_any or (function is None and kind == "_target_"))


def _found(target: str) -> Any:
    try:
        return hydra.utils.get_object(target)
    except Exception:  # an extra that is not installed, or code that has moved
        return None


def _named(group: str, name: str) -> Callable[..., Any] | None:
    if group == "loss":
        return getattr(losses, name, None)
    return {**BY_EPOCH, **BY_STEP}.get(name)


def _of_entries(group: str, choices: Mapping[str, Any]) -> Schema:
    """Makes the schema of a group of parts: name → null, a `_target_` with options, or options of a known name."""
    by_name: dict[str, dict[str, Kind]] = defaultdict(dict)
    for content in choices.values():
        for name, part in content.items():
            if isinstance(part, dict) and part.get("_target_"):
                target, given = part["_target_"], {key for key in part if key != "_target_"}
                by_name[name][target] = _kind(f"{group}/{name}", "_target_", target, given)
    of_all = {target: options for targets in by_name.values() for target, options in targets.items()}
    other = {"anyOf": [_told_apart("_target_", of_all) | {"required": ["_target_"]}, {"type": "null"}, REFERENCE]}
    entries = {
        name: {"anyOf": [_told_apart("_target_", targets), {"type": "null"}, REFERENCE]}
        for name, targets in by_name.items()
    }
    if group == "callbacks":  # chosen by a group of its own
        entries["averaging"] = {}
    return {"type": "object", "properties": entries | DEFAULTS, "additionalProperties": other}


def _of_trainer() -> Schema:
    rules, kinds = rules_for({}), annotations_of(pl.Trainer)
    flags = [flag for flag in (*TRAINER_FLAGS, "threads") if flag not in CHOSEN_ELSEWHERE]
    return _object(
        {flag: schema_of_option(rules.get(f"trainer.{flag}"), members_of(kinds.get(flag, Any))) for flag in flags}
        | DEFAULTS
    )


def _told_apart(kind: str, of_kinds: Mapping[str, Kind], others: Schema | None = None) -> Schema:
    """Makes the schema of an object whose options depend on the class or name that it begins with."""
    names: Schema = {"enum": [*of_kinds]}
    # A class may be anybody's. Names that nobody has are wrong where there is no class.
    is_class = kind == "_target_"
    properties: Schema = {kind: {"anyOf": [names, {"type": "string"}]} if is_class else names} | DEFAULTS
    properties.setdefault("_target_", {"type": "string"})
    cases = [
        {
            "if": {"properties": {kind: {"const": name}}, "required": [kind]},
            "then": _object(of_it.options | {kind: {}} | DEFAULTS | OF_HYDRA, is_open=of_it.takes_any),
        }
        for name, of_it in of_kinds.items()
    ]
    # A file that extends another one, or a part of an experiment, says neither.
    is_open = not of_kinds or any(of_it.takes_any for of_it in of_kinds.values())
    options = _object(_union(of_kinds.values()) | (others or {}) | DEFAULTS | OF_HYDRA, is_open=is_open)
    cases.append({"if": {"not": {"anyOf": [{"required": [kind]}, {"required": ["_target_"]}]}}, "then": options})
    return {"type": "object", "properties": properties, "allOf": cases}


def _union(kinds: Iterable[Kind]) -> dict[str, Schema]:
    found: dict[str, list[Schema]] = defaultdict(list)
    for kind in kinds:
        for name, schema in kind.options.items():
            found[name] += [schema] if schema not in found[name] else []
    return {name: of_it[0] if len(of_it) == 1 else {"anyOf": of_it} for name, of_it in found.items()}


def _object(properties: Mapping[str, Schema], *, is_open: bool = False) -> Schema:
    return {"type": "object", "properties": dict(properties)} | ({} if is_open else {"additionalProperties": False})


if __name__ == "__main__":
    sys.exit(run_script(main, OPTIONS, __doc__))
