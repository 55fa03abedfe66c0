"""Where a reply ends before a stop string: on a token boundary, at or before the string's first character."""

from __future__ import annotations

from collections.abc import Callable, Sequence


def cut(ids: Sequence[int], stops: Sequence[str], decode: Callable[[Sequence[int]], str]) -> tuple[int, bool] | None:
    """Find where the tokens `ids` have to be cut so that none of the strings `stops` remains.

    Return the number of tokens that lie entirely before the first stop string, and whether they are all the text before
    it; None without a stop string. Assumes that only the last token can have completed one.
    """
    # A stop string of n bytes has at most n tokens, as a token has at least a byte; 8 more for tokens without text.
    reach = max(len(stop.encode()) for stop in stops) + 8
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


def without_begun_stop(text: str, stops: Sequence[str]) -> str:
    """Return `text` without the beginning of a stop string at its end, which more tokens may complete."""
    begun = max((n for stop in stops for n in range(1, len(stop)) if text.endswith(stop[:n])), default=0)
    return text[: len(text) - begun]
