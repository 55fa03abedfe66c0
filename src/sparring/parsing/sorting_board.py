"""Follow a worked sorting in TriPosT's layout: find its first wrong step, or write the steps that are left.

`sorting` reads the statements of a step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from sparring.parsing import sorting
from sparring.parsing.letters import letter, ordinal, position, reminder, spelled
from sparring.parsing.sorting import Block, Place, Span, Spelling, StatedOrder, Wrong
from sparring.parsing.steps import FINAL, Step

WordSet = frozenset[str]


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


class Board:
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
        """The current subpart."""
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
        """Take the next statement; raise Wrong if it is wrong."""
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
        """Raise Wrong if letters were given for some words of the current subpart only."""
        missing = self.within(self.top.words - self.top.spelt)
        if self.top.spelt_at and missing:
            self.step, span = self.top.spelt_at  # letters may be given over several steps, so this shows late
            raise Wrong(span, f'"{missing[0]}" is missing')

    def take_subpart(self, block: Block) -> None:
        """Take the words of the subpart that is sorted next; raise Wrong if they are not those."""
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
        """Raise Wrong if a subpart that was begun is not sorted yet."""
        for left in (words for words, depth in self.tied() if depth > 1):
            raise Wrong(span, f"the subpart {self.written(left)} has to be sorted first")

    def take_letter(self, spelling: Spelling) -> None:
        """Take the letter of a word; raise Wrong if it is not the next letter to compare."""
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
        """Take the order of the words of a subpart; raise Wrong if it is not known yet, or wrong."""
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
            self.label = f"{self.label}.1" if is_first_inside else _next_label(self.label)
            yield FINAL if self.listed else self.label, self.next_sentence()

    def next_sentence(self) -> str:
        """Take the next step and return its sentence."""
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
        """Write the order of `words`, with the numbers of their letters at `depth` if that is given."""
        blocks = [block for block, _ in self.blocks if block <= words]
        numbers = ["" if depth is None else f"({position(letter(min(block), depth))}) " for block in blocks]
        return " < ".join(number + self.written(block) for number, block in zip(numbers, blocks, strict=True))

    def spelled(self, words: WordSet, depth: int) -> str:
        """Write the letters of `words` at `depth`."""
        return ", ".join(spelled(word, depth) for word in self.within(words))

    def written(self, block: WordSet) -> str:
        """Write the words of `block`, in brackets if their order is undecided."""
        words = " ? ".join(f'"{word}"' for word in self.within(block))
        return words if len(block) == 1 else f"[{words}]"

    def within(self, words: WordSet) -> list[str]:
        """Return `words` in the order of the question."""
        return [word for word in self.words if word in words]


def _next_label(label: str) -> str:
    *outer, last = (label or "0").split(".")
    return ".".join([*outer, str(int(last[-9:]) + 1)])
