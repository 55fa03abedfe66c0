"""What several verbs share: arguments, and saying a line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sparring.common.terminal import visible

RecipeArgument = Annotated[
    str,
    typer.Argument(help="A TOML file, or the name of a recipe that `sparring list recipes` shows."),
]
ModelArgument = Annotated[
    str, typer.Argument(metavar="MODEL_OR_RUN", help="A run, a checkpoint, a model's folder or hub id.")
]
ProtocolOption = Annotated[str, typer.Option(help="How it is asked: as_trained, or one of `sparring list protocols`.")]
RunOption = Annotated[Path, typer.Option(help="Folder of the run.")]


def say(text: str) -> None:
    """Prints a line, with what a terminal would obey made visible."""
    typer.echo(visible(text))
