"""Find what a response states as its answer: `#### 18`, `\\boxed{18}`, `The answer is 18`, `Antwort: 18`, `答案是18`.

The marks are those of English, and the plainest of some other languages. A later mark replaces an earlier one. So does
a correction (`No wait, it is 6`). A thought that was left in the response states nothing.

`numbers` and `answers` interpret the words after a mark.
"""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

from sparring.parsing.thought import GENERIC, SPECIFIC, THINK

_ADJECTIVE = "(?:final|correct|best|right|richtige|korrekte|endgültige|bonne|juiste|正确|最终|최종)"
_ADJECTIVE_AFTER = "(?:correcte?|finale?|exacte|correcta|correta|certa|corretta|giusta|esatta|الصحيحة|الصحيح)"
_ARTICLE = "(?:the|so\\ the|die|la|a|het|el)"
# Nouns for "answer", with the verbs that follow them.
_OTHER_LANGUAGES = rf"""
    \b(?:antwort|lösung)\s(?:ist|lautet|wäre)\b
  | \b(?:réponse|respuesta|resposta|risposta)\s(?:{_ADJECTIVE_AFTER}\s)?(?:est|es|é|è)\b
  | \bantwoord\sis\b | \bответ\s?[—–-]
  | 答案\s?(?:应该|应|應該)?(?:是|为|為|选|選) | (?:应|故|所以)选(?=\s?[(（]?[A-ZＡ-Ｚ])
  | (?:答え|正解|解答)は | (?:정답|답)[은는] | उत्तर\s?है
  | (?:الإجابة|الاجابة|الجواب)(?:\s{_ADJECTIVE_AFTER})?\s(?:هي|هو)
"""
_OTHER_NOUNS = (
    "antwort|lösung|réponse|respuesta|resposta|risposta|antwoord|ответ|答案|答え|正解|解答|정답|답|उत्तर|"
    "الإجابة|الاجابة|الجواب"
)
_CORRECTION = r"""
    \b(?:wait|actually|sorry|correction|oops|no(?=[,.]))\b [^\n]{0,60}?
    \b(?:it['’]s|(?:it|that|this)\s(?:is|should\ be|must\ be))\s (?=[*_(\["'“$€£]{0,4}(?:-?\d|(?-i:[A-Z])))
"""


def make_mark(noun: str, claim: str = r"(?!)") -> re.Pattern[str]:
    """Compile the pattern of what precedes an answer that is called `noun`; `claim` is a pattern of weaker marks."""
    return re.compile(
        rf"""
          (?P<label> (?: ^[^\w\n]{{0,9}} | (?<=[.!?,;])\ [*_]{{0,4}} )
                     (?:{_ARTICLE}\ )? (?:{_ADJECTIVE}\ ?)? (?:{noun}|{_OTHER_NOUNS})
                     (?:\ {_ADJECTIVE_AFTER})? [*_\ ]{{0,4}} [:：=] )
        | (?P<hashes> \#\#\#\# )
        | (?P<boxed> \\boxed\s?\{{ )
        | (?P<phrase> \b{noun}\s (?:to\ (?:the|this)\ (?:question|problem)\ )?
                      (?:is|(?:would|must|should)\ be)\b :? | (?:{_OTHER_LANGUAGES}) \s?[:：]? )
        | (?P<correction> {_CORRECTION} )
        | (?P<claim> {claim} )
        """,
        re.IGNORECASE | re.MULTILINE | re.VERBOSE,
    )


ANSWER = make_mark("(?:answer|ans)")
DENIED = re.compile(r"(?:not|nicht|niet|pas|non)\b", re.IGNORECASE)
_MATHEMATICS = re.compile(
    r"\\\((.*)\\\)|\\\[(.*)\\\]|\$(.*)\$|\\(?:text|textbf|textit|textrm|mathrm|mathbf)\{(.*)\}", re.DOTALL
)


class StatedAnswer(NamedTuple):
    """Text that a response states as its answer, and the kind of its mark, a group of `make_mark`."""

    words: str
    mark: str


def stated_answers(response: str, mark: re.Pattern[str] = ANSWER) -> tuple[list[StatedAnswer], str]:
    """Return the answers that `response` states, in order, and the text after the last mark."""
    marks: list[re.Match[str]] = []
    for found in mark.finditer(response):
        if marks or found.lastgroup != "correction":  # there is nothing to correct before the first statement
            marks.append(found)
    if not marks:
        return [], response
    ends = [found.start() for found in marks[1:]] + [len(response)]
    stated = [_statement(m, response[m.end() : end]) for m, end in zip(marks, ends, strict=True)]
    return [statement for statement in stated if bare(statement.words)], response[marks[-1].end() :]


def _statement(mark: re.Match[str], words: str) -> StatedAnswer:
    """Return the answer that follows `mark`: up to the brace that closes `\\boxed{`, or the first line of `words`."""
    if mark.lastgroup == "boxed":
        depth = 1
        for index, character in enumerate(words):
            depth += (character == "{") - (character == "}")
            if depth == 0:
                return StatedAnswer(words[:index], "boxed")
    return StatedAnswer(words.strip().split("\n", 1)[0], mark.lastgroup or "")


def without_thought(response: str) -> str:
    """Return `response` without a thought in one of the known formats; "" if the thought never ends."""
    for form in (GENERIC, SPECIFIC, THINK):
        _, marker, after = response.rpartition(form.marker)
        if marker:
            response = after
        elif form.opening and response.lstrip().startswith(form.opening):
            return ""
    return response


def bare(text: str) -> str:
    """Strip spaces, emphasis, quotes, mathematics delimiters and a full stop from both ends of `text`."""
    for _ in range(2):  # the second time inside mathematics delimiters
        text = text.strip(" \t\r\n*`\"“”„'‘’«»「」\u00a0").removesuffix(".").removesuffix("。").rstrip("*`\"”'’»」 ")
        inside = _MATHEMATICS.fullmatch(text)
        text = inside[inside.lastindex or 0] if inside else text
    return text.strip()


# ---- other scripts

_FULL_WIDTH = {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)} | {ord("。"): ". ", ord("、"): ", "}
_ZEROS = "٠۰०০๐"  # Arabic, Persian, Devanagari, Bengali, Thai
_DIGITS = {ord(zero) + digit: str(digit) for zero in _ZEROS for digit in range(10)}
_PLAIN = {**_FULL_WIDTH, **_DIGITS, ord("٫"): ".", ord("٬"): ","}


def to_ascii(text: str) -> str:
    """Return `text` with full-width characters and the digits of other scripts as ASCII."""
    return text if text.isascii() else text.translate(_PLAIN)


def folded(text: str) -> str:
    """Normalise `text` for comparison; text that consists only of marks which `bare` strips stays as it is."""
    words = " ".join(unicodedata.normalize("NFC", to_ascii(text)).casefold().split())
    return bare(words) or words
