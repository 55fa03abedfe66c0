"""Read BIG-bench's stories about dates: what is today, and which date does the question ask for?

A story gives one date and the way from there to today: `Jane booked a flight for tomorrow, Jul 29, 2002.` Calendar
phrases (`the last day of the first quarter of 2008`, `Christmas Eve of 1937`) are dates, too. A story that needs other
knowledge is not read.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Callable, Sequence
from datetime import date
from typing import NamedTuple

from sparring.parsing.dates.calendar import DATE, MONTH, Shift, amount, day_of, month_number, moved
from sparring.parsing.dates.statements import NUMBER, count


class DateMove(NamedTuple):
    """A step from one date to another: the `name` of the other date ("today"), the distance, and its words."""

    name: str
    shift: Shift
    words: str  # `10 days after`

    @classmethod
    def of(cls, name: str, number: int, unit: str, *, forwards: bool) -> DateMove:
        """Create the move to `name`, so many units forwards or backwards; hours are rounded up to days."""
        if unit.startswith("hour"):
            number, unit = -(-number // 24), "day"
        distance = amount(number, unit) or Shift()
        words = f"{number} {unit}{'' if number == 1 else 's'} {'after' if forwards else 'before'}"
        return cls(name, distance if forwards else distance.reverse, words)


class Story(NamedTuple):
    """A date, its name ("tomorrow"; "" if it has none), and the moves from there to the date in question."""

    name: str
    base: date
    moves: tuple[DateMove, ...]

    @property
    def days(self) -> tuple[date, ...] | None:
        """The base and the dates after each move; None if the calendar does not have one of them."""
        days = [self.base]
        for move in self.moves:
            day = moved(days[-1], move.shift)
            if day is None:
                return None
            days.append(day)
        return tuple(days)


ASKED: dict[str, tuple[int, str, bool] | None] = {  # how BIG-bench asks, and the distance from today
    "today": None,
    "tomorrow": (1, "day", True),
    "yesterday": (1, "day", False),
    "24 hours later": (1, "day", True),
    "one week from today": (1, "week", True),
    "one week ago from today": (1, "week", False),
    "10 days ago": (10, "day", False),
    "a month ago": (1, "month", False),
    "one year ago from today": (1, "year", False),
}
MOST_CHARACTERS = 1000  # of a story; the expressions below are for short texts
QUESTION = re.compile(r"What is the date (?P<asked>[\w ]+?) in MM/DD/YYYY\?\s*$")
_LATER = re.compile(rf"(?P<number>{NUMBER}) (?P<unit>day|week|month|year)s? (?P<way>ago|from (?:today|now)|later)")

_RANKS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_RANK = rf"(?:{'|'.join(_RANKS)})"
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_AMOUNT = rf"(?P<number>{NUMBER}) (?P<unit>hour|day|week|month|year)s?"
_Reading = Callable[[re.Match[str]], date]


def _weekday(year: int, month: int, weekday: int, rank: int) -> date:
    first = date(year, month, 1)
    return date(year, month, 1 + (weekday - first.weekday()) % 7 + 7 * (rank - 1))


def _last(year: int, month: int) -> date:
    return date(year, month, monthrange(year, month)[1])


def _year(match: re.Match[str]) -> int:
    return int(match["year"])


_OF = r"(?: of| in|,)? (?:the )?(?:year )?(?P<year>\d{4})"
_CALENDAR: tuple[tuple[str, _Reading], ...] = (
    (rf"christmas eve{_OF}", lambda m: date(_year(m), 12, 24)),
    (rf"christmas(?: day)?{_OF}", lambda m: date(_year(m), 12, 25)),
    (rf"new year'?s eve{_OF}", lambda m: date(_year(m), 12, 31)),
    (rf"new year'?s day{_OF}", lambda m: date(_year(m), 1, 1)),
    (rf"(?:the )?(?:us )?thanksgiving{_OF}", lambda m: _weekday(_year(m), 11, 3, 4)),
    (rf"the palindrome day{_OF}", lambda m: _palindrome(_year(m))),
    (
        rf"the last day of the (?P<rank>{_RANK}) quarter{_OF}",
        lambda m: _last(_year(m), 3 * (_RANKS.index(m["rank"].lower()) + 1)),
    ),
    (
        rf"the (?P<rank>{_RANK}) day of the (?P<other>{_RANK}) month{_OF}",
        lambda m: date(_year(m), _RANKS.index(m["other"].lower()) + 1, _RANKS.index(m["rank"].lower()) + 1),
    ),
    (rf"the last day of (?P<month>{MONTH}){_OF}", lambda m: _last(_year(m), month_number(m["month"]))),
    (
        rf"the first day of (?P<month>{MONTH}){_OF}",
        lambda m: date(_year(m), month_number(m["month"]), 1),
    ),
    (rf"the last day{_OF}", lambda m: date(_year(m), 12, 31)),
    (
        rf"the (?P<rank>{_RANK}) (?P<day>{'|'.join(_DAYS)}){_OF}",
        lambda m: _weekday(_year(m), 1, _DAYS.index(m["day"].lower()), _RANKS.index(m["rank"].lower()) + 1),
    ),
    (rf"the first day{_OF}", lambda m: date(_year(m), 1, 1)),
)
_PHRASES = [(re.compile(pattern, re.IGNORECASE), read) for pattern, read in _CALENDAR]
_DATE = re.compile(DATE, re.VERBOSE | re.IGNORECASE)
_DAY_AND_YEAR = re.compile(r"(?<![\d/])(?P<month>\d{1,2})/(?P<day>\d{1,2})(?![\d/])(?P<between>.*?)\b(?P<year>\d{4})\b")
_D = r"@(?P<first>\d)@"


def _palindrome(year: int) -> date:
    """Return the day whose MMDD is the year backwards; ValueError if there is none."""
    digits = f"{year:04}"[::-1]
    return date(year, int(digits[:2]), int(digits[2:]))


# Pattern, name of the date that it gives, and the way from there to today: None, or forwards.
_STORIES: tuple[tuple[str, str, bool | None], ...] = (
    (rf"thought today is {_D}, but today is .*which is {_AMOUNT} later", "", True),
    (rf"scheduled to be on {_D}, but was delayed by {_AMOUNT} to today", "", True),
    (rf"{_D}, which is {_AMOUNT} away from now", "", False),
    (rf"{_D} is like yesterday .*? {_AMOUNT} ago", "", True),
    (rf"{_D}.*?\b{_AMOUNT} have passed", "", True),
    (rf"(?:married|born|wed)\b.*?{_D}.*?(?P<number>\d+)-(?P<unit>year)(?:-old)? (?:anniversary|birthday)", "", True),
    (rf"it was {_D} {_AMOUNT} ago", "", True),
    (rf"{_D} is coming in {_AMOUNT}", "", False),
    (rf"the day before yesterday was {_D}", "the day before yesterday", True),
    (rf"\btomorrow\b\W+(?:is |\w{{3}}, )?{_D}", "tomorrow", False),
    (rf"\byesterday\b\W+(?:was )?{_D}", "yesterday", True),
    (rf"(?:\btoday\b\W+(?:is )?|\bit is |\bthis is |current .*? of |celebrating ){_D}", "today", None),
)
_PATTERNS = [(re.compile(pattern, re.IGNORECASE), name, way) for pattern, name, way in _STORIES]
_IMPLIED = {"tomorrow": 1, "yesterday": 1, "the day before yesterday": 2}  # days to today
_DISPUTED = re.compile(r"\b(\w++) thinks today is @0@, but (\w+) thinks today is @1@\. (\w+) is correct", re.IGNORECASE)
_WEDDINGS = {"golden wedding": "50-year", "silver wedding": "25-year"}
_MONTHLY = re.compile(
    rf"on the (\d+)\w\w of each month starting from the ({MONTH}) of (\d{{4}}).*?(\d+)\w\w visit", re.IGNORECASE
)
_COMING = re.compile(r"\b(\d{4}) is coming in")


def read_story(text: str) -> Story | None:
    """Return the story and question of a BIG-bench row; None if they are not understood."""
    question = QUESTION.search(text) if len(text) <= MOST_CHARACTERS else None
    asked = asked_move(question["asked"]) if question else None
    try:
        story = _told(text[: question.start()].strip()) if question else None
    except ValueError:  # a day that does not exist
        return None
    if story is None or asked is None:
        return None
    return story._replace(moves=story.moves + asked)


def asked_move(asked: str) -> tuple[DateMove, ...] | None:
    """Return the move from today to the date that is asked for, none for today; None if it is not understood."""
    if asked in ASKED:
        known = ASKED[asked]
        return (DateMove.of(asked, known[0], known[1], forwards=known[2]),) if known else ()
    match = _LATER.fullmatch(asked)
    if match is None:
        return None
    return (DateMove.of(asked, count(match["number"]), match["unit"], forwards=match["way"] != "ago"),)


def _told(text: str) -> Story | None:
    marked, days = _marked(text)
    disputed = _DISPUTED.search(marked)
    if disputed:
        names = disputed[1], disputed[2]
        return Story("today", days[names.index(disputed[3])], ()) if disputed[3] in names else None
    monthly = _MONTHLY.search(text)
    if monthly:
        base = date(int(monthly[3]), month_number(monthly[2]), int(monthly[1]))
        return Story("", base, (DateMove.of("today", int(monthly[4]) - 1, "month", forwards=True),))
    for pattern, name, forwards in _PATTERNS:
        match = pattern.search(marked)
        if match is None:
            continue
        base = days[int(match["first"])]
        if forwards is None:
            return Story(name, base, ())
        number, unit = (_IMPLIED[name], "day") if name else (count(match["number"]), match["unit"].lower())
        return Story(name, base, (DateMove.of("today", number, unit, forwards=forwards),))
    return None


def _marked(text: str) -> tuple[str, Sequence[date]]:
    """Replace the dates of `text` by `@0@`, `@1@`, …; also return the dates."""
    days: list[date] = []

    def mark(day: date | None, said: str = "") -> str:
        if day is None:
            return said
        days.append(day)
        return f"@{len(days) - 1}@"

    text = text.replace("@", " at ")  # `@0@` stands for a date
    for name, years in _WEDDINGS.items():
        text = text.replace(name, years)
    is_day_first = "day before the month" in text
    text = _DATE.sub(lambda m: mark(_swapped(day_of(m)) if is_day_first else day_of(m), m[0]), text)
    for pattern, read in _PHRASES:
        text = pattern.sub(lambda m, read=read: mark(read(m)), text)  # type: ignore[misc]
    text = _COMING.sub(lambda m: f"{mark(date(int(m[1]), 1, 1))} is coming in", text)
    if not days:
        text = _DAY_AND_YEAR.sub(lambda m: mark(date(int(m["year"]), int(m["month"]), int(m["day"]))), text, count=1)
    return text, days


def _swapped(day: date | None) -> date | None:
    return day and date(day.year, day.day, day.month)
