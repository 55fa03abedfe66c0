"""Arguments and output that several verbs share."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Annotated

import typer

from sparring.common.terminal import visible

RecipeArgument = Annotated[
    str,
    typer.Argument(help="A TOML file, or a name from `sparring list recipes`."),
]
PlainOption = Annotated[
    bool, typer.Option("--plain", help="Ask for a single reply, without the procedure that the method adds at use.")
]


def say(text: str) -> None:
    """Print a line; terminal control characters are shown as visible text."""
    typer.echo(visible(text))


@contextmanager
def loading() -> Iterator[None]:
    """Surround slow imports: Ctrl-C inside stops the program, even if a library drops it (torch, while numpy loads)."""
    came = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal came
        came = True
        signal.default_int_handler(number, frame)

    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:  # somebody else's affair
        yield
        return
    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if came:
        raise KeyboardInterrupt
