"""Tables of a recipe as dataclasses, and back: a field is a key, its type is what is allowed.

Every mistake is one line that says the table, the key, the value, what is allowed and, for an unknown key, the nearest
known one.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, get_args, get_type_hints

from pydantic import TypeAdapter, ValidationError

from sparring.common.errors import ConfigError, nearest

TomlTable = Mapping[str, Any]

LONGEST_SHOWN = 200  # characters of a value that a message repeats
_UNWRITABLE = re.compile("[\0\ud800-\udfff]")  # NUL, and halves of characters
ADJUSTABLE = "adjustable"  # in a field's `Annotated`: it decides only whether a run stops, or what is saved of it


def keys(kind: Any) -> Mapping[str, Any]:
    """The fields of a dataclass that can be set, with their types."""
    return _keys(kind)


@cache
def _keys(kind: Any) -> Mapping[str, Any]:
    hints = get_type_hints(kind, include_extras=True)
    return MappingProxyType({field.name: hints[field.name] for field in fields(kind) if field.init})


@cache
def _reader(hint: Any) -> TypeAdapter[Any]:
    return TypeAdapter(hint)


def adjustable(kind: Any) -> frozenset[str]:
    """The fields of a dataclass that are ADJUSTABLE."""
    return frozenset(name for name, hint in keys(kind).items() if ADJUSTABLE in getattr(hint, "__metadata__", ()))


def build(kind: Any, table: TomlTable, where: str, **given: Any) -> Any:
    """A `kind` from `table`; `given` fields are set by us and are no keys. `where` names the table in messages."""
    if not isinstance(table, Mapping):
        raise ConfigError(f"{where} = {_brief(table)} is not a table; give its keys, as in {where} = {{key = value}}")
    known = {name: hint for name, hint in keys(kind).items() if name not in given}
    for name in table:
        if name not in known:
            raise ConfigError(f"{_in(where)}: {nearest('key', name, known)}")
    values = {name: value(known[name], raw, f"{_in(where)}: {name}") for name, raw in table.items()}
    for field in fields(kind):
        required = field.default is MISSING and field.default_factory is MISSING
        if required and field.name not in values and field.name not in given:
            raise ConfigError(f"{_in(where)}: the key {field.name} is missing; give one")
    try:
        return kind(**values, **given)
    except (OSError, ValueError) as error:  # a path that no file can have, an address that is none, and the like
        raise ConfigError(f"{_in(where)}: {error}") from error


def _told(message: str) -> str:
    return message[0].lower() + message[1:]


def _in(where: str) -> str:
    return where if where.startswith("in ") else f"in {where}"


def value(hint: Any, raw: Any, where: str) -> Any:
    """`raw` (plain data) as a `hint`, strictly: no number is read from a string, no truth value from a number."""
    _check_plain(raw, where)
    inner = [kind for kind in getattr(hint, "__args__", ()) if is_dataclass(kind)] or [hint] * is_dataclass(hint)
    if inner and isinstance(raw, Mapping):
        return build(inner[0], raw, where)
    try:
        return _reader(hint).validate_json(json.dumps(raw, default=str), strict=True)
    except ValidationError as error:
        if inner:
            raise ConfigError(
                f"{where} = {_brief(raw)} is not a table; its keys are {', '.join(keys(inner[0]))}"
            ) from error
        wanted = f"{len(get_args(hint))} values are wanted"
        said = {_told(detail["msg"]) if detail["type"] != "missing" else wanted for detail in error.errors()}
        raise ConfigError(f"{where} = {_brief(raw)}: {', or '.join(sorted(said))}") from error


def _check_plain(raw: Any, where: str) -> None:
    """ConfigError where `raw` holds a number or a text that cannot be counted with or written down. JSON and TOML have
    such, and no key has a use for them."""
    waiting = [raw]
    while waiting:
        item = waiting.pop()
        match item:
            case Mapping():
                waiting += [*item, *item.values()]
            case list() | tuple():
                waiting += item
            case float() if not math.isfinite(item):
                raise ConfigError(f"{where} is not a finite number (got {item}); give one")
            case int() if item.bit_length() > 63:
                raise ConfigError(
                    f"{where} is too long a number (got {item.bit_length()} bits); give one of 63 at most"
                )
            case str() if _UNWRITABLE.search(item):
                raise ConfigError(f"{where} holds a character that cannot be written (got {_brief(item)}); remove it")


def _brief(raw: Any) -> str:
    """`raw` as a message shows it, however long it is."""
    shown = repr(raw)
    return shown if len(shown) <= LONGEST_SHOWN else f"{shown[:LONGEST_SHOWN]}…"


def plain(thing: Any, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """The settings of a dataclass as plain data that `build` reads; what is None is left out."""
    settings = {name: (hint, getattr(thing, name)) for name, hint in keys(type(thing)).items() if name not in without}
    return {
        name: _reader(hint).dump_python(setting, mode="json", exclude_none=True)
        for name, (hint, setting) in settings.items()
        if setting is not None
    }


def flat(table: TomlTable, prefix: str = "") -> dict[str, Any]:
    """`table` with dotted keys; lists of tables are numbered from 1."""
    found: dict[str, Any] = {}
    for name, setting in table.items():
        path = f"{prefix}{name}"
        if isinstance(setting, Mapping):
            found |= flat(setting, f"{path}.")
        elif isinstance(setting, list) and any(isinstance(item, Mapping) for item in setting):
            for number, item in enumerate(setting, start=1):
                found |= flat(item, f"{path}.{number}.")
        else:
            found[path] = setting
    return found


def differences(old: TomlTable, new: TomlTable) -> list[str]:
    """What `new` says otherwise than `old`, a line each."""
    before, after = flat(old), flat(new)
    names = sorted(before.keys() | after.keys())
    return [f"{n}: {before.get(n)!r} → {after.get(n)!r}" for n in names if before.get(n) != after.get(n)]
