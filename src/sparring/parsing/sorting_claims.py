"""Decide whether a claim about the order or the letters of words holds: `fake < they`, `the first letter is "ant"="a"`.

`sorting_board` follows a whole worked sorting; here each statement stands alone.
"""

from __future__ import annotations

from itertools import pairwise

from sparring.parsing.sorting import Place, Spelling, StatedOrder, Vocabulary, read_sorting


def holds(claim: str, known: Vocabulary) -> bool | None:
    """Return whether all statements of `claim` on the words of `known` are true; None if none can be checked.

    A letter can be checked after the place that it has in its word was named ("the second letter").
    """
    verdicts: list[bool] = []
    depths: frozenset[int] = frozenset()
    for statement in read_sorting(claim, known):
        match statement:
            case Place():
                depths = statement.depths
            case Spelling() if depths and statement.mention.word.lower() in known:
                verdicts.append(any(statement.fits(depth) for depth in depths))
            case StatedOrder() if statement.signs:
                verdicts.append(_is_ordered(statement, known))
    return all(verdicts) if verdicts else None


def _is_ordered(order: StatedOrder, known: Vocabulary) -> bool:
    """Return whether each word of a block precedes all words of the next block, and all belong to the question."""
    words = [sorted(block.words) for block in order.blocks]
    belong = all(word.lower() in known for block in words for word in block)
    return belong and all(one[-1] < other[0] for one, other in pairwise(words)) and set(order.signs) == {"<"}
