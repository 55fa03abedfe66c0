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


def nonsense(rng: random.Random) -> str:
    """Words, marks and strange characters that no reader may take for anything."""
    return rng.choice((" ", "\n", "  ")).join(rng.choices(NONSENSE, k=rng.randrange(12)))


def mutated(rng: random.Random, seeds: list[str]) -> str:
    """One of `seeds`, changed up to four times."""
    text = rng.choice(seeds)
    for _ in range(rng.randrange(5)):
        text = rng.choice(MUTATIONS)(rng, text, seeds)
    return text[:2000]


def _place(rng: random.Random, text: str) -> int:
    return rng.randrange(len(text) + 1)


def _lost(rng: random.Random, text: str, seeds: list[str]) -> str:
    start = _place(rng, text)
    return text[:start] + text[start + rng.randrange(1, 6) :]


def _cut(rng: random.Random, text: str, seeds: list[str]) -> str:
    return text[: _place(rng, text)]


def _spliced(rng: random.Random, text: str, seeds: list[str]) -> str:
    other = rng.choice(seeds)
    return text[: _place(rng, text)] + rng.choice(("", "\n", " ")) + other[_place(rng, other) :]


def _twice(rng: random.Random, text: str, seeds: list[str]) -> str:
    return text + rng.choice(("", "\n", " ", " or ")) + rng.choice((text, rng.choice(seeds)))


def _inserted(rng: random.Random, text: str, seeds: list[str]) -> str:
    place, other = _place(rng, text), rng.choice(seeds)
    start = _place(rng, other)
    bit = rng.choice((rng.choice(NONSENSE), other[start : start + 5], str(rng.randrange(-20, 20)), "9" * 400, "1e999"))
    return text[:place] + bit + text[place:]


def _disguised(rng: random.Random, text: str, seeds: list[str]) -> str:
    places = [place for place, character in enumerate(text) if character in LOOKALIKES]
    if not places:
        return text.swapcase()
    place = rng.choice(places)
    return text[:place] + rng.choice(LOOKALIKES[text[place]]) + text[place + 1 :]


def _dressed(rng: random.Random, text: str, seeds: list[str]) -> str:
    before, after = rng.choice([("**", "**"), ("```\n", "\n```"), ("> ", ""), ("\n", "\n"), ("Sure! ", ""), ("{", "}")])
    return before + text + after


def _strange(rng: random.Random, text: str, seeds: list[str]) -> str:
    place = _place(rng, text)
    return text[:place] + chr(rng.randrange(rng.choice((0x80, 0x3000, 0x110000)))) + text[place:]


MUTATIONS = (_lost, _cut, _spliced, _twice, _inserted, _disguised, _dressed, _strange)
