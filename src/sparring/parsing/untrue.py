"""A false statement in a step of an answer."""

from __future__ import annotations


class Untrue(Exception):
    """A false statement: its span in the text of its step, the reason, and a true statement on the same subject."""

    def __init__(self, span: tuple[int, int], reason: str, truth: str = "") -> None:
        super().__init__(reason)
        self.span, self.truth = span, truth
