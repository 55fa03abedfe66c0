"""`sparring estimate`: prints the most that a run may cost, and about how long it takes."""

from __future__ import annotations

from typing import Annotated

import typer

from sparring.cli.entry import loading
from sparring.cli.shared import RecipeArgument


def estimate(
    recipe: RecipeArgument,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Change a key of the recipe: key.path=value, as for train.")
    ] = None,
    episodes: Annotated[int, typer.Option(min=1, help="Simulated episodes per phase.")] = 8,
) -> None:
    """Estimate the most that a run may cost in calls, tokens and money, and its time, without sending anything.

    The time is measured on this machine with a few problems of each phase.
    """
    from sparring.config.recipe import Recipe

    parsed = Recipe.read(recipe, settings or [])
    with loading():
        from sparring.runs.estimate import print_estimate

    print_estimate(parsed, episodes)
