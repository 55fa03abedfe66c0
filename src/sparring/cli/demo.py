"""`sparring demo`: trains a tiny model by five methods, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sparring.cli.entry import loading


def demo(
    run: Annotated[Path, typer.Option(help="Folder for the demo's runs.")] = Path("runs/demo"),
    seed: Annotated[int, typer.Option(help="Random seed; with --seeds, the first one.")] = 0,
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds; each takes as long as one.")] = 1,
    methods: Annotated[str, typer.Option(help="Comma-separated methods to run, or 'all'.")] = "all",
) -> None:
    """Train a tiny model by five methods on this machine's CPU and compare them; takes minutes, downloads nothing."""
    with loading():
        from sparring.runs.demo import ARMS, run_demo

    chosen = ARMS if methods == "all" else tuple(name.strip() for name in methods.split(",") if name.strip())
    run_demo(run, range(seed, seed + seeds), chosen)
