"""`sparring train`: trains a learner by a recipe."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from sparring.cli.entry import loading
from sparring.cli.shared import RecipeArgument, say


def train(
    recipe: RecipeArgument,
    run: Annotated[Path, typer.Option(help="Folder of the run.")],
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a key of the recipe: key.path=value; phases are phase.1, …"),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in the folder from where it stopped.")
    ] = False,
) -> None:
    """Train a learner by a recipe."""
    from sparring.config.recipe import Recipe
    from sparring.models.source import check_model

    parsed = Recipe.read(recipe, settings or [])
    check_model(parsed.learner.model)
    with loading():  # only after the recipe is checked
        from sparring.runs.run import train as run_recipe
        from sparring.training.checkpoint import describe_origin

    result = run_recipe(parsed, run, resume=resume)
    origin = describe_origin(result.origin.plain())
    say(f"saved the best learner, from {origin}, in {result.best}; to talk to it: sparring talk {quote(str(run))}")
