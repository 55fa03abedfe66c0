"""Replies such as no reader would wish for, drawn from a stream: nonsense, and readable ones until they are not."""

from __future__ import annotations

import random

# Nothing in here is a verdict, a number, a marker, a step or a letter of an option, alone or joined by spaces.
WORDS = "well hmm perhaps the student is rather nice and one could say so whatever it may be none null true NaN inf"
MARKS = (
    "— … ! ? , ; : ( ) \" ' * ** ` ~ / | <> {} {question} \\n 日本 語 ß é 🙂 \u200b \u202e \x00 \u2028 \ufeff \ud83d"
)
NONSENSE = WORDS.split(" ") + MARKS.split(" ")
LOOKALIKES = {
    "7": "７٧⑦²", "1": "１١¹l", "2": "２٢²", "A": "АΑＡ", "B": "ВΒＢ", "C": "СϹＣ", "S": "Ѕ", "e": "е", "-": "−–—",
    " ": "\u00a0\t", ".": "．。,", ":": "：;=", "[": "［", "]": "］", "(": "（", ")": "）", '"': "“”'",
}  # fmt: skip


def nonsense(draw: random.Random) -> str:
    """Words, marks and strange characters that no reader may take for anything."""
    return draw.choice((" ", "\n", "  ")).join(draw.choices(NONSENSE, k=draw.randrange(12)))


def mutated(draw: random.Random, seeds: list[str]) -> str:
    """One of `seeds`, changed up to four times."""
    text = draw.choice(seeds)
    for _ in range(draw.randrange(5)):
        text = draw.choice(MUTATIONS)(draw, text, seeds)
    return text[:2000]


def _place(draw: random.Random, text: str) -> int:
    return draw.randrange(len(text) + 1)


def _lost(draw: random.Random, text: str, seeds: list[str]) -> str:
    start = _place(draw, text)
    return text[:start] + text[start + draw.randrange(1, 6) :]


def _cut(draw: random.Random, text: str, seeds: list[str]) -> str:
    return text[: _place(draw, text)]


def _spliced(draw: random.Random, text: str, seeds: list[str]) -> str:
    other = draw.choice(seeds)
    return text[: _place(draw, text)] + draw.choice(("", "\n", " ")) + other[_place(draw, other) :]


def _twice(draw: random.Random, text: str, seeds: list[str]) -> str:
    return text + draw.choice(("", "\n", " ", " or ")) + draw.choice((text, draw.choice(seeds)))


def _inserted(draw: random.Random, text: str, seeds: list[str]) -> str:
    place, other = _place(draw, text), draw.choice(seeds)
    start = _place(draw, other)
    bit = draw.choice(
        (draw.choice(NONSENSE), other[start : start + 5], str(draw.randrange(-20, 20)), "9" * 400, "1e999")
    )
    return text[:place] + bit + text[place:]


def _disguised(draw: random.Random, text: str, seeds: list[str]) -> str:
    places = [place for place, character in enumerate(text) if character in LOOKALIKES]
    if not places:
        return text.swapcase()
    place = draw.choice(places)
    return text[:place] + draw.choice(LOOKALIKES[text[place]]) + text[place + 1 :]


def _dressed(draw: random.Random, text: str, seeds: list[str]) -> str:
    before, after = draw.choice(
        [("**", "**"), ("```\n", "\n```"), ("> ", ""), ("\n", "\n"), ("Sure! ", ""), ("{", "}")]
    )
    return before + text + after


def _strange(draw: random.Random, text: str, seeds: list[str]) -> str:
    place = _place(draw, text)
    return text[:place] + chr(draw.randrange(draw.choice((0x80, 0x3000, 0x110000)))) + text[place:]


MUTATIONS = (_lost, _cut, _spliced, _twice, _inserted, _disguised, _dressed, _strange)
