"""Where a reply ends before a stop string: on a token boundary, at or before the string's first character."""

from __future__ import annotations

from collections.abc import Callable, Sequence


def cut(ids: Sequence[int], stops: Sequence[str], decode: Callable[[Sequence[int]], str]) -> tuple[int, bool] | None:
    """How many tokens of `ids` lie whole before the first of the strings `stops`, and whether they are all the text
    before it; None where there is no such string. Only the last token can have completed one."""
    reach = max(len(stop.encode()) for stop in stops) + 8  # a token is a byte at least, but for a few that show nothing
    tail = decode(ids[-reach:])
    text = decode(ids) if any(stop in tail for stop in stops) else ""
    begins = [text.index(stop) for stop in stops if stop in text]
    if not begins:
        return None
    before = text[: min(begins)]
    keep = len(ids) - 1
    while not before.startswith(decode(ids[:keep])):
        keep -= 1
    return keep, decode(ids[:keep]) == before
