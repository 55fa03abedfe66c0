"""Read what a text states about dates: `Tomorrow is 1 day after 05/27/2004, which is 05/28/2004`.

A statement is a chain of expressions said to be the same date. An expression is a date, a name for a date (`today`,
`the concert`), or one of these moved (`10 days after …`, `… + 2 weeks`, `a month ago`). Text that denies or supposes
something is skipped, and so are words between expressions. Reading takes time linear in the length of the text.

The task decides which statements are true.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import date
from typing import NamedTuple

from sparring.parsing.dates.calendar import DATE, MONTH, Shift, amount, day_of

_Span = tuple[int, int]

COUNTS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
NUMBER = rf"\d{{1,5}}|an?|{'|'.join(COUNTS)}"
TODAY = {
    "today": 0,
    "now": 0,
    "tomorrow": 1,
    "yesterday": -1,
    "the day before yesterday": -2,
    "the day after tomorrow": 2,
}
_TOKENS = rf"""
      (?P<date>{DATE})
    | (?P<fact>\b(?P<month>{MONTH})\s+(?:(?:of\s+|in\s+)?(?P<year>\d{{4}})\s+)?(?:only\s+)?has\s+(?:only\s+)?
        (?P<length>\d{{1,2}})\s+days\b)
    | (?P<skip>\b(?:not|never|cannot|if|suppose|supposing|assum\w+|instead|wrong|incorrect|thinks|thought|either|whether
        |option|between|unless)\b|n't\b)
    | (?P<end>[.;!?](?=\s|$)|\n)
    | (?P<anchor>\bthe\s+day\s+(?:before\s+yesterday|after\s+tomorrow)\b|\b(?:today|now|tomorrow|yesterday)\b)
    | (?P<amount>\b(?P<number>{NUMBER})[\s-]+(?P<unit>hour|day|week|month|year)s?\b
        |\bthe\s+day(?=\s+(?:before|after)\b))
    | (?P<shift>(?P<sign>[-+−])\s?(?P<compact>\d{{1,3}})(?P<letter>[dwmy])\b)
    | (?P<lead>\b(?:add|subtract)(?:ing|s|ed)?\b)
    | (?P<to>\bto\b)
    | (?P<later>\b(?:after|from|later(?:\s+than)?|following|past|plus|since)\b|\+)
    | (?P<earlier>\b(?:before|ago|earlier(?:\s+than)?|prior\s+to|minus|preceding)\b|[-−](?=\s))
    | (?P<link>=|:|→|->|\b(?:is|was|were|are|be|equals|gives|makes|falls|becomes|gets\s+us\s+to)\b(?:\s+on\b)?)
    | (?P<comma>[,(])
    | (?P<weekday>\b(?:mon|tues|wednes|thurs|fri|satur|sun)day\b)
    | (?P<event>\b(?:EVENTS)\b)
"""
_KINDS = (
    *("date", "fact", "skip", "end", "anchor", "amount", "shift", "lead", "to", "later", "earlier", "link", "comma"),
    *("weekday", "event"),
)


class DateExpression(NamedTuple):
    """A date that a text refers to: `base` (a date, a name, or None if it is left out) moved by `shift`.

    `is_moved` tells `today + 0 days` from `today`; `day` is the date as written, None for one that does not exist.
    """

    base: date | str | None
    shift: Shift
    is_moved: bool
    span: _Span
    is_impossible: bool = False


class SameDate(NamedTuple):
    """Expressions that are said to be the same date; `weekday`: their day of the week, 0 for Monday."""

    sides: tuple[DateExpression, ...]
    span: _Span
    weekday: int | None = None


class MonthLength(NamedTuple):
    """`February 2004 has 29 days`; `year` is None if it is not given."""

    month: str
    year: int | None
    days: int
    span: _Span


class _Token(NamedTuple):
    kind: str
    match: re.Match[str]

    @property
    def span(self) -> _Span:
        return self.match.span()


class DateReader:
    """Reads statements in which `names`, such as "the concert", stand for dates."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        events = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True)) or r"(?!)"
        self.pattern = re.compile(_TOKENS.replace("EVENTS", events.replace(r"\ ", r"\s+")), re.VERBOSE | re.IGNORECASE)

    def statements(self, text: str) -> list[SameDate | MonthLength]:
        """Return the statements in `text`, in order."""
        found: list[SameDate | MonthLength] = []
        sentence: list[_Token] = []
        for match in self.pattern.finditer(text):
            token = _Token(next(kind for kind in _KINDS if match[kind] is not None), match)
            if token.kind == "end":
                found += _statements(sentence)
                sentence = []
            else:
                sentence.append(token)
        return found + _statements(sentence)


def _statements(tokens: Sequence[_Token]) -> list[SameDate | MonthLength]:
    found: list[SameDate | MonthLength] = []
    if any(token.kind == "skip" for token in tokens):
        return found
    at = 0
    while at < len(tokens):
        token = tokens[at]
        if token.kind == "fact":
            year = int(token.match["year"]) if token.match["year"] else None
            found.append(MonthLength(token.match["month"], year, int(token.match["length"]), token.span))
        read = _statement(tokens, at)
        if read is None:
            at += 1
            continue
        found.append(read[0])
        at = read[1]
    return found


def _statement(tokens: Sequence[_Token], at: int) -> tuple[SameDate, int] | None:
    """Read a chain of equal dates from `at` on."""
    first = _expression(tokens, at)
    if first is None:
        return None
    side, end = first
    sides, start = [side], side.span[0]
    weekday: int | None = None
    while end < len(tokens):
        ahead = end
        while _kind(tokens, ahead) in ("comma", "link"):
            ahead += 1
        if _kind(tokens, ahead) == "weekday" and ahead > end:
            weekday = _weekday(tokens[ahead].match[0])
            end = ahead + 1
            continue
        following = _expression(tokens, ahead)
        is_today = (  # `it is 05/03/2004 today`
            ahead == end
            and isinstance(side.base, date)
            and following is not None
            and following[0][:2] == ("today", Shift())
        )
        is_apposition = all(_kind(tokens, index) == "comma" for index in range(end, ahead))
        is_list = is_apposition and following is not None and following[0].is_moved | isinstance(sides[-1].base, date)
        if following is None or (ahead == end and not is_today) or (is_list and not is_today):
            break
        side, end = following
        sides.append(side)
    return SameDate(tuple(sides), (start, sides[-1].span[1]), weekday), end


def _expression(tokens: Sequence[_Token], at: int) -> tuple[DateExpression, int] | None:
    """Read a date, a name, or one of them moved."""
    kind = _kind(tokens, at)
    if kind == "lead" and _kind(tokens, at + 1) == "amount":
        return _led(tokens, at)
    if kind == "amount":
        return _distance(tokens, at)
    if kind not in ("date", "anchor", "event"):
        return None
    base, impossible = _base(tokens[at])
    end, total = at + 1, Shift()
    while True:
        if _kind(tokens, end) == "shift":
            match, step = tokens[end].match, 1
            shift = amount(int(match["compact"]), match["letter"])
            forwards = match["sign"] == "+"
        elif _kind(tokens, end) in ("later", "earlier") and _kind(tokens, end + 1) == "amount":
            shift, step = _amount(tokens[end + 1]), 2
            forwards = _kind(tokens, end) == "later"
        else:
            break
        if shift is None:
            break
        total = _sum(total, shift if forwards else shift.reverse)
        end += step
    span = tokens[at].span[0], tokens[end - 1].span[1]
    return DateExpression(base, total, end > at + 1, span, impossible), end


def _led(tokens: Sequence[_Token], at: int) -> tuple[DateExpression, int] | None:
    """Read `adding 5 days to …` or `subtracting 5 days from …`."""
    shift = _amount(tokens[at + 1])
    if shift is None or _kind(tokens, at + 2) not in ("to", "later") or not _is_base(tokens, at + 3):
        return None
    base, impossible = _base(tokens[at + 3])
    is_added = tokens[at].match[0].lower().startswith("add")
    span = tokens[at].span[0], tokens[at + 3].span[1]
    return DateExpression(base, shift if is_added else shift.reverse, True, span, impossible), at + 4


def _distance(tokens: Sequence[_Token], at: int) -> tuple[DateExpression, int] | None:
    """Read `10 days after …`, `a month ago` or `one week ago from today`."""
    shift, direction = _amount(tokens[at]), _kind(tokens, at + 1)
    if shift is None or direction not in ("later", "earlier"):
        return None
    end = at + 2
    if direction == "earlier" and _kind(tokens, end) == "later":  # `ago from`
        end += 1
    base: date | str | None = "today" if tokens[at + 1].match[0].lower() == "ago" else None
    impossible = False
    if _is_base(tokens, end):
        base, impossible = _base(tokens[end])
        end += 1
    span = tokens[at].span[0], tokens[end - 1].span[1]
    return DateExpression(base, shift if direction == "later" else shift.reverse, True, span, impossible), end


def _kind(tokens: Sequence[_Token], at: int) -> str:
    return tokens[at].kind if at < len(tokens) else ""


def _is_base(tokens: Sequence[_Token], at: int) -> bool:
    return _kind(tokens, at) in ("date", "anchor", "event")


def _base(token: _Token) -> tuple[date | str, bool]:
    """Return a date, or the name of one in lower case; and whether it is a day that does not exist."""
    if token.kind == "date":
        day = day_of(token.match)
        return day or token.match[0], day is None
    return " ".join(token.match[0].lower().split()), False


def _amount(token: _Token) -> Shift | None:
    if not token.match["number"]:
        return Shift(days=1)  # `the day before …`
    return amount(count(token.match["number"]), token.match["unit"])


def count(number: str) -> int:
    """Return the number that digits or a word of `NUMBER` stand for."""
    if number.isdigit():
        return int(number)
    return COUNTS.index(number.lower()) + 1 if number.lower() in COUNTS else 1


def _sum(one: Shift, other: Shift) -> Shift:
    return Shift(one.months + other.months, one.days + other.days)


def _weekday(name: str) -> int:
    return ["mon", "tue", "wed", "thu", "fri", "sat", "sun"].index(name[:3].lower())
