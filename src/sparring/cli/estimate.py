"""`sparring estimate`: says what a run may cost at most."""

from __future__ import annotations

from typing import Annotated

import typer

from sparring.cli.shared import RecipeArgument


def estimate(
    recipe: RecipeArgument,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="key.path=value, over the recipe, as for train.")
    ] = None,
    episodes: Annotated[int, typer.Option(min=1, help="Dry episodes of each phase.")] = 8,
) -> None:
    """Say what a run may cost at most, in calls, tokens and money, before anything is sent."""
    from sparring.config.recipe import Recipe

    read = Recipe.read(recipe, settings or [])
    from sparring.runs.estimate import print_estimate

    print_estimate(read, episodes)
