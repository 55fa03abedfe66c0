"""Find the final answer that a response states, and decide whether it is right.

Four rules read the text: `exact`, `number`, `choice`, `regex`; `function` loads a fifth that the user wrote. The rules
read the *last* stated answer (`#### 18`, `\\boxed{18}`, `The answer is 18`, `Answer: 18`), or the end of the response
if no answer is stated. Numbers are compared as fractions, not as floats. Text from a model is never evaluated, and
reading takes time linear in its length.

An answer that cannot be read with certainty is not right. The steps before the answer are not checked here.
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
    """Compile the pattern of what precedes an answer that is called `noun`."""
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
    """Text that a response states as its answer; `hashes`: after `####`, which may also open a heading."""

    words: str
    hashes: bool


def final(response: str) -> str:
    """Return the last stated answer of `response`, or its last line, without emphasis, quotes and full stop."""
    stated, tail = _statements(response)
    lines = [stated[-1].words] if stated else tail.strip().splitlines()
    return _bare(lines[-1]) if lines else ""


def states(response: str) -> bool:
    """Return whether `response` states an answer explicitly instead of merely ending in it."""
    return bool(_statements(response)[0])


def exact(gold: str, response: str) -> bool:
    """Return whether the final answer, its first sentence or the whole response is `gold`.

    Spacing, case, emphasis, quotes and the full stop are ignored.
    """
    stated = final(response)
    readings = (response, stated, _SENTENCE_END.split(stated, 1)[0])
    return bool(response.strip()) and any(_folded(reading) == _folded(gold) for reading in readings)


MATCHED = 20_000  # characters; the user's pattern may be slow, so it is not tried on longer answers


def regex(gold: str, response: str) -> bool:
    """Return whether the pattern `gold` matches the whole final answer, of at most `MATCHED` characters."""
    stated = final(response)
    return bool(response.strip()) and len(stated) <= MATCHED and re.fullmatch(gold, stated) is not None


def _statements(response: str, mark: re.Pattern[str] = _ANSWER) -> tuple[list[_Statement], str]:
    """Return the answers that `response` states, in order, and the text after the last mark."""
    marks = list(mark.finditer(response))
    if not marks:
        return [], response
    ends = [mark.start() for mark in marks[1:]] + [len(response)]
    statements = [_statement(m, response[m.end() : end]) for m, end in zip(marks, ends, strict=True)]
    return [statement for statement in statements if _bare(statement.words)], response[marks[-1].end() :]


def _statement(mark: re.Match[str], words: str) -> _Statement:
    """Return the answer that follows `mark`: up to the brace that closes `\\boxed{`, or the first line of `words`."""
    if mark.lastgroup == "boxed":
        depth = 1
        for index, character in enumerate(words):
            depth += (character == "{") - (character == "}")
            if depth == 0:
                return _Statement(words[:index], hashes=False)
    return _Statement(words.strip().split("\n", 1)[0], mark.lastgroup == "hashes")


def _bare(text: str) -> str:
    """Strip spaces, emphasis, quotes, mathematics delimiters and a full stop from both ends of `text`."""
    for _ in range(2):  # the second time inside mathematics delimiters
        text = text.strip(" \t\r\n*`\"“”'‘’").removesuffix(".").rstrip("*`\"”'’")
        inside = _MATHEMATICS.fullmatch(text)
        text = inside[inside.lastindex or 0] if inside else text
    return text.strip()


def _folded(text: str) -> str:
    """Normalise `text` for comparison; text that consists only of such marks stays as it is."""
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
# What may separate two numbers of one calculation: `5 apples + 3 apples = 8`.
_LINK = re.compile(r"\s?(?:%|[a-z]{1,20})?(?:\s[a-z]{1,20})?[\s)$]{0,3}([-+*/x×·÷=^])[\s($€£¥-]{0,4}", re.IGNORECASE)
_UNIT = re.compile(r"\s?(?:[%°]|[^\W\d]{1,20}\.?)?(?:[\s/][^\W\d]{1,20}){0,3}")
_TYPESET = {r"\$": "$", r"\%": "%", "{,}": ",", r"\,": "", r"\!": "", "−": "-", "–": "-"}
_TEX_FRACTION = re.compile(r"(\d?)\\[dt]?frac\s?\{(-?[\d.,]{1,40})\}\s?\{([\d.,]{1,40})\}")
_LONGEST = 400  # characters; a longer number is not meant as one, and slow to convert


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
    """Return the number that `response` states as its answer; its last number if it states none."""
    stated, tail = _statements(_typed(response))
    for words, hashes in reversed(stated):
        is_heading = hashes and not _NUMBER.match(words.lstrip("* "))  # `#### Step 3: …` is not an answer
        if _NUMBER.search(words) and not is_heading and not _DENIED.match(words):
            return _sum(words)
    last = deque(_NUMBER.finditer(tail), maxlen=1)
    return _value(last[0]) if last else None


def read_number(text: str) -> Fraction | None:
    """Read `text` as one number with optional currency and unit; None if it is anything else."""
    text = _bare(_typed(text))
    match = _NUMBER.match(text)
    return _value(match) if match and _UNIT.fullmatch(text, match.end()) else None


def _typed(text: str) -> str:
    """Replace TeX and typographic notation in `text` by plain characters."""
    for sign, plain in _TYPESET.items():
        text = text.replace(sign, plain)
    return _TEX_FRACTION.sub(lambda m: f"{m[1]} {m[2]}/{m[3]}" if m[1] else f"{m[2]}/{m[3]}", text)


def _sum(text: str) -> Fraction | None:
    """Return the first number in `text`, or the result of its calculation: 8 in `5 + 3 = 8`.

    None for a calculation without a result.
    """
    numbers = _NUMBER.finditer(text)
    previous = result = next(numbers, None)
    for match in numbers:
        link = _LINK.fullmatch(text, previous.end(), match.start("body")) if previous else None
        if link is None:  # the calculation ends at the first number that is not linked to it
            break
        result = match if link[1] == "=" else None
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


# ---- choices

_CHOICE = _mark("(?:answer|option|choice)")
_MARKED = re.compile(r"[(\[]?(?P<letter>[a-z])[)\].:](?=[\s*]|$)|(?P<alone>[a-z])$", re.IGNORECASE)
# `A` before a word is an article unless the word rules that out.
_PLAIN = re.compile(r"(?P<letter>[B-HJ-Z])(?=[\s,;])|(?P<alone>A)(?=[,;]|\s+[-–—]|\s+(?:is|because|since)\b)")
_ANOTHER = re.compile(r"\s*+(?:[/&]|(?:,\s*+)?(?:and|or)\b|,)\s*+(?:[(\[]([A-Za-z])[)\]]|([A-Z])(?![\w']))")
_INSIDE = re.compile(r"\(([A-Z])\)|\b(?:option|choice)\s([A-Z])\b")
_ARTICLE = re.compile(r"(?:an?|the) (?=\S)")


def choice(gold: str, response: str, texts: Sequence[str] = ()) -> bool:
    """Return whether `response` chooses the letter `gold`; `texts` are the options' texts, if known."""
    return chosen(response, texts) == gold


def chosen(response: str, texts: Sequence[str] = ()) -> str | None:
    """Return the letter of the option that `response` names by letter or text; None if it names none or several."""
    options = {letter: _option(text) for letter, text in zip(LETTERS, texts, strict=False)}
    options = options or dict.fromkeys(LETTERS, "")
    for words, _ in reversed(_statements(response, _CHOICE)[0]):
        if letters := _stated_choice(_bare(words), options):
            return letters.pop() if len(letters) == 1 else None
    lines = [_bare(line) for line in response.splitlines() if line.strip()]
    for line in lines[-1:] + lines[:1]:
        # Among several lines only a line that is nothing but the choice counts: others may discuss an option.
        if letters := _line_choice(line, options, whole=len(lines) > 1):
            return letters.pop() if len(letters) == 1 else None
    return None


def _option(text: str) -> str:
    """Normalise an option's text; a leading article is dropped."""
    return _ARTICLE.sub("", _folded(text), count=1)


def _line_choice(line: str, options: dict[str, str], whole: bool = False) -> set[str]:
    """Return the letters that `line` starts with or whose text it is; several if it contradicts itself."""
    by_text = {letter for letter, text in options.items() if text and text == _option(line)}
    if by_text and len(line) > 1:  # one character may be a letter instead of an option's text
        return by_text
    mark = _MARKED.match(line)
    return _lettered(line, mark, options, whole) if mark else by_text


def _stated_choice(words: str, options: dict[str, str]) -> set[str]:
    """Return the letters named in `words` that were stated as the answer, where weaker evidence suffices."""
    if letters := _line_choice(words, options):
        return letters
    if _DENIED.match(words):
        return set()
    if (mark := _PLAIN.match(words)) and (letters := _lettered(words, mark, options)):
        return letters
    letters = {first or second for first, second in _INSIDE.findall(words)} & set(options)
    return letters or _mentioned(_folded(words), options)


def _lettered(line: str, mark: re.Match[str], options: dict[str, str], whole: bool = False) -> set[str]:
    """Return the letter in `mark` and every other letter that the rest of `line` names with it.

    `whole`: the rest must be empty or the text of that option.
    """
    letter = (mark["letter"] or mark["alone"]).upper()
    rest = line[mark.end() :]
    rest_text = _option(rest.lstrip("*.,;:-–— "))
    if letter not in options or (whole and rest_text not in ("", options[letter])):
        return set()
    another = _ANOTHER.match(rest)  # `A or B`
    second = {(another[1] or another[2]).upper()} & set(options) if another else set()
    # `(A) cat`, where "cat" is the text of option B
    contradicting = {other for other, text in options.items() if rest_text and text == rest_text != options[letter]}
    return {letter} | second | contradicting


def _mentioned(words: str, options: dict[str, str]) -> set[str]:
    """Return the letters of the options whose text occurs in `words`, unless inside another such option's text."""
    found = {a: text for a, text in options.items() if text and re.search(rf"(?<!\w){re.escape(text)}(?!\w)", words)}
    return {a for a, text in found.items() if not any(text in other and text != other for other in found.values())}


# ---- the user's function

Right = Callable[[str, Any], bool]


def function(name: str) -> Right:
    """Load the function at `package.module.function` or `path/to/file.py:function`; ConfigError if that fails.

    The function takes a response and its problem and returns True or False. Loading runs its file.
    """
    path, _, attribute = name.rpartition(":") if ".py:" in name else name.rpartition(".")
    module = _module(name, path)
    if not hasattr(module, attribute):
        raise nearest(f"function in {path}", attribute, [k for k, v in vars(module).items() if callable(v)])
    judge = getattr(module, attribute)
    if not callable(judge):
        raise ConfigError(f"{name!r} is not a function; give one that takes (response, problem) and returns a boolean")

    def right(response: str, problem: Any) -> bool:
        try:
            verdict = judge(response, problem)
        except Exception as error:
            raise ConfigError(f"the function {name!r} failed: {type(error).__name__}: {error}") from error
        if not isinstance(verdict, bool):
            raise ConfigError(f"the function {name!r} returned {verdict!r}; it must return True or False")
        return verdict

    return right


def _module(name: str, path: str) -> ModuleType:
    """Import the module at a dotted name or a file's path; `name` names the function in errors."""
    try:
        if not path.endswith(".py"):
            return importlib.import_module(path)
        spec = importlib.util.spec_from_file_location(path, path)
        if spec is None or spec.loader is None:
            raise ImportError(f"{path} cannot be imported")
        module = importlib.util.module_from_spec(spec)
        sys.modules[path] = module  # dataclasses look up their module here
        spec.loader.exec_module(module)
    except Exception as error:
        raise ConfigError(
            f"no function at {name!r}: {type(error).__name__}: {error}; "
            f"give package.module.function or path/to/file.py:function"
        ) from error
    return module
