"""Code from elsewhere that a recipe and its files would run: asked for before either is used.

It is found in what would run it: keys of the recipe that name a script or a class outside the package, and files that
are code, hold pickled objects, or name code for a model to load. What a bundle says of itself is not asked. A partner's
program is not here, since a replay starts none.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sparring.common.errors import ConfigError

NAMING = ("kind", "method", "by", "right")  # the keys whose dotted names are imported
_CODE = (".py", ".pyc", ".pyd", ".so", ".dylib", ".dll")
_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib")
_LOADED = ("attn_implementation", "experts_implementation")  # a slash in one names code on the hub


def code(table: Mapping[str, Any], folder: Path) -> list[str]:
    """What the recipe `table` and the files in `folder` would run of other hands', in words, none where nothing."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    found = [*_named(table), *(line for path in files for line in _in_file(path, str(path.relative_to(folder))))]
    return list(dict.fromkeys(found))


def texts(value: Any, where: str = "") -> Iterator[tuple[str, str]]:
    """Every text in plain data, with its dotted key; lists are counted from 1."""
    return ((key, leaf) for key, leaf in _leaves(value, where) if isinstance(leaf, str))


def _leaves(value: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping | list):
        inner = value.items() if isinstance(value, Mapping) else enumerate(value, start=1)
        for key, found in inner:
            yield from _leaves(found, f"{where}.{key}" if where else str(key))
    else:
        yield where, value


def _named(table: Mapping[str, Any]) -> Iterator[str]:
    for key, value in _leaves(table):
        last = key.rpartition(".")[2]
        if (last in NAMING and isinstance(value, str) and "." in value) or (last == "trust_remote_code" and value):
            yield f"{key} = {value!r}"


def _in_file(path: Path, name: str) -> Iterator[str]:
    suffix = path.suffix.lower()
    if suffix in _CODE or suffix in _PICKLED:
        yield name
    elif name.lower().endswith("config.json"):
        yield from (f"{name}: {key} = {value!r}" for key, value in _leaves(_read(path, name)) if _loads(key, value))


def _loads(key: str, value: Any) -> bool:
    """Whether a setting of a model names code for it to load."""
    return "auto_map" in key.split(".") or (
        isinstance(value, str) and "/" in value and any(name in key for name in _LOADED)
    )


def _read(path: Path, name: str) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"{name} is no JSON that can be read ({type(error).__name__}); get the bundle anew"
        ) from error
