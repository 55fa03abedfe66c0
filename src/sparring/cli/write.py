"""`sparring write`: generates training data with a speaker."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from sparring.cli.shared import say


def write(
    data: Annotated[
        Literal["instructions", "rationales"],
        typer.Argument(help="instructions: new ones like a task's; rationales: worked answers for its problems."),
    ],
    run: Annotated[Path, typer.Option(help="Folder for the data and the ledger.")],
    order: Annotated[
        str | None, typer.Argument(metavar="FILE", help="A TOML file; without one, give all keys with --set.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a key of the file: key.path=value, e.g. speaker.by=endpoint."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the work in the folder; recorded calls are not paid again.")
    ] = False,
) -> None:
    """Generate training data with a speaker: new instructions, or worked answers of which it keeps the right ones."""
    from sparring.synthesis import SynthesisRecipe, synthesize

    say(synthesize(SynthesisRecipe.read(data, order or {}, settings or []), run, resume=resume).summary())
