"""`sparring merge`: folds adapters into the weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sparring.cli.shared import say


def merge(
    model: Annotated[str, typer.Argument(metavar="MODEL_OR_RUN", help="A run or checkpoint with LoRA adapters.")],
    output: Annotated[Path, typer.Argument(help="Folder for the merged model; must not exist.")],
) -> None:
    """Fold LoRA adapters into the weights, so that plain transformers and every server load the model."""
    from sparring.models.source import check_learner

    check_learner(model)
    from sparring.training.merge import merge as fold

    fold(Path(model), output)
    say(f"merged into {output}")
