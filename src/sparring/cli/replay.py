"""`sparring replay`: repeats a bundled run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sparring.cli.shared import say


def replay(
    source: Annotated[Path, typer.Argument(metavar="BUNDLE", help="What `sparring bundle` made.")],
    run: Annotated[Path, typer.Option(help="Folder of the new run.")],
    episodes: Annotated[
        bool, typer.Option("--episodes", help="Learn from the recorded conversations instead of playing them anew.")
    ] = False,
    trust: Annotated[bool, typer.Option("--trust", help="Let code that the bundle brings run.")] = False,
) -> None:
    """Repeat a bundled run, asking nobody, and say whether the same comes of it; if not, the exit code is 1."""
    from sparring.runs.replay import replay as again

    done = again(source, run, episodes=episodes, trust=trust)
    for line in done.told():
        say(line)
    if not done.same:
        raise typer.Exit(1)
