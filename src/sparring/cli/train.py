"""`sparring train`: trains a learner as a recipe says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sparring.cli.shared import RecipeArgument, say


def train(
    recipe: RecipeArgument,
    run: Annotated[Path, typer.Option(help="Folder of the run.")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="key.path=value, over the recipe; phases are phase.1, phase.2, …")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in the folder, where it stopped.")
    ] = False,
) -> None:
    """Train as a recipe says."""
    from sparring.config.recipe import Recipe
    from sparring.models.source import check_place

    read = Recipe.read(recipe, settings or [])
    check_place(read.learner.model)
    from sparring.runs.run import train as run_recipe  # only now: a mistake is told before torch is imported
    from sparring.training.checkpoint import where

    result = run_recipe(read, run, resume=resume)
    origin = where(result.origin.plain())
    say(f"the best learner, from {origin}, is in {result.best}; try it: sparring talk {run}")
