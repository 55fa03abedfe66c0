"""Read numbers as people and models write them: `$1,234.50`, `1.234,5`, `１２３`, `2½`, `\\frac{3}{4}`, `minus 5`.

Numbers are fractions, not floats. Where two readings are possible, the English one counts: `1.234` is between one and
two. A date is no number, and a number in words is none (`eighteen`, the scale of `2 million`). Text from a model is
never evaluated.
"""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction

from sparring.parsing.statements import DENIED, bare, stated_answers, to_ascii, without_thought

_DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)(?:e[+-]?\d{1,3}(?!\w))?"
_NUMBER = re.compile(
    rf"""
    (?P<minus> (?<![\w)\]}}%]) - )? (?: [$€£¥]\ ? (?P<inner>-)? )?
    (?P<body> (?: (?P<whole>\d+)\ (?=\d+/\d) )? (?P<top>{_DIGITS}) (?: \ ?/\ ? (?P<bottom>{_DIGITS}) )? )
    """,
    re.ASCII | re.IGNORECASE | re.VERBOSE,
)
# What may separate two numbers of one calculation: `5 apples + 3 apples = 8`.
_LINK = re.compile(r"\s?(?:%|[a-z]{1,20})?(?:\s[a-z]{1,20})?[\s)$]{0,3}([-+*/x×·÷=^])[\s($€£¥-]{0,4}", re.IGNORECASE)
_UNIT = re.compile(r"\s?(?:[%°€£¥]|[^\W\d]{1,20}\.?)?(?:[\s/][^\W\d]{1,20}){0,3}")
_LONGEST = 400  # characters; a longer number is not meant as one, and slow to convert
_DENYING = re.compile(r"\b(?:not|nicht|instead of|rather than)\s[$€£]?\Z", re.IGNORECASE)
_REFUSAL = re.compile(
    r"\s*(?:I(?:['’]m| am) sorry|sorry|as an AI)\b[^\n]{0,60}?\bI (?:can(?:no|['’])?t|am (?:not able|unable))",
    re.IGNORECASE,
)


def number(gold: str, response: str) -> bool:
    """Return whether `response` ends in the number `gold`.

    Currency, unit, percent sign, thousands separators and trailing zeros of a decimal are ignored.
    """
    right = read_number(gold)
    return right is not None and stated_number(response) == right


def first_number(text: str) -> Fraction | None:
    """Return the first number in `text`, if any."""
    match = _NUMBER.search(_typed(text))
    return _value(match) if match else None


def stated_number(response: str) -> Fraction | None:
    """Return the number that `response` states as its answer; its last number if it states none.

    The last number of a refusal, and one after "not", do not count.
    """
    text = _typed(without_thought(response))
    stated, tail = stated_answers(text)
    for words, mark in reversed(stated):
        # `#### Step 3: …` is a heading, not an answer
        is_heading = mark == "hashes" and not _NUMBER.match(words.lstrip("* "))
        if _NUMBER.search(words) and not is_heading and not DENIED.match(words):
            return _sum(words)
    last = None if _REFUSAL.match(text) else _last(tail)
    return _value(last) if last else None


def read_number(text: str) -> Fraction | None:
    """Read `text` as one number with optional currency and unit; None if it is anything else."""
    text = bare(_typed(text))
    match = _NUMBER.match(text)
    return _value(match) if match and _UNIT.fullmatch(text, match.end()) else None


def _last(text: str) -> re.Match[str] | None:
    last = None
    for match in _NUMBER.finditer(text):
        if not _DENYING.search(text, max(0, match.start() - 15), match.start()):
            last = match
    return last


def _sum(text: str) -> Fraction | None:
    """Return the first number in `text`, or the result of its calculation: 8 in `5 + 3 = 8`.

    Further calculations count if they go on with the result: 18 in `5 + 4 = 9 eggs, and 9 * 2 = 18`. None for a
    calculation without a result.
    """
    numbers = _NUMBER.finditer(text)
    first = previous = result = next(numbers, None)
    standing, goes_on = None, True  # the result of earlier calculations; whether this one contains it
    for match in numbers:
        link = _LINK.fullmatch(text, previous.end(), match.start("body")) if previous else None
        if link is None:  # the calculation ends at the first number that is not linked to it
            if result is None or result is first:
                break
            standing, goes_on = result, _value(match) == _value(result)
        elif link[1] == "=":
            result = match if goes_on else standing
        else:
            goes_on = goes_on or (standing is not None and _value(match) == _value(standing))
            result = standing
        previous = match
    return _value(result) if result else None


def _value(match: re.Match[str]) -> Fraction | None:
    """Return the value of a match of `_NUMBER`, a mixed number perhaps; None if it is too long or not a number."""
    if len(match[0]) > _LONGEST:
        return None
    whole, top, bottom = (Fraction((match[part] or "0").replace(",", "")) for part in ("whole", "top", "bottom"))
    if match["bottom"] and (not bottom or (top / bottom).denominator == 1):
        return None  # `6/3` is a division without its result
    magnitude = whole + (top / bottom if match["bottom"] else top)
    return -magnitude if match["minus"] or match["inner"] else magnitude


# ---- notation

_TYPESET = {r"\$": "$", r"\%": "%", "{,}": ",", r"\,": "", r"\!": "", r"\times": "×", r"\cdot": "·"}
_SIGNS = {ord("−"): "-", ord("–"): "-"} | {
    ord(sign): " " + unicodedata.normalize("NFKC", sign).replace("⁄", "/") for sign in "¼½¾⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"
}
_TEX_FRACTION = re.compile(r"(\d?)\\[dt]?frac\s?\{(-?[\d.,]{1,40})\}\s?\{([\d.,]{1,40})\}")
_POWER_OF_TEN = re.compile(
    r"(?<![\d.,])(\d{1,40}(?:[.,]\d{1,40})?)\s?[×x*·]\s?10\s?\^\s?\{?(-?\d{1,3})(?!\d)\}?", re.ASCII
)
_MINUS = re.compile(r"(?<!\d)(?<!\d )\b(?:minus|negative)\s(?=[$€£¥]?\d)", re.IGNORECASE | re.ASCII)
_DATE = re.compile(r"(?<![\d/.-])(?:\d{4}-\d\d-\d\d|\d\d?([/.])\d\d?\1\d{4})(?![\d/-])", re.ASCII)
# Thousands separated by points, spaces, apostrophes or as in India, and the decimal comma. Never within a tuple (3,5).
_FOREIGN = re.compile(
    r"""
    (?<![\d.,(\[{])
    (?: (?P<points> \d{1,3} (?: (?:\.\d{3})+,\d+ | (?:\.\d{3}){2,} ) )
      | (?P<spaces> \d{1,3} (?: (?:[\u00a0\u2009\u202f]\d{3})+ (?:,\d+)? | (?:\ \d{3})+,\d{1,2} ) )
      | (?P<commas> \d{1,3} (?:['’]\d{3})+ (?:\.\d+)? | \d{1,2}(?:,\d{2})+,\d{3} (?:\.\d+)? )
      | (?P<decimal> \d+,(?:\d{1,2}|\d{4,40}) | 0,\d{1,40} )
    )
    (?! \d | [.,'’]\d )
    """,
    re.ASCII | re.VERBOSE,
)
_SEPARATORS = re.compile("[ .'’\u00a0\u2009\u202f]")


def _typed(text: str) -> str:
    """Replace TeX, typographic and foreign notation in `text` by plain characters."""
    for sign, typed in _TYPESET.items():
        text = text.replace(sign, typed)
    if not text.isascii():
        text = to_ascii(text).translate(_SIGNS)
    text = _TEX_FRACTION.sub(lambda m: f"{m[1]} {m[2]}/{m[3]}" if m[1] else f"{m[2]}/{m[3]}", text)
    text = _FOREIGN.sub(_english, _DATE.sub("a date", text))
    return _MINUS.sub("-", _POWER_OF_TEN.sub(r"\1e\2", text))


def _english(match: re.Match[str]) -> str:
    """Write a number of another notation without separators and with a decimal point."""
    if match.lastgroup == "commas":
        return match[0].replace(",", "").replace("'", "").replace("’", "")
    return _SEPARATORS.sub("", match[0]).replace(",", ".")
