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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from importlib.resources import files
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge

from sparring.common.errors import ConfigError, nearest
from sparring.common.seeds import digest
from sparring.core.chat import question
from sparring.core.task import Pool, Problem, Split
from sparring.parsing import sorting
from sparring.parsing.letters import difference, letter, ordinal, parting, position, reminder, spelled
from sparring.parsing.sorting import Block, Place, Span, Spelling, StatedOrder, Wrong
from sparring.parsing.steps import COMPACT, FINAL, NUMBERED, Fault, Step, StepFormat

WordSet = frozenset[str]

KIN = 0.25  # ours: share of words that start like an earlier one, so that there are ties
SEEN, UNSEEN, EASY = (2, 7), (8, 20), (3, 5)  # counts of words
SHORT, LONG = 4, 12  # maximal letters in the easy and in the paper's range
QUESTION, EASY_QUESTION = "Sort the following words alphabetically: List: ", "sort: "


@dataclass(frozen=True)
class WordSorting:
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
        if self.range not in ("easy", "paper"):
            raise nearest("range of word_sorting", self.range, ("easy", "paper"))
        for key in ("train", "development", "test"):
            if getattr(self, key) < 0:
                raise ConfigError(f"{key} = {getattr(self, key)}; give 0 or more problems")

    @property
    def layout(self) -> StepFormat:
        """The step format of worked answers."""
        return COMPACT if self.range == "easy" else NUMBERED

    @cached_property
    def _pool(self) -> Pool:
        return Pool(self._draw, self.seed, self.train, self.development, self.test)

    def problems(self, split: Split) -> Sequence[Problem]:
        """Return the problems of `split`."""
        return self._pool.problems(split)

    def endless(self) -> Iterator[Problem]:
        """Yield training problems without end, the training split first."""
        return self._pool.endless()

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
            board = _Board(words)
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

    def _first_mistake(self, problem: Problem, answer: str) -> tuple[Step, Wrong] | None:
        """Return the first wrong step and its mistake, if any."""
        words, steps = problem.data["words"], self.layout.split(answer)
        if not steps:
            return Step("1", "", 0, 0), Wrong((0, 0), "there is no answer")
        mistake = _wrong_pick(words, steps) if self.range == "easy" else _Board(words).follow(steps)
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
    words = [word for word in (files(__package__) / "words.txt").read_text().split() if len(word) <= longest]
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


@dataclass
class _Frame:
    """A subpart that is being sorted by its letters at `depth`, started at step `label`. `charted`: its new order is
    stated. `spelt` are the words whose letters were given; `spelt_at` is the step and span of the last ones."""

    words: WordSet
    depth: int
    label: str
    charted: bool = False
    spelt: set[str] = field(default_factory=set)
    spelt_at: tuple[Step, Span] | None = None


class _Board:
    """The state that the steps of an answer have reached; it checks the next step or writes it."""

    def __init__(self, words: Sequence[str]) -> None:
        self.words = words
        self.known = sorting.vocabulary(words)
        self.blocks: list[tuple[WordSet, int]] = [(frozenset(words), 0)]  # in order; letters compared
        self.frames = [_Frame(frozenset(words), 0, "")]  # nested subparts, the current one last
        self.step = Step("", "", 0, 0)
        self.label = ""
        self.concluded = self.listed = False

    @property
    def top(self) -> _Frame:
        return self.frames[-1]

    def tied(self) -> list[tuple[WordSet, int]]:
        """Return the blocks still to be sorted, started ones first."""
        return sorted((block for block in self.blocks if len(block[0]) > 1), key=lambda block: block[1] == 1)

    def refined(self) -> list[tuple[WordSet, int]]:
        """Return the blocks after dividing the current subpart by its letters."""
        if self.top.charted:
            return self.blocks
        depth, words = self.top.depth, self.top.words
        letters = sorted({letter(word, depth) for word in words})
        pieces = [(frozenset(word for word in words if letter(word, depth) == each), depth + 1) for each in letters]
        return [piece for block in self.blocks for piece in (pieces if block[0] == words else [block])]

    def chart(self) -> None:
        """Record that the order of the current subpart by its letters is stated."""
        self.blocks, self.top.charted = self.refined(), True

    def begin(self, words: WordSet, depth: int) -> None:
        """Start a subpart. A subpart that its last letters did not divide continues under its label."""
        while len(self.frames) > 1 and not self.top.words >= words:
            self.frames.pop()
        is_undivided = len(self.frames) > 1 and self.top.words == words
        self.frames.append(_Frame(words, depth, self.frames.pop().label if is_undivided else self.label))

    def conclude(self) -> None:
        """Record that the final order of the current subpart, or of all words, is stated."""
        if len(self.frames) == 1:
            self.concluded = not self.tied()
        elif self.label.startswith(f"{(label := self.frames.pop().label)}."):
            self.label = label

    def follow(self, steps: Sequence[Step]) -> tuple[Step, Wrong] | None:
        """Take `steps` up to the first wrong one; return it with its mistake, if any."""
        try:
            for step in steps:
                self.step, final = step, step.label.lower() == FINAL.lower()
                self.label = self.label if final else step.label  # later steps continue the count
                for statement in sorting.read_sorting(step.text, self.known, final):
                    self.take(statement)
            self.check_spelt()
        except Wrong as wrong:
            return self.step, wrong
        return None

    def take(self, statement: sorting.SortingStatement) -> None:
        if not isinstance(statement, Spelling | Place):
            self.check_spelt()
        match statement:
            case Spelling():
                self.take_letter(statement)
            case StatedOrder():
                self.take_order(statement)
            case Block():
                self.take_subpart(statement)
            case Place() if not self.top.charted and self.top.depth not in statement.depths:
                raise Wrong(statement.span, f"the {ordinal(self.top.depth)} letters are next")
            case sorting.Listing():
                sorting.check_list(statement, self.words)
                self.check_begun(statement.span)
                self.listed = True

    def check_spelt(self) -> None:
        missing = self.within(self.top.words - self.top.spelt)
        if self.top.spelt_at and missing:
            self.step, span = self.top.spelt_at  # letters may be given over several steps, so this shows late
            raise Wrong(span, f'"{missing[0]}" is missing')

    def take_subpart(self, block: Block) -> None:
        sorting.check_words(block.mentions, self.words)
        is_current = not self.top.charted and block.words == self.top.words
        if not self.top.charted and (not is_current or (self.top.spelt and len(self.refined()) == len(self.blocks))):
            self.chart()  # if its letters do not divide the current subpart, naming it states its order
        if is_current:
            return
        depth = next((depth for words, depth in self.tied() if words == block.words), None)
        if depth is None:
            raise Wrong(block.span, "these are not the words of a subpart that is left to be sorted")
        if depth == 1:
            self.check_begun(block.span)
        self.begin(block.words, depth)

    def check_begun(self, span: Span) -> None:
        for left in (words for words, depth in self.tied() if depth > 1):
            raise Wrong(span, f"the subpart {self.written(left)} has to be sorted first")

    def take_letter(self, spelling: Spelling) -> None:
        word = spelling.mention.word
        sorting.check_words([spelling.mention], self.words)
        if self.top.charted:
            words, depth = next(block for block in self.blocks if word in block[0])
            if len(words) == 1 or not spelling.fits(depth):
                if any(spelling.fits(earlier) for earlier in range(depth)):
                    return  # a repeated reason
                raise Wrong(spelling.span, reminder(word, depth - (len(words) == 1)))
            self.take_subpart(Block("", tuple(sorting.Mention(one, spelling.span) for one in words), spelling.span))
        sorting.check_words([spelling.mention], self.within(self.top.words - self.top.spelt))
        if not spelling.fits(self.top.depth):
            raise Wrong(spelling.span, reminder(word, self.top.depth))
        self.top.spelt.add(word)
        step, span = self.top.spelt_at or (self.step, spelling.span)
        self.top.spelt_at = self.step, (span[0] if step is self.step else spelling.span[0], spelling.span[1])

    def take_order(self, order: StatedOrder) -> None:
        mentions = [mention for block in order.blocks for mention in block.mentions]
        sorting.check_words(mentions, self.words)
        words, newest = frozenset(mention.word for mention in mentions), self.top
        target = min(reversed(self.frames), key=lambda frame: len(frame.words ^ words))
        sorting.check_words(mentions, self.within(target.words), order.span)
        is_new_order = not newest.charted
        if is_new_order and target is newest:
            sorting.check_numbers(order, newest.depth)
        sorting.check_order(order, [block for block, _ in self.refined() if block <= target.words])
        if is_new_order:
            self.chart()
        if not (is_new_order and target is newest):
            while self.top is not target:
                self.frames.pop()
            self.conclude()

    def rest(self) -> Iterator[tuple[str, str]]:
        """Yield label and sentence of each remaining step."""
        while not self.listed:
            self.listed = self.concluded
            is_first_inside = bool(self.top.label) and not self.top.charted and self.top.label == self.label
            self.label = f"{self.label}.1" if is_first_inside else _after(self.label)
            yield FINAL if self.listed else self.label, self.next_sentence()

    def next_sentence(self) -> str:
        if self.listed:
            return f"So the answer is: {' '.join(sorted(self.words))}."
        words, depth = self.top.words, self.top.depth
        unspelt = words - self.top.spelt
        if not self.top.charted and unspelt and (self.top.spelt or len(self.frames) == 1):
            self.top.spelt |= unspelt
            return f"The {ordinal(depth)} letter: {self.spelled(unspelt, depth)}."
        if not self.top.charted:
            self.chart()
            return f"We now have: {self.order_of(words, depth)}."
        tied = [block for block in self.tied() if block[0] <= words]
        if tied:
            self.begin(*tied[0])
            subpart, letters = self.written(tied[0][0]), self.spelled(*tied[0])
            return f"Now sort this subpart {subpart} by looking at their {ordinal(tied[0][1])} letters: {letters}."
        self.conclude()
        return f"Hence, we have {self.order_of(words)}."

    def order_of(self, words: WordSet, depth: int | None = None) -> str:
        blocks = [block for block, _ in self.blocks if block <= words]
        numbers = ["" if depth is None else f"({position(letter(min(block), depth))}) " for block in blocks]
        return " < ".join(number + self.written(block) for number, block in zip(numbers, blocks, strict=True))

    def spelled(self, words: WordSet, depth: int) -> str:
        return ", ".join(spelled(word, depth) for word in self.within(words))

    def written(self, block: WordSet) -> str:
        words = " ? ".join(f'"{word}"' for word in self.within(block))
        return words if len(block) == 1 else f"[{words}]"

    def within(self, words: WordSet) -> list[str]:
        """Return `words` in the order of the question."""
        return [word for word in self.words if word in words]


def _after(label: str) -> str:
    *outer, last = (label or "0").split(".")
    return ".".join([*outer, str(int(last[-9:]) + 1)])
