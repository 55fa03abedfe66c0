"""Finds code from elsewhere that a recipe and its files would run, so that a replay can ask for permission first.

It looks at what would run the code, not at what the manifest claims: recipe keys that name a function or a class
outside the package, and files that are code, contain pickled objects, or name code for a model to load. It ignores the
programs of partners, because a replay never starts them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sparring.common.errors import ConfigError

NAMING = ("kind", "method", "by", "right", "function")  # keys whose dotted names are imported
_CODE = (".py", ".pyc", ".pyd", ".so", ".dylib", ".dll")
_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib")
_KERNELS = ("attn_implementation", "experts_implementation")  # a value with a slash names code on the hub


def external_code(table: Mapping[str, Any], folder: Path) -> list[str]:
    """Describe each piece of external code that the recipe `table` and the files in `folder` would run."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = {path: path.relative_to(folder).as_posix() for path in files}
    pieces = [*_in_recipe(table), *(line for path, name in names.items() for line in _in_file(path, name))]
    return list(dict.fromkeys(pieces))


def texts(value: Any, where: str = "") -> Iterator[tuple[str, str]]:
    """Yield every string in plain data with its dotted key; list items are counted from 1."""
    return ((key, leaf) for key, leaf in _leaves(value, where) if isinstance(leaf, str))


def _leaves(value: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value in plain data that is not a table or list, with its dotted key."""
    if isinstance(value, Mapping | list):
        items = value.items() if isinstance(value, Mapping) else enumerate(value, start=1)
        for key, item in items:
            yield from _leaves(item, f"{where}.{key}" if where else str(key))
    else:
        yield where, value


def _in_recipe(table: Mapping[str, Any]) -> Iterator[str]:
    for key, value in _leaves(table):
        last = key.rpartition(".")[2]
        if (last in NAMING and isinstance(value, str) and "." in value) or (last == "trust_remote_code" and value):
            yield f"{key} = {value!r}"


def _in_file(path: Path, name: str) -> Iterator[str]:
    suffix = path.suffix.lower()
    if suffix in _CODE or suffix in _PICKLED:
        yield name
    elif name.lower().endswith("config.json"):
        leaves = _leaves(_read_json(path, name))
        yield from (f"{name}: {key} = {value!r}" for key, value in leaves if _names_code(key, value))


def _names_code(key: str, value: Any) -> bool:
    """Tell whether a setting in a model's configuration names code for the model to load."""
    return "auto_map" in key.split(".") or (
        isinstance(value, str) and "/" in value and any(name in key for name in _KERNELS)
    )


def _read_json(path: Path, name: str) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{name} is not readable as JSON ({type(error).__name__}); get the bundle again") from error
