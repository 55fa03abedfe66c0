"""Arguments and output that several verbs share."""

from __future__ import annotations

from typing import Annotated

import typer

from sparring.common.terminal import visible

RecipeArgument = Annotated[
    str,
    typer.Argument(help="A TOML file, or a name from `sparring list recipes`."),
]
PlainOption = Annotated[
    bool, typer.Option("--plain", help="Ask for a single reply, without the procedure that the method adds at use.")
]


def say(text: str) -> None:
    """Print a line; terminal control characters are shown as visible text."""
    typer.echo(visible(text))
