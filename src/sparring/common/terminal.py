"""Print text from models, servers and files safely.

Control characters could move the cursor, colour the screen or reverse text, so they are shown as escapes (`\\x1b`).
Brackets are not read as markup. All output of the package goes through `Terminal`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

# C0 except tab and line feed, DEL, C1, bidirectional controls, and lone surrogates.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    """Replace every control character in `text` by an escape."""
    return _CONTROL.sub(lambda match: _escape(ord(match[0])), text.replace("\r\n", "\n"))


def _escape(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


class Terminal(Console):
    """A console without markup that prints no control characters except its own."""

    def __init__(self, *, stderr: bool = False, quiet: bool = False) -> None:
        super().__init__(stderr=stderr, quiet=quiet, markup=False, emoji=False, highlight=False)

    def on_broken_pipe(self) -> None:
        """See `Console`. A reader that has left, such as `head`, ends no run; what else is printed goes nowhere."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())

    def render_str(self, text: str, **options: Any) -> Text:
        """See `Console`. Escape here, so that column widths count the escapes."""
        return super().render_str(visible(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """See `Console`. Escape here what is not rendered from a string."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)
