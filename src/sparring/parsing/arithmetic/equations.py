"""Read equations from prose: `Let's calculate A = (7 - -1) = 8.` states that A is (7 - -1), which is 8.

Words end an equation, `is` between two sides counts as `=`, and LaTeX and Markdown markup is ignored. Unrecognised text
is skipped; an equation that cannot be read is kept as unreadable. Time is linear in the length of the text; nothing is
evaluated.

`derivation` checks whether statements are true.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from sparring.common.errors import Unreadable
from sparring.parsing.arithmetic.expressions import Expression, parse_tokens


class Side(NamedTuple):
    """One side of an equation and its span in the text."""

    expression: Expression
    start: int
    end: int


class Statement(NamedTuple):
    """Sides joined by `=`, or one side alone.

    `says`: "answer" after words such as "the answer is"; "alone" if nothing else is on its line, or if it is called a
    result. `goes_on`: it starts with `=` and continues the previous statement. `unreadable` is the span of the first
    side of an equation that is not an expression of + - *.
    """

    sides: tuple[Side, ...]
    says: str = ""
    goes_on: bool = False
    unreadable: tuple[int, int] | None = None

    @property
    def value(self) -> int | None:
        """The number on its last side, if any."""
        last = self.sides[-1].expression if self.sides else None
        return last if isinstance(last, int) else None


_Token = tuple[str, int, int]


class _Run(list[_Token]):
    """Tokens of one equation; `operates`: one of them is an operator."""

    operates = False


_PLAIN = {"blank": "", "minus": "-", "odd": "?"}

_PIECE = re.compile(
    r"(?P<blank>[ \t\r\f\v]+|\\(?:left|right|boxed|quad|[()\[\],;!])|[${}_`])"
    r"|(?P<number>[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?P<point>\.[0-9]+)?"
    r"|(?P<times>[×·⋅∗]|\\times|\\cdot|[xX](?=[ (-]+[0-9])|(?<=[0-9)])[xX](?=[0-9]))"
    r"|(?P<name>[A-Za-z]\w*)"
    r"|(?P<stars>\*\*+)|(?P<minus>[−–])|(?P<sign>[-+*()=])|(?P<odd>[/^÷%!<>])|(?P<line>\n)|(?P<colon>:)|(?P<other>.)",
    re.ASCII,
)
_EXPLAINED = re.compile(
    r"\b([A-Za-z]\w{0,20})[ \t]*=|\b([A-Z])\b(?=:| (?:is|be|equals|represents|denotes)\b)|(?:\bas|\bbe|=) ([A-Z])\b",
    re.ASCII,
)
_LINKING = frozenset(("is", "be", "equals", "represents", "denotes", "as"))  # between two sides: `A is 5`
_FILLER = (
    r"(?:\W+(?:is|to|of|the|this|question|problem|equation|expression|would|be|equals|therefore|thus|so))*[^\w\n]*$"
)
_ANSWER = re.compile(r"(?:\banswer|\\boxed|####)" + _FILLER, re.IGNORECASE)
_RESULT = re.compile(r"\b(?:result|solution|value|total|equals|get)" + _FILLER, re.IGNORECASE)
_WORD = re.compile(r"\w")
_ITEM = re.compile(r"(?:(?:thought|step|line) *\d+ *[:.)-]|\d+[.)](?= )|[*•] |- +(?![\d ]))[ \t]*", re.IGNORECASE)


def explained(text: str) -> frozenset[str]:
    """Return the names that `text` explains: words before `=`, and capitals that it says are something."""
    return frozenset(name for groups in _EXPLAINED.findall(text) for name in groups if name)


def statements(text: str, start: int, end: int, names: frozenset[str]) -> Iterator[Statement]:
    """Yield the statements in `text[start:end]`, one step; `names` are those explained anywhere in the text."""
    item = _ITEM.match(text, start, end)
    start = item.end() if item else start
    run = _Run()
    for piece in _PIECE.finditer(text, start, end):
        token = _token(piece, run, names)
        if token is None:
            if run:
                yield from _statement(text, start, end, run)
            run = _Run()
        elif token:
            run.append((token, piece.start(), piece.end()))
            run.operates |= token in "+-*"
    yield from _statement(text, start, end, run)


def _token(piece: re.Match[str], run: _Run, names: frozenset[str]) -> str | None:
    """Return the token for `piece`, "" if it is ignored, None if it ends the equation."""
    kind, word, text = piece.lastgroup or "", piece[0], piece.string
    after_operand = bool(run) and (run[-1][0] == ")" or run[-1][0][0].isalnum())
    token = _PLAIN.get(kind)  # None for words and other text
    if kind == "sign":
        token = word
    elif kind == "number":
        token = word.replace(",", "")
    elif kind in ("name", "times"):
        token = _word(word, kind, run, names, after_operand)
    elif kind == "point":  # `5.0` is a whole number
        token = word if piece["point"].strip(".0") else piece["number"].replace(",", "")
    elif kind == "line" and text[piece.end() : piece.end() + 40].lstrip().startswith("="):
        token = ""
    elif kind == "stars":  # a power, or bold type
        token = "?" if after_operand and text[piece.end() : piece.end() + 1].isalnum() else ""
    elif kind == "colon" and len(run) == 1 and run[0][0].isalpha():
        token = "="
    return token


def _word(word: str, kind: str, run: _Run, names: frozenset[str], after_operand: bool) -> str | None:
    """Return the token for a word: a times sign, an `is` between two sides, or a name; None if it is prose."""
    if kind == "times" and (after_operand or not word.isalpha()):
        return "*"
    if word in _LINKING and after_operand:
        return "=" if run[0][0].isalpha() or run.operates else None
    return word if word in names or (len(word) == 1 and word.isupper() and word != "I") else None


def _statement(text: str, start: int, end: int, run: list[_Token]) -> Iterator[Statement]:
    if not any(token[0].isalnum() for token, _, _ in run):
        return
    groups: list[list[_Token]] = [[]]
    for item in run:
        if item[0] == "=":
            groups.append([])
        else:
            groups[-1].append(item)
    groups = [trimmed for group in groups if (trimmed := _trimmed(group))]
    parsed = [_side(group) for group in groups]
    sides = tuple(side for side in parsed if side is not None)
    # A token is (text, start, end), so this is the span of the first side that cannot be parsed.
    bad = next(((g[0][1], g[-1][2]) for g, side in zip(groups, parsed, strict=True) if side is None), None)
    if sides or len(groups) > 1:
        says = _says(text, start, end, sides) if sides else ""
        yield Statement(sides, says, goes_on=run[0][0] == "=", unreadable=bad if len(groups) > 1 else None)


def _says(text: str, start: int, end: int, sides: tuple[Side, ...]) -> str:
    """Return `Statement.says`, from at most 80 characters before the sides and 40 after."""
    near = max(start, sides[0].start - 80)
    before = text[near : sides[0].start].rpartition("\n")[2].strip()
    if before and _ANSWER.search(before):
        return "answer"
    if len(sides) > 1:
        return ""
    after = text[sides[-1].end : min(end, sides[-1].end + 40)].partition("\n")[0]
    is_alone = not _WORD.search(before) and not _WORD.search(after)
    return "alone" if is_alone or _RESULT.search(before) else ""


def _trimmed(group: list[_Token]) -> list[_Token]:
    """Strip operators at both ends of `group`, which belong to the prose around it."""
    first, last = 0, len(group)
    while last and group[last - 1][0] in ("+", "-", "*", "(", "?"):
        last -= 1
    while first < last and group[first][0] in ("+", "*", ")", "?"):
        first += 1
    return group[first:last]


def _side(group: list[_Token]) -> Side | None:
    try:
        return Side(parse_tokens([token for token, _, _ in group]), group[0][1], group[-1][2])
    except Unreadable:
        return None
