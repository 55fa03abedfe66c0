"""Convert recipe tables to dataclasses and back: a field is a key, its type is what is allowed.

Every error is one line with the table, the key, the value, what is allowed and, for an unknown key, the closest one.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from types import MappingProxyType
from typing import Annotated, Any, get_args, get_type_hints

from pydantic import TypeAdapter, ValidationError

from sparring.common.errors import ConfigError, nearest
from sparring.common.functions import GivenFunction

TomlTable = Mapping[str, Any]

LONGEST_SHOWN = 200  # characters of a value that a message quotes
_UNWRITABLE = re.compile("[\0\ud800-\udfff]")  # NUL and lone surrogates

# Marks of a field, in `Annotated`:
ADJUSTABLE = "adjustable"  # it only decides whether a run stops or what it saves
PATH = "path"  # it may name a file or folder, which a bundle of the run then packs
SCRIPT = "script"  # it may name a function, `path/to/file.py:function`, or in Python be one; a bundle packs the file
TABLE = "rows"  # it is the source of a table; a program may give the rows themselves, which the class writes to a file

FilePath = Annotated[str, PATH]
RowSource = Annotated[str, PATH, TABLE]
ScriptFunction = Annotated[str, SCRIPT]


def keys(kind: Any) -> Mapping[str, Any]:
    """Return the fields of a dataclass that can be set, with their types."""
    return _keys(kind)


@cache
def _keys(kind: Any) -> Mapping[str, Any]:
    hints = get_type_hints(kind, include_extras=True)
    return MappingProxyType({field.name: hints[field.name] for field in fields(kind) if field.init})


@cache
def _reader(hint: Any) -> TypeAdapter[Any]:
    return TypeAdapter(hint)


def marked(kind: Any, mark: str) -> frozenset[str]:
    """Return the names of the fields of a dataclass that have `mark`, also in one alternative (`FilePath | None`)."""
    return frozenset(name for name, hint in keys(kind).items() if _is_marked(hint, mark))


def _is_marked(hint: Any, mark: str) -> bool:
    return any(mark in getattr(alternative, "__metadata__", ()) for alternative in (hint, *get_args(hint)))


def build(kind: Any, table: TomlTable, where: str, **given: Any) -> Any:
    """Build a `kind` from `table`. Fields in `given` are not keys. `where` names the table in errors."""
    if not isinstance(table, Mapping):
        raise ConfigError(f"{where} = {_brief(table)} is not a table; give its keys, as in {where} = {{key = value}}")
    hints = {name: hint for name, hint in keys(kind).items() if name not in given}
    for name in table:
        if name not in hints:
            raise ConfigError(f"{_in(where)}: {nearest('key', name, hints)}")
    rows = {name for name in marked(kind, TABLE) if name in table and not isinstance(table[name], str)}
    values = {
        name: raw if name in rows else value(hints[name], raw, f"{_in(where)}: {name}") for name, raw in table.items()
    }
    for field in fields(kind):
        required = field.default is MISSING and field.default_factory is MISSING
        if required and field.name not in values and field.name not in given:
            raise ConfigError(f"{_in(where)}: the key {field.name} is missing; add it")
    try:
        return kind(**values, **given)
    except (OSError, ValueError) as error:  # the class rejects a value: an impossible path, a malformed URL
        raise ConfigError(f"{_in(where)}: {error}") from error


def _uncapitalised(message: str) -> str:
    return message[0].lower() + message[1:]


def _in(where: str) -> str:
    return where if where.startswith("in ") else f"in {where}"


def value(hint: Any, raw: Any, where: str) -> Any:
    """Convert `raw` (plain data) to the type `hint`, strictly: no string becomes a number, no number a boolean.

    Where `hint` is marked SCRIPT, `raw` may be a function.
    """
    if (callable(raw) or isinstance(raw, GivenFunction)) and _is_marked(hint, SCRIPT):
        return raw if isinstance(raw, GivenFunction) else GivenFunction(raw)
    _check_plain(raw, where)
    # The dataclass in `hint`: an alternative of a union (`Lora | None`), or `hint` itself.
    tables = [kind for kind in getattr(hint, "__args__", ()) if is_dataclass(kind)] or [hint] * is_dataclass(hint)
    if tables and isinstance(raw, Mapping):
        return build(tables[0], raw, where)
    try:
        return _reader(hint).validate_json(json.dumps(raw, default=str), strict=True)
    except ValidationError as error:
        if tables:
            raise ConfigError(
                f"{where} = {_brief(raw)} is not a table; give one with the keys {', '.join(keys(tables[0]))}"
            ) from error
        too_few = f"give {len(get_args(hint))} values"  # "missing": a tuple of fixed length is too short
        reasons = {_uncapitalised(d["msg"]) if d["type"] != "missing" else too_few for d in error.errors()}
        raise ConfigError(f"{where} = {_brief(raw)}: {', or '.join(sorted(reasons))}") from error


def _check_plain(raw: Any, where: str) -> None:
    """Raise ConfigError if `raw` contains inf, NaN, an integer over 63 bits or an unwritable character.

    JSON and TOML allow them; no key needs them.
    """
    unchecked = [raw]
    while unchecked:
        item = unchecked.pop()
        match item:
            case Mapping():
                unchecked += [*item, *item.values()]
            case list() | tuple():
                unchecked += item
            case float() if not math.isfinite(item):
                raise ConfigError(f"{where} is not a finite number (got {item}); give a finite one")
            case int() if item.bit_length() > 63:
                raise ConfigError(f"{where} is too large a number (got {item.bit_length()} bits); give at most 63 bits")
            case str() if _UNWRITABLE.search(item):
                raise ConfigError(f"{where} holds a character that cannot be written (got {_brief(item)}); remove it")


def _brief(raw: Any) -> str:
    """Format `raw` for a message, truncated to LONGEST_SHOWN characters."""
    shown = repr(raw)
    return shown if len(shown) <= LONGEST_SHOWN else f"{shown[:LONGEST_SHOWN]}…"


def plain(thing: Any, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the settings of a dataclass as plain data that `build` reads. None values are left out."""
    settings = {name: (hint, getattr(thing, name)) for name, hint in keys(type(thing)).items() if name not in without}
    return {
        name: _reader(hint).dump_python(setting, mode="json", exclude_none=True)
        for name, (hint, setting) in settings.items()
        if setting is not None
    }


def flat(table: TomlTable, prefix: str = "") -> dict[str, Any]:
    """Flatten `table` to dotted keys; lists of tables are numbered from 1."""
    flattened: dict[str, Any] = {}
    for name, setting in table.items():
        path = f"{prefix}{name}"
        if isinstance(setting, Mapping):
            flattened |= flat(setting, f"{path}.")
        elif isinstance(setting, list) and any(isinstance(item, Mapping) for item in setting):
            for number, item in enumerate(setting, start=1):
                flattened |= flat(item, f"{path}.{number}.")
        else:
            flattened[path] = setting
    return flattened


def differences(old: TomlTable, new: TomlTable) -> list[str]:
    """Return the differences of `new` from `old`, one line per key."""
    before, after = flat(old), flat(new)
    names = sorted(before.keys() | after.keys())
    return [f"{n}: {before.get(n)!r} → {after.get(n)!r}" for n in names if before.get(n) != after.get(n)]
