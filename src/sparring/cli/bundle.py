"""`sparring bundle`: packs a run into one file."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from sparring.cli.shared import say


def bundle(
    run: Annotated[Path, typer.Argument(help="A finished run.")],
    output: Annotated[Path | None, typer.Argument(help="File to write; default: <run>.tar.gz in this folder.")] = None,
) -> None:
    """Pack a run into one file that anybody can replay offline at no cost."""
    from sparring.runs.bundle import bundle as pack

    packed, manifest = pack(run, output)
    for name in manifest.modules:
        say(f"not included: module {name}; install it where you replay the bundle")
    for key, name in manifest.hub.items():
        say(f"not included: {key} = {name}; the replay loads it from the Hugging Face hub")
    replay = f"sparring replay {quote(str(packed))} --run runs/again"
    say(f"packed {len(manifest.files)} files into {packed}; to replay it: {replay}")
