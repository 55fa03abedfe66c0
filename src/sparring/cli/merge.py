"""`sparring merge`: merges LoRA adapters into the weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sparring.cli.shared import say


def merge(
    model: Annotated[str, typer.Argument(metavar="MODEL_OR_RUN", help="A run or checkpoint with LoRA adapters.")],
    output: Annotated[Path, typer.Argument(help="Folder to write the merged model to; must not exist.")],
) -> None:
    """Merge LoRA adapters into the weights, so that transformers and inference servers can load the model."""
    from sparring.models.source import check_learner

    check_learner(model)
    from sparring.training.merge import merge as merge_adapters

    merge_adapters(Path(model), output)
    say(f"wrote the merged model to {output}")
