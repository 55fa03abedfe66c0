"""`sparring export`: writes a learner for other programs, with a model card, and may push it to the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sparring.cli.entry import loading
from sparring.cli.shared import say


def export(
    model: Annotated[
        str, typer.Argument(metavar="RUN_OR_CHECKPOINT", help="A run (its best learner) or a checkpoint.")
    ],
    output: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder to write to; must not exist.")],
    repository: Annotated[
        str | None, typer.Option("--push", metavar="OWNER/NAME", help="Upload the folder to this model on the hub.")
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="Make a new model on the hub public.")] = False,
    gguf: Annotated[bool, typer.Option("--gguf", help="Convert to GGUF, too, by llama.cpp's converter.")] = False,
    converter: Annotated[
        Path | None, typer.Option(help="The converter, if it is not on the PATH: …/llama.cpp/convert_hf_to_gguf.py.")
    ] = None,
) -> None:
    """Write a learner as whole weights with a model card; push it to the hub, convert it to GGUF.

    LoRA adapters are merged into the weights, so that transformers and inference servers can load the model.
    """
    from sparring.models.source import check_learner

    check_learner(model)
    with loading():
        from sparring.runs.export import check_push, convert, export_learner, find_converter, push

    program = find_converter(converter) if gguf or converter else None
    if repository is not None:
        check_push(repository)
    export_learner(Path(model), output, repository and repository.partition("/")[2])
    say(f"wrote the model and its card to {output}")
    if program is not None:
        say(f"wrote {convert(output, program)}")
    if repository is not None:
        say(f"pushed to {push(output, repository, private=not public)}")
