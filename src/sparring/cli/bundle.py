"""`sparring bundle`: packs a run into one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sparring.cli.shared import say


def bundle(
    run: Annotated[Path, typer.Argument(help="A finished run.")],
    output: Annotated[
        Path | None, typer.Argument(help="The file to make; by default the run's name and .tar.gz.")
    ] = None,
) -> None:
    """Pack a run into one file, from which anybody replays it off-line and for nothing."""
    from sparring.runs.bundle import bundle as pack

    packed, manifest = pack(run, output)
    for name in manifest.modules:
        say(f"not in it: the module {name}, which is to be importable where it is replayed")
    for key, name in manifest.hub.items():
        say(f"not in it: {key} = {name}, from the hub")
    say(f"{len(manifest.files)} files in {packed}; try it: sparring replay {packed} --run runs/again")
