"""Short texts under several wishes at once, which a program can check: words, letters, length, order, rhyme, a title.

Ours: a task that is not reasoning, since thought preference claims gains there too (arXiv 2410.10630). The generator
writes a text first and derives the wishes from it, so every problem has a text that meets them all, its gold answer.
Other texts may meet them as well. The plan before it holds the wished words at their places.

A grade is the share of wishes that are met, times the soundness of the text. A word is unsound if it is no word, if it
is repeated too often or if it is quoted from the wishes. Missing words count as unsound. So does prose with hardly a
function word. Whether a text makes sense stays unchecked.
"""

from __future__ import annotations

import random
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import pairwise
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge

from sparring.common.seeds import digest
from sparring.core.chat import question
from sparring.core.task import GeneratedTask, Problem, Split
from sparring.parsing.steps import COMPACT, LINES, StepFormat
from sparring.parsing.wishes import SplitText, Wish, read_text, soundness, split_text

EASY_WORDS, EASY_WISHES, OPEN_WISHES = (2, 4), (2, 3), (2, 5)  # counts
LEAST = 6  # words of an open text
SOUND = {"easy": 1.0, "open": 0.8}  # the soundness that counts as full: open texts may hold names and rare words
FUNCTION_SHARE = 0.1  # of the words of open prose; English prose has about 0.4
_JOINT = re.compile("['’-]")
_PLAN = re.compile(r"\A(?:plan: [^\n]*\n)+")


@dataclass(frozen=True)
class Writing(GeneratedTask):
    """Short texts under several wishes at once, graded by a program.

    `range` is `easy` (two to four words of a small vocabulary, two or three wishes) or `open` (notes, lists, verses and
    notices in English, two to five wishes).
    """

    name: ClassVar[str] = "writing"

    range: Literal["easy", "open"] = "easy"
    train: Annotated[int, Ge(0)] = 1500
    development: Annotated[int, Ge(0)] = 200
    test: Annotated[int, Ge(0)] = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        self._check(self.name, ("easy", "open"))

    @property
    def layout(self) -> StepFormat:
        """A plan, and the text."""
        return COMPACT if self.range == "easy" else LINES

    def grade(self, problem: Problem, response: str) -> float:
        """Return the share of wishes that the text meets, times its soundness.

        Lines `plan: …` before the text are ignored.
        """
        text = read_text(_PLAN.sub("", response.strip() + "\n").strip())
        wishes = [Wish(*wish) for wish in problem.data["wishes"]]
        share = sum(wish.is_met(text) for wish in wishes) / len(wishes)
        return share * self._soundness(problem, text)

    def is_right(self, problem: Problem, response: str) -> bool:
        """Return whether the text is sound and meets all wishes."""
        return self.grade(problem, response) == 1

    def _soundness(self, problem: Problem, text: SplitText) -> float:
        prompt = problem.chat.messages[-1].text
        if self.range == "easy":
            return soundness(text, prompt, problem.data["wishes"][0][1], VOCABULARY.__contains__, lambda word, count: 1)
        share = soundness(text, prompt, LEAST, _is_wordlike, _most_uses)
        if problem.bin != "list":
            functional = sum(word in FUNCTION_WORDS for word in text.words) / max(1, len(text.words))
            share *= min(1.0, functional / FUNCTION_SHARE)
        return min(1.0, share / SOUND[self.range])

    # ---- problems

    def _draw(self, rng: random.Random, split: Split) -> Problem:
        return _easy(rng) if self.range == "easy" else _open(rng)


def _problem(prompt: str, text: str, plan: str, category: str, wishes: Sequence[Wish]) -> Problem:
    return Problem(
        id=digest("writing", prompt)[:16],
        chat=question(prompt),
        gold=text,
        rationale=f"plan: {plan}\n{text}",
        bin=category,
        data={"wishes": [[wish.kind, wish.value] for wish in wishes]},
    )


# ---- easy: a few words of a small vocabulary


def _easy(rng: random.Random) -> Problem:
    words = rng.sample(sorted(VOCABULARY), rng.randint(*EASY_WORDS))
    if rng.random() < 0.3:
        words.sort()
    unused = sorted({letter for word in VOCABULARY for letter in word} - set("".join(words)))
    offered = [Wish("has", [rng.choice(words)]), Wish("no_letter", rng.choice(unused))]
    offered += [Wish("first", words[0]), Wish("last", words[-1])]
    offered += [Wish("sorted")] * (words == sorted(words))
    drawn = rng.sample(offered, rng.randint(*EASY_WISHES) - 1)
    wishes = [Wish("words", len(words)), *sorted(drawn, key=offered.index)]
    kept = _wished(words, wishes)
    plan = " ".join(word if position in kept else "_" for position, word in enumerate(words))
    prompt = "; ".join(EASY_PHRASES[wish.kind].format(_listed(wish)) for wish in wishes)
    return _problem(f"write: {prompt}", " ".join(words), plan, f"{len(wishes)} wishes", wishes)


def _wished(words: Sequence[str], wishes: Sequence[Wish]) -> set[int]:
    """Return the positions of the words that `wishes` ask for, each word once."""
    wanted = {word for wish in wishes if wish.kind == "has" for word in wish.value}
    kinds = {wish.kind for wish in wishes}
    ends = ({0} if "first" in kinds else set()) | ({len(words) - 1} if "last" in kinds else set())
    return {words.index(word) for word in wanted} | ends


def _listed(wish: Wish) -> str:
    return " ".join(wish.value) if wish.kind == "has" else str(wish.value)


# ---- open: English


def _open(rng: random.Random) -> Problem:
    category = rng.choice(sorted(FORMS))
    text, needed, offered = FORMS[category](rng)
    count = rng.randint(*OPEN_WISHES) - len(needed)
    wishes = needed + rng.sample(offered, max(1, min(count, len(offered))))
    rng.shuffle(wishes)
    phrases = [_phrase(wish) for wish in wishes]
    if rng.random() < 0.5:
        asked = "It should\n" + "\n".join(f"- {phrase}" for phrase in phrases) + "\n"
    else:
        asked = f"It should {'; '.join(phrases[:-1])}; and {phrases[-1]}. "
    opening = rng.choice(OPENINGS).format(form=FORM_NAMES[category], least=LEAST)
    prompt = f"{opening} {asked}Reply with the text alone."
    return _problem(prompt, text, _skeleton(text, wishes), category, wishes)


def _phrase(wish: Wish) -> str:
    if wish.kind == "has":
        quoted = [f'"{word}"' for word in wish.value]
        listed = " and ".join(filter(None, (", ".join(quoted[:-1]), quoted[-1])))
        return f"contain the word{'s' * (len(quoted) > 1)} {listed}"
    phrase = OPEN_PHRASES[wish.kind].format(wish.value)
    return phrase.removesuffix("s") if wish.value == 1 else phrase


def _skeleton(text: str, wishes: Sequence[Wish]) -> str:
    """Return the words of `text` that are wished for, line by line, with `…` in place of the others."""
    kept, lines, start = _wished(split_text(text), wishes), [], 0
    for line in text.splitlines():
        words = [word if n in kept else "…" for n, word in enumerate(split_text(line), start=start)]
        start += len(words)
        lines.append(" ".join(word for word, after in pairwise([*words, ""]) if word != "…" or after != "…"))
    return " / ".join(lines)


_Form = tuple[str, list[Wish], list[Wish]]  # a text, wishes that make the form, and others that the text meets


def _note(rng: random.Random) -> _Form:
    text = " ".join(_sentence(rng) for _ in range(rng.randint(1, 4)))
    length = [Wish("sentences", read_text(text).sentences), _bound(text)]
    rng.shuffle(length)
    return text, length[:1], length[1:] + _common(text, rng) + _ends(text)


def _list(rng: random.Random) -> _Form:
    count, adjectives = rng.randint(3, 6), rng.choice((1, 2))
    drawn = [" ".join([*rng.sample(ADJECTIVES, adjectives), noun]).capitalize() for noun in rng.sample(NOUNS, count)]
    lines = sorted(drawn, key=str.casefold) if rng.random() < 0.6 else drawn
    text = "\n".join(lines)
    wishes = [Wish("line_words", adjectives + 1), *([Wish("sorted_lines")] * (lines == sorted(drawn)))]
    return text, [Wish("lines", count)], wishes + _common(text, rng)


def _verse(rng: random.Random) -> _Form:
    if rng.random() < 0.5:
        spelt = rng.choice([noun for noun in NOUNS if len(noun) <= 5 and set(noun) <= {n[0].lower() for n in NAMES}])
        starts = [rng.choice([name for name in NAMES if name[0].lower() == letter]) for letter in spelt]
        lines = [f"{start} {_predicate(rng)}." for start in starts]
        wish = Wish("acrostic", spelt.upper())
    else:
        pairs = [rng.sample(family, 2) for family in rng.sample(RHYMES, rng.randint(1, 3))]
        lines = [f"{rng.choice(NAMES)} {rng.choice(VERBS)} the {rng.choice(ADJECTIVES)} {w}" for p in pairs for w in p]
        wish = Wish("rhyme")
    text = "\n".join(lines)
    return text, [wish], [Wish("lines", len(lines)), _bound(text), *_common(text, rng)]


def _notice(rng: random.Random) -> _Form:
    title = f"{rng.choice(ADJECTIVES)} {rng.choice(NOUNS)}".upper()
    text = f"{title}\n{' '.join(_sentence(rng) for _ in range(rng.randint(1, 3)))}"
    return text, [Wish("title")], [_bound(text), *_common(text, rng), _ends(text)[1]]


def _sentence(rng: random.Random) -> str:
    if rng.random() < 0.3:
        return f"In the {rng.choice(PLACES)}, {rng.choice(NAMES)} {_predicate(rng)}."
    if rng.random() < 0.5:
        return f"The {rng.choice(ADJECTIVES)} {rng.choice(NOUNS)} stood {_where(rng)}."
    return f"{rng.choice(NAMES)} {_predicate(rng)} {_where(rng)}."


def _predicate(rng: random.Random) -> str:
    return f"{rng.choice(VERBS)} {rng.choice(('the', 'her', 'every'))} {rng.choice(ADJECTIVES)} {rng.choice(NOUNS)}"


def _where(rng: random.Random) -> str:
    return f"{rng.choice(('near', 'behind', 'above', 'outside'))} the {rng.choice(PLACES)}"


def _bound(text: str) -> Wish:
    return Wish("most", -(-len(split_text(text)) // 5) * 5)


def _common(text: str, rng: random.Random) -> list[Wish]:
    """Return wishes that suit every form: words to use, and a letter and a word to avoid."""
    words = split_text(text)
    content = sorted(set(words) - FUNCTION_WORDS - {name.lower() for name in NAMES})
    wanted = rng.sample(content, min(len(content), rng.randint(1, 3)))
    letters = sorted(set("abcdefghiklmnoprstuvwy") - set("".join(words)))  # nobody misses j, q, x and z
    absent = sorted(TEMPTING - set(words))
    avoided = [Wish("no_letter", rng.choice(letters))] if letters else []
    return [Wish("has", wanted), *avoided, Wish("no_word", rng.choice(absent))]


def _ends(text: str) -> list[Wish]:
    words = split_text(text)
    return [Wish("first", words[0]), Wish("last", words[-1])]


# ---- soundness of open texts


def _is_wordlike(word: str) -> bool:
    """Return whether every two letters in a row of `word` stand so in a word of the list (ours)."""
    pieces = _JOINT.split(word)
    return word.isdigit() or all(set(pairwise(f" {piece} ")) <= _letter_pairs() for piece in pieces)


@cache
def _letter_pairs() -> frozenset[tuple[str, str]]:
    """Return the pairs of letters in English words; a blank stands before and after a word."""
    known = (files(__package__) / "words.txt").read_text(encoding="utf-8").split()
    known += [name.lower() for name in NAMES] + sorted(FUNCTION_WORDS)
    return frozenset(pair for word in known for pair in pairwise(f" {word} "))


def _most_uses(word: str, count: int) -> int:
    """Return how often `word` may occur among `count` words (ours)."""
    return max(2, count // (3 if word in FUNCTION_WORDS else 10))


# ---- words and phrases

_LISTS = tomllib.loads((files(__package__) / "writing.toml").read_text(encoding="utf-8"))
VOCABULARY, FUNCTION_WORDS, TEMPTING = (
    frozenset(_LISTS[key].split()) for key in ("vocabulary", "function_words", "tempting")
)
NAMES, ADJECTIVES, NOUNS, VERBS, PLACES = (
    tuple(_LISTS[key].split()) for key in ("names", "adjectives", "nouns", "verbs", "places")
)
RHYMES = tuple(tuple(family.split()) for family in _LISTS["rhymes"])

EASY_PHRASES = {
    "words": "{} words",
    "has": "has {}",
    "no_letter": "no {}",
    "first": "first {}",
    "last": "last {}",
    "sorted": "a-z",
}
OPENINGS = (
    "Write {form} of at least {least} words.",
    "Please write {form} (at least {least} words).",
    "I need {form} with at least {least} words.",
    "Can you come up with {form}? At least {least} words, please.",
)
FORM_NAMES = {"note": "a short note", "list": "a list of things", "verse": "a short verse", "notice": "a short notice"}
OPEN_PHRASES = {
    "most": "have at most {} words",
    "sentences": "have exactly {} sentences",
    "lines": "have exactly {} lines",
    "line_words": "have exactly {} words in every line",
    "sorted_lines": "have its lines in alphabetical order",
    "no_letter": 'avoid the letter "{}"',
    "no_word": 'not use the word "{}"',
    "first": 'begin with the word "{}"',
    "last": 'end with the word "{}"',
    "acrostic": 'spell "{}" with the first letters of its lines',
    "rhyme": "rhyme in pairs of lines: the last words of both lines differ and end in the same three letters",
    "title": "begin with a title in capitals on a line of its own",
}
FORMS = {"note": _note, "list": _list, "verse": _verse, "notice": _notice}
