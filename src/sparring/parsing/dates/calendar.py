"""Calendar dates: read in their usual notations, moved by days and months, written as MM/DD/YYYY.

A move by months ends on the last day of the month if the month has no such day: one month after 01/31/2001 is
02/28/2001. Numeric dates have the month first; years have four digits.
"""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import date, timedelta
from typing import NamedTuple

MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
MONTH = r"(?:jan|febr?|mar|apr|may|june?|july?|aug|sept?|oct|nov|dec)[a-z]{0,7}\.?"
_ORDINAL = r"(?:st|nd|rd|th)?"
DATE = rf"""
    (?<![\d/]) (?P<m1>\d{{1,2}}) / (?P<d1>\d{{1,2}}) / (?P<y1>\d{{4}}) (?![\d/])
  | (?<![\d-]) (?P<y2>\d{{4}}) - (?P<m2>\d{{2}}) - (?P<d2>\d{{2}}) (?!\d)
  | \b (?P<m3>{MONTH}) \s+ (?P<d3>\d{{1,2}}){_ORDINAL} ,? \s+ (?:of\s+)? (?P<y3>\d{{4}}) \b
  | \b (?P<d4>\d{{1,2}}){_ORDINAL} \s+ (?:of\s+)? (?P<m4>{MONTH}) ,? \s+ (?P<y4>\d{{4}}) \b
  | (?<![\d/]) (?P<odd>\d{{1,9}} / \d{{1,9}} / \d{{1,9}}) (?![\d/])
"""
_DATE = re.compile(DATE, re.VERBOSE | re.IGNORECASE)
UNITS = {"h": "hour", "d": "day", "w": "week", "m": "month", "y": "year"}


class Shift(NamedTuple):
    """A distance between dates, forwards if positive."""

    months: int = 0
    days: int = 0

    @property
    def reverse(self) -> Shift:
        """The same distance in the other direction."""
        return Shift(-self.months, -self.days)


def amount(number: int, unit: str) -> Shift | None:
    """Return a distance of so many units, such as "week" or "w"; None for hours that are no whole days."""
    match unit[0].lower():
        case "h":
            return Shift(days=number // 24) if number % 24 == 0 else None
        case "d":
            return Shift(days=number)
        case "w":
            return Shift(days=7 * number)
        case "m":
            return Shift(months=number)
    return Shift(months=12 * number)


def moved(day: date, shift: Shift) -> date | None:
    """Return the date at distance `shift` from `day`; None if the calendar (years 1 to 9999) does not have it."""
    months = 12 * day.year + day.month - 1 + shift.months
    year, month = divmod(months, 12)
    try:
        return date(year, month + 1, min(day.day, monthrange(year, month + 1)[1])) + timedelta(shift.days)
    except (ValueError, OverflowError):
        return None


def written(day: date) -> str:
    """Write a date as MM/DD/YYYY."""
    return f"{day.month:02}/{day.day:02}/{day.year:04}"


def month_number(name: str) -> int:
    """Return the number of a month from its name or its beginning."""
    return MONTHS.index(name[:3].lower()) + 1


def day_of(match: re.Match[str]) -> date | None:
    """Return the date of a match of `DATE`; None if there is no such day, 02/30/2001, or it is not MM/DD/YYYY."""
    if match["odd"]:
        return None
    form = next(form for form in "1234" if match[f"y{form}"])
    month = match[f"m{form}"]
    try:
        return date(
            int(match[f"y{form}"]), int(month) if month.isdigit() else month_number(month), int(match[f"d{form}"])
        )
    except ValueError:
        return None


def dates(text: str) -> list[tuple[date | None, tuple[int, int]]]:
    """Return the dates in `text` with their spans, None for days that do not exist."""
    return [(day_of(match), match.span()) for match in _DATE.finditer(text)]


def read_date(text: str) -> date:
    """Return the first date in `text`; ValueError if there is none."""
    days = [day for day, _ in dates(text) if day is not None]
    if not days:
        raise ValueError(f"no date in {text!r}")
    return days[0]
