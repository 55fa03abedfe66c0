"""Arguments and output that several verbs share."""

from __future__ import annotations

from typing import Annotated

import typer

from sparring.common.terminal import visible

RecipeArgument = Annotated[
    str,
    typer.Argument(help="A TOML file, or a name from `sparring list recipes`."),
]
ModelArgument = Annotated[
    str, typer.Argument(metavar="MODEL_OR_RUN", help="A run, a checkpoint, a model folder or a hub id.")
]
ProtocolOption = Annotated[
    str, typer.Option(help="How the model answers: as_trained, or a name from `sparring list protocols`.")
]


def say(text: str) -> None:
    """Print a line; terminal control characters are shown as visible text."""
    typer.echo(visible(text))
