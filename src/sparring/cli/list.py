"""What a recipe can name, a line each."""

from __future__ import annotations

from collections.abc import Iterator

from sparring.common.registry import Catalogue, summary
from sparring.config.factory import METHODS, PARTNERS, PROTOCOLS, SPEAKERS, TASKS
from sparring.config.recipe import shipped_recipes

CATALOGUES: dict[str, Catalogue] = {
    "methods": METHODS,
    "tasks": TASKS,
    "partners": PARTNERS,
    "speakers": SPEAKERS,
    "protocols": PROTOCOLS,
}


def listed(kind: str | None) -> Iterator[str]:
    """The lines for one kind of thing, or for all with a heading each."""
    kinds = [kind] if kind else [*CATALOGUES, "recipes"]
    for place, name in enumerate(kinds):
        if len(kinds) > 1:
            yield ("\n" if place else "") + name
        entries = _recipes() if name == "recipes" else _classes(CATALOGUES[name])
        widest = max((len(entry) for entry in entries), default=0)
        yield from (f"  {entry:<{widest}}  {told}" for entry, told in entries.items())


def _classes(catalogue: Catalogue) -> dict[str, str]:
    return {name: summary(catalogue[name]) for name in catalogue}


def _recipes() -> dict[str, str]:
    """Each recipe with its first comment line."""
    return {name: text.splitlines()[0].lstrip("# ") for name, text in shipped_recipes().items()}
