"""`sparring list`: what a recipe can name, a line each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import typer

from sparring.cli.shared import say

Kind = Literal["methods", "tasks", "partners", "speakers", "protocols", "recipes"]


def list_names(
    kind: Annotated[Kind | None, typer.Argument(help="What to list; everything unless given.")] = None,
) -> None:
    """Show what a recipe can name."""
    for line in list_lines(kind):
        say(line)


def list_lines(kind: Kind | None) -> Iterator[str]:
    """The lines for one kind of thing, or for all with a heading each."""
    from sparring.common.registry import Catalogue, first_sentence
    from sparring.config.factory import METHODS, PARTNERS, PROTOCOLS, SPEAKERS, TASKS
    from sparring.config.recipe import shipped_recipes

    def classes(catalogue: Catalogue) -> dict[str, str]:
        return {name: first_sentence(catalogue[name]) for name in catalogue}

    catalogues = {
        "methods": METHODS,
        "tasks": TASKS,
        "partners": PARTNERS,
        "speakers": SPEAKERS,
        "protocols": PROTOCOLS,
    }
    for name in [kind] if kind else [*catalogues, "recipes"]:
        if kind is None:
            yield name if name == "methods" else f"\n{name}"
        if name == "recipes":  # each with its first comment line
            entries = {recipe: text.splitlines()[0].lstrip("# ") for recipe, text in shipped_recipes().items()}
        else:
            entries = classes(catalogues[name])
        width = max(map(len, entries), default=0)
        yield from (f"  {entry:<{width}}  {description}" for entry, description in entries.items())
