"""Right answers: what a response states as its final answer, and whether that is the right one.

Four rules read the words: `exact`, `number`, `choice`, `regex`; `function` finds a fifth that the user wrote. All of
them read the *last* answer that is stated (`#### 18`, `\\boxed{18}`, `The answer is 18`, `Answer: 18`), and what stands
at the end where none is. Numbers are compared as fractions, never as floats. Text from a model is never evaluated, and
reading it takes time in proportion to its length.

Not here: whether a worked answer is right on the way. An answer that cannot be read with certainty is not right.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import string
import sys
import unicodedata
from collections import deque
from collections.abc import Callable, Sequence
from fractions import Fraction
from types import ModuleType
from typing import Any, NamedTuple

from sparring.common.errors import ConfigError, nearest

LETTERS = string.ascii_uppercase


def _mark(noun: str) -> re.Pattern[str]:
    """What stands before an answer that is stated as a `noun`."""
    return re.compile(
        rf"""
          (?P<label> ^[^\w\n]{{0,9}} (?:(?:the|so\ the)\ )? (?:(?:final|correct|best)\ )? {noun} [*_\ ]{{0,4}} : )
        | (?P<hashes> \#\#\#\# )
        | (?P<boxed> \\boxed\s?\{{ )
        | (?P<phrase> \b{noun}\s (?:to\ (?:the|this)\ (?:question|problem)\ )? (?:is|would\ be)\b :? )
        """,
        re.IGNORECASE | re.MULTILINE | re.VERBOSE,
    )


_ANSWER = _mark("answer")
_DENIED = re.compile(r"not\b", re.IGNORECASE)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s")
_MATHEMATICS = re.compile(r"\\\((.*)\\\)|\$(.*)\$|\\text\{(.*)\}", re.DOTALL)


class _Statement(NamedTuple):
    """Words that a response states as its answer; `hashes`: after `####`, which may also open a heading."""

    words: str
    hashes: bool


def final(response: str) -> str:
    """The answer that `response` states last, or its last line; emphasis, quotes and the full stop taken off."""
    stated, tail = _statements(response)
    lines = [stated[-1].words] if stated else tail.strip().splitlines()
    return _bare(lines[-1]) if lines else ""


def states(response: str) -> bool:
    """Whether `response` states its answer as such, in place of merely ending in it."""
    return bool(_statements(response)[0])


def exact(gold: str, response: str) -> bool:
    """Whether the final answer, its first sentence or the whole response is `gold`; spacing, case, emphasis, quotes
    and the full stop count for nothing."""
    stated = final(response)
    readings = (response, stated, _SENTENCE_END.split(stated, 1)[0])
    return bool(response.strip()) and any(_folded(reading) == _folded(gold) for reading in readings)


MATCHED = 20_000  # characters of a model's text that a pattern of the user's is tried on; its time is up to it


def regex(gold: str, response: str) -> bool:
    """Whether the pattern `gold` matches the whole final answer, which has at most `MATCHED` characters."""
    stated = final(response)
    return bool(response.strip()) and len(stated) <= MATCHED and re.fullmatch(gold, stated) is not None


def _statements(response: str, mark: re.Pattern[str] = _ANSWER) -> tuple[list[_Statement], str]:
    """What `response` states as its answer, in order; and all that follows the last mark of a statement."""
    marks = list(mark.finditer(response))
    if not marks:
        return [], response
    ends = [mark.start() for mark in marks[1:]] + [len(response)]
    found = [_statement(m, response[m.end() : end]) for m, end in zip(marks, ends, strict=True)]
    return [said for said in found if _bare(said.words)], response[marks[-1].end() :]


def _statement(mark: re.Match[str], words: str) -> _Statement:
    if mark.lastgroup == "boxed":
        depth = 1
        for place, character in enumerate(words):
            depth += (character == "{") - (character == "}")
            if depth == 0:
                return _Statement(words[:place], hashes=False)
    return _Statement(words.strip().split("\n", 1)[0], mark.lastgroup == "hashes")


def _bare(text: str) -> str:
    """`text` without what stands around it: spaces, emphasis, quotes, marks of mathematics, a full stop."""
    for _ in range(2):  # once inside the marks of mathematics, too
        text = text.strip(" \t\r\n*`\"“”'‘’").removesuffix(".").rstrip("*`\"”'’")
        inside = _MATHEMATICS.fullmatch(text)
        text = inside[inside.lastindex or 0] if inside else text
    return text.strip()


def _folded(text: str) -> str:
    """`text` in the form in which it is compared; text that is nothing but marks stays as it is."""
    words = " ".join(unicodedata.normalize("NFC", text).casefold().split())
    return _bare(words) or words


# ---- numbers

_DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)(?:e[+-]?\d{1,3}(?!\w))?"
_NUMBER = re.compile(
    rf"""
    (?P<minus> (?<![\w)\]}}%]) - )? (?: [$€£¥]\ ? (?P<inner>-)? )?
    (?P<body> (?: (?P<whole>\d+)\ (?=\d+/\d) )? (?P<top>{_DIGITS}) (?: \ ?/\ ? (?P<bottom>{_DIGITS}) )? )
    """,
    re.ASCII | re.IGNORECASE | re.VERBOSE,
)
# What may stand between two numbers of one sum: `5 apples + 3 apples = 8`.
_LINK = re.compile(r"\s?(?:%|[a-z]{1,20})?(?:\s[a-z]{1,20})?[\s)$]{0,3}([-+*/x×·÷=^])[\s($€£¥-]{0,4}", re.IGNORECASE)
_UNIT = re.compile(r"\s?(?:[%°]|[^\W\d]{1,20}\.?)?(?:[\s/][^\W\d]{1,20}){0,3}")
_TYPESET = {r"\$": "$", r"\%": "%", "{,}": ",", r"\,": "", r"\!": "", "−": "-", "–": "-"}
_TEX_FRACTION = re.compile(r"(\d?)\\[dt]?frac\s?\{(-?[\d.,]{1,40})\}\s?\{([\d.,]{1,40})\}")
_LONGEST = 400  # characters; beyond it no number is meant, and reading it would take long


def number(gold: str, response: str) -> bool:
    """Whether `response` ends in the number `gold`; currency, unit, percent sign, separators of thousands and zeros
    at the end of a decimal count for nothing."""
    right = read_number(gold)
    return right is not None and stated_number(response) == right


def first_number(text: str) -> Fraction | None:
    """The first number in `text`."""
    found = _NUMBER.search(_typed(text))
    return _value(found) if found else None


def stated_number(response: str) -> Fraction | None:
    """The number that `response` states as its answer, the last one of all where it states none."""
    stated, tail = _statements(_typed(response))
    for said in reversed(stated):
        heading = said.hashes and not _NUMBER.match(said.words.lstrip("* "))  # `#### Step 3: …` is no answer
        if _NUMBER.search(said.words) and not heading and not _DENIED.match(said.words):
            return _sum(said.words)
    last = deque(_NUMBER.finditer(tail), maxlen=1)
    return _value(last[0]) if last else None


def read_number(text: str) -> Fraction | None:
    """The number that `text` is, currency and unit apart; None if it is anything else."""
    text = _bare(_typed(text))
    found = _NUMBER.match(text)
    return _value(found) if found and _UNIT.fullmatch(text, found.end()) else None


def _typed(text: str) -> str:
    """`text` with what TeX and typography write in their own way as a keyboard has it."""
    for sign, plain in _TYPESET.items():
        text = text.replace(sign, plain)
    return _TEX_FRACTION.sub(lambda f: f"{f[1]} {f[2]}/{f[3]}" if f[1] else f"{f[2]}/{f[3]}", text)


def _sum(text: str) -> Fraction | None:
    """The first number in `text`, or what it comes to: 8 in `5 + 3 = 8`; None for a sum left undone."""
    numbers = _NUMBER.finditer(text)
    before = result = next(numbers, None)
    for found in numbers:
        link = _LINK.fullmatch(text, before.end(), found.start("body")) if before else None
        if link is None:
            break
        result = found if link[1] == "=" else None
        before = found
    return _value(result) if result else None


def _value(found: re.Match[str]) -> Fraction | None:
    if len(found[0]) > _LONGEST:
        return None
    whole, top, bottom = (Fraction((found[part] or "0").replace(",", "")) for part in ("whole", "top", "bottom"))
    if found["bottom"] and (not bottom or (top / bottom).denominator == 1):
        return None  # a division left undone is not its result, either
    size = whole + (top / bottom if found["bottom"] else top)
    return -size if found["minus"] or found["inner"] else size


# ---- choices

_CHOICE = _mark("(?:answer|option|choice)")
_MARKED = re.compile(r"[(\[]?(?P<letter>[a-z])[)\].:](?=[\s*]|$)|(?P<alone>[a-z])$", re.IGNORECASE)
# An A before a word is an article unless the word says otherwise.
_PLAIN = re.compile(r"(?P<letter>[B-HJ-Z])(?=[\s,;])|(?P<alone>A)(?=[,;]|\s+[-–—]|\s+(?:is|because|since)\b)")
_ANOTHER = re.compile(r"\s*+(?:[/&]|(?:,\s*+)?(?:and|or)\b|,)\s*+(?:[(\[]([A-Za-z])[)\]]|([A-Z])(?![\w']))")
_INSIDE = re.compile(r"\(([A-Z])\)|\b(?:option|choice)\s([A-Z])\b")
_ARTICLE = re.compile(r"(?:an?|the) (?=\S)")


def choice(gold: str, response: str, texts: Sequence[str] = ()) -> bool:
    """Whether `response` chooses the letter `gold`; `texts` are the options' words, where they are known."""
    return chosen(response, texts) == gold


def chosen(response: str, texts: Sequence[str] = ()) -> str | None:
    """The letter of the option that `response` chooses, by its letter or its words; None if it names none, or two."""
    options = {letter: _option(text) for letter, text in zip(LETTERS, texts, strict=False)}
    options = options or dict.fromkeys(LETTERS, "")
    for said in reversed(_statements(response, _CHOICE)[0]):
        if found := _stated_choice(_bare(said.words), options):
            return found.pop() if len(found) == 1 else None
    lines = [_bare(line) for line in response.splitlines() if line.strip()]
    for line in lines[-1:] + lines[:1]:
        # of several lines only one that is nothing but the choice: a line that discusses an option is none
        if found := _line_choice(line, options, whole=len(lines) > 1):
            return found.pop() if len(found) == 1 else None
    return None


def _option(text: str) -> str:
    return _ARTICLE.sub("", _folded(text), count=1)


def _line_choice(line: str, options: dict[str, str], whole: bool = False) -> set[str]:
    """The letters that `line` begins with or whose option it is; two if it contradicts itself."""
    named = {letter for letter, text in options.items() if text and text == _option(line)}
    if named and len(line) > 1:
        return named
    mark = _MARKED.match(line)
    return _lettered(line, mark, options, whole) if mark else named


def _stated_choice(words: str, options: dict[str, str]) -> set[str]:
    """The same for `words` that were stated as the answer, where less is taken for certain."""
    if found := _line_choice(words, options):
        return found
    if _DENIED.match(words):
        return set()
    if (mark := _PLAIN.match(words)) and (found := _lettered(words, mark, options)):
        return found
    letters = {first or second for first, second in _INSIDE.findall(words)} & set(options)
    return letters or _mentioned(_folded(words), options)


def _lettered(line: str, mark: re.Match[str], options: dict[str, str], whole: bool = False) -> set[str]:
    letter = (mark["letter"] or mark["alone"]).upper()
    rest = line[mark.end() :]
    text = _option(rest.lstrip("*.,;:-–— "))
    if letter not in options or (whole and text not in ("", options[letter])):
        return set()
    another = _ANOTHER.match(rest)
    second = {(another[1] or another[2]).upper()} & set(options) if another else set()
    return {letter} | second | {other for other, words in options.items() if text and words == text != options[letter]}


def _mentioned(words: str, options: dict[str, str]) -> set[str]:
    """The letters of the options whose words occur in `words`, unless within another such option."""
    there = {a: text for a, text in options.items() if text and re.search(rf"(?<!\w){re.escape(text)}(?!\w)", words)}
    return {a for a, text in there.items() if not any(text in other and text != other for other in there.values())}


# ---- a function of the user's

Right = Callable[[str, Any], bool]


def function(name: str) -> Right:
    """The function at `package.module.function` or `path/to/file.py:function`; ConfigError says why there is none.

    It takes a response and its problem, and returns True or False. Its file is run, as any imported program is.
    """
    place, _, attribute = name.rpartition(":") if ".py:" in name else name.rpartition(".")
    module = _module(name, place)
    if not hasattr(module, attribute):
        raise nearest(f"function in {place}", attribute, [k for k, v in vars(module).items() if callable(v)])
    found = getattr(module, attribute)
    if not callable(found):
        raise ConfigError(f"{name!r} is no function; give one that takes (response, problem) and returns True or False")

    def right(response: str, problem: Any) -> bool:
        try:
            verdict = found(response, problem)
        except Exception as error:
            raise ConfigError(f"the function {name!r} failed: {type(error).__name__}: {error}") from error
        if not isinstance(verdict, bool):
            raise ConfigError(f"the function {name!r} returned {verdict!r}; it must return True or False")
        return verdict

    return right


def _module(name: str, place: str) -> ModuleType:
    try:
        if not place.endswith(".py"):
            return importlib.import_module(place)
        spec = importlib.util.spec_from_file_location(place, place)
        if spec is None or spec.loader is None:
            raise ImportError(f"{place} cannot be imported")
        module = importlib.util.module_from_spec(spec)
        sys.modules[place] = module  # where the dataclasses in it look their module up
        spec.loader.exec_module(module)
    except Exception as error:
        raise ConfigError(
            f"no function at {name!r}: {type(error).__name__}: {error}; "
            f"give package.module.function or path/to/file.py:function"
        ) from error
    return module
