"""`sparring write`: has a speaker write training data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from sparring.cli.shared import say


def write(
    data: Annotated[
        Literal["instructions", "rationales"],
        typer.Argument(help="New instructions like those of a task, or the worked answers that its problems lack."),
    ],
    run: Annotated[Path, typer.Option(help="Folder for the data and the ledger.")],
    order: Annotated[
        str | None, typer.Argument(metavar="[FILE]", help="A TOML file; without one, all keys are given by --set.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="key.path=value, over the file: speaker.by=endpoint, …")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with what is in the folder; what was paid is not paid again.")
    ] = False,
) -> None:
    """Have training data written by a speaker: new instructions, or worked answers kept where they are right."""
    from sparring.synthesis import WritingOrder, write_data

    say(write_data(WritingOrder.read(data, order or {}, settings or []), run, resume=resume).told())
