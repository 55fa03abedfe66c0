"""Check the equalities of numbers in prose: `16 - 3 - 4 = 9` holds, `9 * 2 = $20` does not.

Numbers may be decimal, and the operators are + - * / with brackets. What cannot be read with certainty is skipped:
names, powers, percentages, units between operands, a fraction "of" something. Nothing is evaluated as code, and reading
takes time linear in the length of the text.

`arithmetic` follows whole calculations of integers; here each equality stands alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise

from sparring.common.errors import Unreadable

MAX_SIDE_CHARACTERS = 400  # of one side; a longer one is not meant as a calculation

_TOKEN = re.compile(
    r"(?P<bullet>^[ \t]*[-*•][ \t])|(?P<line>\n)|(?P<space>[^\S\n]+|[$€£¥])"
    r"|(?P<number>(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)"
    r"|(?P<word>[^\W\d]\w*)|(?P<equals>=)|(?P<operator>[-+*/()×·÷−–])|(?P<other>.)",
    re.DOTALL | re.MULTILINE,
)
_PLAIN = {"×": "*", "·": "*", "x": "*", "X": "*", "÷": "/", "−": "-", "–": "-"}
# beside an equality they say that it goes on, so that its first or last number is no value
_CUTTING = frozenset(("of", "times", "by", "plus", "minus", "over", "half", "twice", "…", "^", "%", "!"))
_RANK = {"+": 1, "-": 1, "*": 2, "/": 2, "~": 3}  # `~` is the sign of a negative number


def equalities(text: str) -> list[bool]:
    """Return for each equality in `text` that can be read whether it holds.

    A side with decimals may be rounded. A chain `a = b = c` is one equality; its first side must have an operator.
    """
    found = []
    for sides in _chains(text):
        try:
            values = [(_value(side), side) for side in sides]
        except Unreadable:
            continue
        found.append(all(_agree(one, other, side) for (one, _), (other, side) in pairwise(values)))
    return found


def _chains(text: str) -> Iterator[list[list[str]]]:
    """Yield the sides of each equality as tokens."""
    run: list[str] = []
    before = ""  # the word or sign before the run
    for match in _TOKEN.finditer(text):
        kind, token = match.lastgroup, _PLAIN.get(match[0], match[0])
        if kind == "space":
            continue
        times = kind == "word" and token == "*" and bool(run) and run[-1][-1] in "0123456789)"
        if kind in ("number", "operator", "equals") or times:
            run.append(token.replace(",", ""))
            continue
        is_unknown = kind == "word" and text[match.start() - 1 : match.start()].isalnum()  # 5A
        yield from _sides(run, before, "^" if is_unknown else match[0])
        run, before = [], match[0]
    yield from _sides(run, before, "")


def _sides(run: Sequence[str], before: str, after: str) -> Iterator[list[list[str]]]:
    """Yield the sides in `run` if it is an equality whose ends do not belong to the words around it."""
    while run and run[-1] == "(":  # it opens a remark
        run = run[:-1]
    sides: list[list[str]] = [[]]
    for token in run:
        if token == "=":
            sides.append([])
        else:
            sides[-1].append(token)
    if not sides[0]:  # what stands before the first `=` is a name
        sides = sides[1:]
    is_cut = not _CUTTING.isdisjoint((before.lower(), after.lower()))
    if len(sides) > 1 and all(sides) and not is_cut and any(token in "+-*/" for token in sides[0][1:]):
        yield sides


def _value(tokens: Sequence[str]) -> Fraction:
    """Evaluate `tokens` with two stacks; Unreadable if they are not a calculation."""
    if sum(map(len, tokens)) > MAX_SIDE_CHARACTERS:
        raise Unreadable(f"a side of more than {MAX_SIDE_CHARACTERS} characters")
    numbers: list[Fraction] = []
    pending: list[str] = []
    is_after_number = False
    for token in tokens:
        if token[0] in "0123456789.":
            if is_after_number:
                raise Unreadable("two numbers without an operator")
            numbers.append(Fraction(token))
            is_after_number = True
        elif token == "(":
            if is_after_number:  # `2(3)`, or the begin of a remark: not certain
                raise Unreadable("a bracket without an operator")
            pending.append(token)
        elif token == ")":
            _reduce(numbers, pending, 0)
            if not pending or not is_after_number:
                raise Unreadable("a bracket that closes nothing")
            pending.pop()
        elif is_after_number:
            _reduce(numbers, pending, _RANK[token])
            pending.append(token)
            is_after_number = False
        elif token == "-":
            pending.append("~")
        else:
            raise Unreadable("an operator without a number")
    _reduce(numbers, pending, 0)
    if pending or len(numbers) != 1 or not is_after_number:
        raise Unreadable("not a calculation")
    return numbers[0]


def _reduce(numbers: list[Fraction], pending: list[str], rank: int) -> None:
    """Apply the pending operators of `rank` or higher, down to an open bracket."""
    while pending and pending[-1] != "(" and _RANK[pending[-1]] >= max(rank, 1):
        symbol = pending.pop()
        if len(numbers) < (1 if symbol == "~" else 2):
            raise Unreadable("an operator without a number")
        right = numbers.pop()
        if symbol == "~":
            numbers.append(-right)
            continue
        left = numbers.pop()
        if symbol == "/" and not right:
            raise Unreadable("a division by zero")
        results = {"+": left + right, "-": left - right, "*": left * right}
        numbers.append(left / right if symbol == "/" else results[symbol])


def _agree(one: Fraction, other: Fraction, written: Sequence[str]) -> bool:
    """Return whether the values are equal, or `other`, `written` as one decimal number, is `one` rounded."""
    places = len(written[-1].partition(".")[2]) if len(written) <= 2 else 0
    return one == other or (places > 0 and abs(one - other) * 2 * 10**places <= 1)
