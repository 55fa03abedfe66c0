"""What a response states as its answer, and whether that is right.

Four rules read the text: `exact`, `number`, `choice`, `regex` (`core.user_function` asks one that the user wrote). They
read the *last* stated answer (see `statements`), or the end of the response if no answer is stated. A thought that was
left in is not read. Text from a model is never evaluated, and reading takes time linear in its length.

An answer that cannot be read with certainty is not right. The steps before the answer are not checked here. `numbers`
reads numbers.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence

from sparring.parsing.numbers import first_number, number, read_number, stated_number
from sparring.parsing.statements import DENIED, bare, folded, make_mark, stated_answers, to_ascii, without_thought

__all__ = [
    "LETTERS",
    "MATCHED",
    "choice",
    "chosen",
    "exact",
    "final",
    "first_number",
    "number",
    "read_number",
    "regex",
    "stated_number",
    "states",
]

LETTERS = string.ascii_uppercase

_SENTENCE_END = re.compile(r"(?<=[.!?])\s|(?<=。)")


def final(response: str) -> str:
    """Return the last stated answer of `response`, or its last line, without emphasis, quotes and full stop."""
    stated, tail = stated_answers(without_thought(response))
    lines = [stated[-1].words] if stated else tail.strip().splitlines()
    return bare(lines[-1]) if lines else ""


def states(response: str) -> bool:
    """Return whether `response` states an answer explicitly instead of merely ending in it."""
    return bool(stated_answers(without_thought(response))[0])


def exact(gold: str, response: str) -> bool:
    """Return whether the final answer, its first sentence or the whole response is `gold`.

    Spacing, case, emphasis, quotes and the full stop are ignored.
    """
    stated = final(response)
    readings = (response, stated, _SENTENCE_END.split(stated, 1)[0])
    return bool(response.strip()) and any(folded(reading) == folded(gold) for reading in readings)


MATCHED = 20_000  # characters; the user's pattern may be slow, so it is not tried on longer answers


def regex(gold: str, response: str) -> bool:
    """Return whether the pattern `gold` matches the whole final answer, of at most `MATCHED` characters."""
    stated = final(response)
    return bool(response.strip()) and len(stated) <= MATCHED and re.fullmatch(gold, stated) is not None


# ---- choices

_CHOICE = make_mark(
    "(?:answer|ans|option|choice)",
    r"\bI(?:['’]d|['’]ll|\swould|\swill)?\s(?:choose|chose|pick|picked|select|go\swith|say)\b"
    r"|\bI\s(?:think|believe)\b(?:\s(?:that\s)?it(?:['’]s|\sis)\b)?",
)
_NAMED = r"(?:(?:option|choice)\s)?"
_MARKED = re.compile(
    rf"{_NAMED}[(\[]?(?P<letter>[a-z])(?:[)\].:](?=[\s*]|$)|(?=\s[-–—]\s))|{_NAMED}(?P<alone>[a-z])$", re.IGNORECASE
)
# `A` before a word is an article unless the word rules that out.
_PLAIN = re.compile(
    r"(?P<letter>[B-HJ-Z])(?=[\s,;])|(?P<alone>A)(?=[,;]|\s+[-–—]|\s+(?:is|because|since|weil|car|porque)\b|\s+[^\x00-\u02ff])"
)
_LEADING = re.compile(
    r"(?i:(?:clearly|obviously|definitely|probably|likely|most|simply|la|el|die|option|opción|choice)\s){1,2}"
    r"(?=[(\[]?[A-Z](?:[)\].,;:\s]|$))"
)
_ANOTHER = re.compile(
    r"\s*+(?:[/&]|(?:,\s*+)?(?:and|or)\b(?:\s(?:possibly|maybe|perhaps))?|,)\s*+(?:[(\[]([A-Za-z])[)\]]|([A-Z])(?![\w']))"
)
_INSIDE = re.compile(r"\(([A-Z])\)|\b(?:option|choice)\s([A-Z])\b")
# `Option B is correct`, `(B) library is the best answer`; not `whether B is correct`.
_CONFIRMED = re.compile(
    r"(?P<doubt>\b(?i:if|whether|not|neither|nor)\s(?i:option\s|choice\s)?)?(?:\((?P<letter>[A-Z])\)|(?<![\w'’(])(?P<plain>[A-Z])(?![\w'’)]))"
    r"(?:(?<=\))[^.\n]{0,80}?)?\sis\s(?:the\s)?(?:most\s)?(?:correct|right|best)\b"
)
_DENIED_AFTER = re.compile("では(?:ない|ありません)|じゃない|아니|아닙니다")
_ARTICLE = re.compile(r"(?:an?|the) (?=\S)")
_CJK = "[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]"
_SEAM = re.compile(f"(?<=[A-Za-z0-9])(?={_CJK})|(?<={_CJK})(?=[A-Za-z0-9])")  # these scripts put no space there


def choice(gold: str, response: str, texts: Sequence[str] = ()) -> bool:
    """Return whether `response` chooses the letter `gold`; `texts` are the options' texts, if known."""
    return chosen(response, texts) == gold


def chosen(response: str, texts: Sequence[str] = ()) -> str | None:
    """Return the letter of the option that `response` names by letter or text; None if it names none or several."""
    response = _spaced(without_thought(response))
    options = {letter: _option(_spaced(text)) for letter, text in zip(LETTERS, texts, strict=False)}
    options = options or dict.fromkeys(LETTERS, "")
    for words, mark in reversed(stated_answers(response, _CHOICE)[0]):
        read = _line_choice if mark == "claim" else _stated_choice
        if letters := read(bare(words), options):
            return letters.pop() if len(letters) == 1 else None
    lines = [bare(line) for line in response.splitlines() if line.strip()]
    is_several = len(lines) > 1
    is_list = is_several and len(set().union(*(_line_choice(line, options, whole=True) for line in lines))) > 1
    for line in lines[-1:] + lines[:1]:
        # Among several lines only a line that is nothing but the choice counts: others may discuss an option. Where
        # options are listed, it must be a letter alone.
        if is_list and len(line.strip("()[].:")) > 1:
            continue
        if letters := _line_choice(line, options, whole=is_several):
            return letters.pop() if len(letters) == 1 else None
    return _confirmed(lines, options)


def _spaced(text: str) -> str:
    """Return `text` in ASCII characters where possible, with spaces between Latin letters and other scripts."""
    return text if text.isascii() else _SEAM.sub(" ", to_ascii(text))


def _confirmed(lines: Sequence[str], options: dict[str, str]) -> str | None:
    """Return the letter that the last such line calls correct; None if it calls several so."""
    for line in reversed(lines):
        found = [match for match in _CONFIRMED.finditer(line) if not match["doubt"]]
        if letters := {match["letter"] or match["plain"] for match in found} & set(options):
            return letters.pop() if len(letters) == 1 else None
    return None


def _option(text: str) -> str:
    """Normalise an option's text; a leading article is dropped."""
    return _ARTICLE.sub("", folded(text), count=1)


def _line_choice(line: str, options: dict[str, str], whole: bool = False) -> set[str]:
    """Return the letters that `line` starts with or whose text it is; several if it contradicts itself."""
    by_text = {letter for letter, text in options.items() if text and text == _option(line)}
    if by_text and len(line) > 1:  # one character may be a letter instead of an option's text
        return by_text
    mark = _MARKED.match(line)
    return _lettered(line, mark, options, whole) if mark else by_text


def _stated_choice(words: str, options: dict[str, str]) -> set[str]:
    """Return the letters named in `words` that were stated as the answer, where weaker evidence suffices."""
    if _DENIED_AFTER.search(words):
        return set()
    if letters := _line_choice(words, options):
        return letters
    if DENIED.match(words):
        return set()
    words = _LEADING.sub("", words, count=1) if _LEADING.match(words) else words
    if letters := _line_choice(words, options):
        return letters
    if (mark := _PLAIN.match(words)) and (letters := _lettered(words, mark, options)):
        return letters
    letters = {first or second for first, second in _INSIDE.findall(words)} & set(options)
    return letters or _mentioned(folded(words), options)


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
