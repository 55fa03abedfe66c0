"""Tables as HTML, for notebooks. Texts come from models and files, so they are escaped."""

from __future__ import annotations

import html
from collections.abc import Sequence

from sparring.common.terminal import visible


def escaped(text: str) -> str:
    """Return `text` so that HTML shows it as it is."""
    return html.escape(visible(text))


def table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table whose first column holds names, on the left, and the others figures, on the right."""
    head = _row("th", headings)
    body = "".join(_row("td", row) for row in rows)
    caption = f'<caption style="text-align: left; white-space: nowrap">{escaped(title)}</caption>' if title else ""
    return f"<table>{caption}<thead>{head}</thead><tbody>{body}</tbody></table>"


def _row(kind: str, texts: Sequence[str]) -> str:
    sides = ("left", *["right"] * len(texts))
    cells = (
        f'<{kind} style="text-align: {side}">{escaped(text)}</{kind}>' for text, side in zip(texts, sides, strict=False)
    )
    return f"<tr>{''.join(cells)}</tr>"
