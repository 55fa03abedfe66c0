"""`sparring list`: lists what a recipe can name, one per line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import typer

from sparring.cli.shared import say

Kind = Literal["methods", "tasks", "partners", "speakers", "protocols", "recipes"]


def list_names(
    kind: Annotated[Kind | None, typer.Argument(help="What to list; default: everything.")] = None,
) -> None:
    """List the methods, tasks, partners, speakers, protocols and recipes to choose from."""
    for line in list_lines(kind):
        say(line)


def list_lines(kind: Kind | None) -> Iterator[str]:
    """Yield the lines for one kind, or for all kinds with a heading each."""
    from sparring.common.registry import Catalogue, first_sentence
    from sparring.config.factory import METHODS, PARTNERS, PROTOCOLS, SPEAKERS, TASKS
    from sparring.config.recipe import shipped_recipes

    def classes(catalogue: Catalogue) -> dict[str, str]:
        own = {name: first_sentence(kind) for name, kind in sorted(catalogue.own().items())}
        added = {name: plugin.describe() for name, plugin in sorted(catalogue.plugins().items())}
        return own | {name: line for name, line in added.items() if name not in own}

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
        if name == "recipes":  # described by its first comment line
            entries = {recipe: text.splitlines()[0].lstrip("# ") for recipe, text in shipped_recipes().items()}
        else:
            entries = classes(catalogues[name])
        width = max(map(len, entries), default=0)
        yield from (f"  {entry:<{width}}  {description}" for entry, description in entries.items())
