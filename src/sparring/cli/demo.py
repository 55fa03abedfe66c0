"""`sparring demo`: trains a tiny model by every method, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    run: Annotated[Path, typer.Option(help="Folder for the runs of the demo.")] = Path("runs/demo"),
    seed: Annotated[int, typer.Option(help="Root seed.")] = 0,
    methods: Annotated[str, typer.Option(help="Arms to run, by comma.")] = "all",
) -> None:
    """Train a tiny model by every method, side by side, on this machine's CPU; minutes, and nothing is downloaded."""
    from sparring.runs.demo import ARMS, run_demo

    chosen = ARMS if methods == "all" else tuple(name.strip() for name in methods.split(",") if name.strip())
    run_demo(run, seed, chosen)
