"""Word sorting, from BIG-bench, worked out as in TriPosT (arXiv 2310.13522): by first letters, then tie by tie.

The *paper* range has BIG-bench's question with 2-7 words (seen, the bins of the training split) or 8-20 words (unseen).
The *easy* range is ours, for character-level learners: three to five short words. Each line picks the smallest
remaining word; the last line lists all. (A tiny learner needed longer to learn sorting by insertion.)

A subpart is sorted completely before the next one starts. Worked answers do so, and the annotators of first mistakes
(BIG-Bench-Mistake) count anything else as one. Where TriPosT's script numbers two neighbours alike, (3.2) twice and
then (3.4), ours continues to count.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge

from sparring.common.seeds import digest
from sparring.core.chat import question
from sparring.core.task import GeneratedTask, Problem, Split
from sparring.parsing import sorting
from sparring.parsing.letters import difference, ordinal, parting, spelled
from sparring.parsing.sorting import Wrong
from sparring.parsing.sorting_board import Board
from sparring.parsing.sorting_claims import holds
from sparring.parsing.steps import COMPACT, NUMBERED, Fault, Step, StepFormat

KIN = 0.25  # ours: share of words that start like an earlier one, so that there are ties
SEEN, UNSEEN, EASY = (2, 7), (8, 20), (3, 5)  # counts of words
SHORT, LONG = 4, 12  # maximal letters in the easy and in the paper's range
QUESTION, EASY_QUESTION = "Sort the following words alphabetically: List: ", "sort: "


@dataclass(frozen=True)
class WordSorting(GeneratedTask):
    """Words to be put in alphabetical order.

    `range` is `easy` (3 to 5 short words) or `paper` (2 to 7 words for training; development and test problems have up
    to 20).
    """

    name: ClassVar[str] = "word_sorting"

    range: Literal["easy", "paper"] = "easy"
    train: Annotated[int, Ge(0)] = 1500
    development: Annotated[int, Ge(0)] = 200
    test: Annotated[int, Ge(0)] = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        self._check(self.name, ("easy", "paper"))

    @property
    def layout(self) -> StepFormat:
        """The step format of worked answers."""
        return COMPACT if self.range == "easy" else NUMBERED

    def ask(self, words: Sequence[str]) -> Problem:
        """Return the problem to sort distinct `words`; the same words in another order are the same problem."""
        is_easy = self.range == "easy"
        low, high, novelty = (*SEEN, "seen") if len(words) <= SEEN[1] else (*UNSEEN, "unseen")
        problem = Problem(
            id=digest(*sorted(words))[:16],
            chat=question(f"{EASY_QUESTION if is_easy else QUESTION}{' '.join(words)}"),
            gold=" ".join(sorted(words)),
            bin=f"{len(words)} words" if is_easy else f"{novelty}, {low}-{high} words",
            data={"words": list(words)},
        )
        return replace(problem, rationale=self.solve(problem, ""))

    def _draw(self, rng: random.Random, split: Split) -> Problem:
        if self.range == "easy":
            return self.ask(_draw_words(rng, rng.randint(*EASY), SHORT))
        is_seen = split == "train" or rng.random() < 0.5
        return self.ask(_draw_words(rng, rng.randint(*(SEEN if is_seen else UNSEEN)), LONG))

    def is_right(self, problem: Problem, response: str) -> bool:
        """Return whether `response` ends in the sorted list."""
        words = problem.data["words"]
        return sorting.stated(response, sorting.vocabulary(words)).words == sorted(words)

    def first_error(self, problem: Problem, answer: str) -> Fault | None:
        """Return the first wrong step of `answer`, or its last step if it stops too early."""
        mistake = self._first_mistake(problem, answer)
        if mistake is None:
            return None
        step, wrong = mistake
        return Fault(step.label, step.text[slice(*wrong.span)], str(wrong))

    def solve(self, problem: Problem, kept: str) -> str:
        """Return `kept` and the remaining steps."""
        words, steps = problem.data["words"], self.layout.split(kept)
        if self.range == "easy":
            listed = [len(sorting.stated(step.text, sorting.vocabulary(words)).words) for step in steps]
            left = [] if len(words) in listed else [*sorted(words)[listed.count(1) : -1], " ".join(sorted(words))]
        else:
            board = Board(words)
            board.follow(steps)
            is_numbered = not steps or kept[steps[0].start : steps[0].end].strip() != steps[0].text
            left = [f"({label}) {sentence}" if is_numbered else sentence for label, sentence in board.rest()]
        gap = "\n" if left and kept and not kept.endswith("\n") else ""
        return kept + gap + "\n".join(left)

    def hint(self, problem: Problem, answer: str, rng: random.Random) -> str:
        """Easy: the order of two words, of the first mistake if any. Paper: its reason, or how two words differ."""
        mistake = self._first_mistake(problem, answer)
        if self.range == "easy":
            one, other = sorting.neighbours(sorted(problem.data["words"]), rng, mistake[1].about if mistake else ())
            return f"check: {one}<{other}"
        if mistake:
            return f"Check step ({mistake[0].label}): {mistake[1]}."
        label, one, other = self._topic(problem, answer, rng)
        return f"Check step ({label}): {difference(one, other)}."

    def false_claim(self, problem: Problem, answer: str, rng: random.Random) -> str:
        """Return a remark worded like a hint, with two words or their letters exchanged."""
        label, one, other = self._topic(problem, answer, rng)
        if self.range == "easy":
            return f"check: {other}<{one}"
        depth = parting(one, other)
        claimed = f"{spelled(one, depth, other)} and {spelled(other, depth, one)}"
        return f"Check step ({label}): in the {ordinal(depth)} letter, {claimed}."

    def is_true(self, problem: Problem, answer: str, remark: str) -> bool | None:
        """Check orders and letters in `remark`; the reason of the first mistake of `answer` is true, too."""
        verdict = holds(remark, sorting.vocabulary(problem.data["words"]))
        mistake = self._first_mistake(problem, answer) if verdict is None else None
        return True if mistake and str(mistake[1]) in remark else verdict

    def _first_mistake(self, problem: Problem, answer: str) -> tuple[Step, Wrong] | None:
        """Return the first wrong step and its mistake, if any."""
        words, steps = problem.data["words"], self.layout.split(answer)
        if not steps:
            return Step("1", "", 0, 0), Wrong((0, 0), "there is no answer")
        mistake = _wrong_pick(words, steps) if self.range == "easy" else Board(words).follow(steps)
        if mistake is None and not self.is_right(problem, answer):
            return steps[-1], Wrong((0, len(steps[-1].text)), "the answer stops before the sorted list")
        return mistake

    def _topic(self, problem: Problem, answer: str, rng: random.Random) -> tuple[str, str, str]:
        """Draw a step of `answer` and two of its words; return its label and the words in their order."""
        words, steps = problem.data["words"], self.layout.split(answer)
        named = [(step.label, sorting.named(step.text, words)) for step in steps]
        label, ordered = rng.choice([topic for topic in named if len(topic[1]) > 1] or [("1", sorted(words))])
        return label, *sorting.neighbours(ordered, rng)


@cache
def _lexicon(longest: int) -> tuple[Sequence[str], Mapping[str, Sequence[str]]]:
    """Return the words of up to `longest` letters, and the same words by their first one, two and three letters."""
    known = (files(__package__) / "words.txt").read_text(encoding="utf-8").split()
    words = [word for word in known if len(word) <= longest]
    by_prefix = defaultdict(list)
    for word in words:
        for length in (1, 2, 3):
            by_prefix[word[:length]].append(word)
    return words, by_prefix


def _draw_words(rng: random.Random, count: int, longest: int) -> list[str]:
    """Draw words none of which is a prefix of another, so any two differ in some letter, as in TriPosT's data."""
    words, by_prefix = _lexicon(longest)
    drawn: list[str] = []
    while len(drawn) < count:
        shares_prefix = drawn and rng.random() < KIN
        word = rng.choice(by_prefix[rng.choice(drawn)[: rng.randint(1, 3)]] if shares_prefix else words)
        if not any(word.startswith(other) or other.startswith(word) for other in drawn):
            drawn.append(word)
    return drawn


def _wrong_pick(words: Sequence[str], steps: Sequence[Step]) -> tuple[Step, Wrong] | None:
    """Return the first step that is neither the smallest remaining word nor the sorted list, and its mistake."""
    known, left = sorting.vocabulary(words), sorted(words)
    for step in steps:
        listing = sorting.stated(step.text, known)
        try:
            if len(listing.words) != 1:
                sorting.check_list(listing, words)
                continue
            sorting.check_words(listing.mentions, left)
            pair = left.pop(0), listing.words[0]
            if pair[0] != pair[1]:
                raise Wrong(listing.span, difference(*pair), pair)
        except Wrong as wrong:
            return step, wrong
    return None
