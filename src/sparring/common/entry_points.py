"""Finds classes and functions that installed packages declare as entry points, without importing the packages.

A package declares them in its `pyproject.toml`: `[project.entry-points."sparring.tasks"]`, `riddles =
"my_package.tasks:Riddles"`. The groups are named like the packages of plural names here.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import Distribution, EntryPoint, EntryPoints, distributions
from typing import Any

from sparring.common.errors import ConfigError

GROUPS = "sparring."  # a file without this word declares nothing for us, and need not be parsed


class Declared:
    """The entry points of one name in one group, each with the package that declares it."""

    def __init__(self, kind: str, name: str) -> None:
        self.kind, self.name = kind, name
        self.points: list[tuple[EntryPoint, Distribution]] = []

    @property
    def packages(self) -> str:
        """The packages that declare it."""
        return " and ".join(str(dist.metadata["Name"]) for _, dist in self.points)

    def describe(self) -> str:
        """Return where it is from, in the words of the package; nothing is imported."""
        _, dist = self.points[0]
        summary = dist.metadata.json.get("summary") or "no summary"
        return f"From the package {self.packages} {dist.version}: {str(summary).rstrip('.')}."

    def path(self) -> str:
        """Return its dotted path; ConfigError if several packages declare the name."""
        point, _ = self._only()
        return f"{point.module}.{point.attr}"

    def load(self) -> Any:
        """Import it; ConfigError names the package if that fails."""
        point, _ = self._only()
        try:
            return point.load()
        except Exception as error:
            raise ConfigError(
                f"cannot load the {self.kind} {self.name!r} of the package {self.packages}: "
                f"{type(error).__name__}: {error}; update the package, or uninstall it"
            ) from error

    def _only(self) -> tuple[EntryPoint, Distribution]:
        if len(self.points) > 1:
            raise ConfigError(
                f"the {self.kind} {self.name!r} is declared by the packages {self.packages}; "
                "uninstall one, or give the dotted path of a class"
            )
        return self.points[0]


def declared(group: str, kind: str) -> Mapping[str, Declared]:
    """Return what the installed packages declare in `group`, by name; errors call it `kind`."""
    found: dict[str, Declared] = {}
    for dist, points in _ours(tuple(sys.path)):
        for point in points.select(group=group):
            found.setdefault(point.name, Declared(kind, point.name)).points.append((point, dist))
    return found


@cache
def _ours(search_path: tuple[str, ...]) -> list[tuple[Distribution, EntryPoints]]:
    """Return the packages with entry points of this one, those first on the path if one is installed twice.

    A package whose list of entry points cannot be read declares nothing.
    """
    found: dict[str, tuple[Distribution, EntryPoints]] = {}
    for dist in distributions():
        try:
            if GROUPS in (dist.read_text("entry_points.txt") or ""):
                found.setdefault(str(dist.metadata["Name"]).lower().replace("_", "-"), (dist, dist.entry_points))
        except (OSError, ValueError, TypeError, KeyError):
            continue
    return list(found.values())
