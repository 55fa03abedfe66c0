"""`sparring replay`: repeats a bundled run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sparring.cli.entry import loading
from sparring.cli.shared import say


def replay(
    source: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A file that `sparring bundle` wrote.")],
    run: Annotated[Path, typer.Option(help="Folder for the new run.")],
    episodes: Annotated[
        bool, typer.Option("--episodes", help="Train on the recorded conversations instead of generating new ones.")
    ] = False,
    trust: Annotated[bool, typer.Option("--trust", help="Allow code from the bundle to run.")] = False,
) -> None:
    """Repeat a bundled run without calling any partner, and compare the results; exit with code 1 if they differ."""
    with loading():
        from sparring.runs.replay import replay as replay_bundle

    outcome = replay_bundle(source, run, episodes=episodes, trust=trust)
    for line in outcome.report():
        say(line)
    if not outcome.same:
        raise typer.Exit(1)
