"""Follow an argument from clues to the order of a few objects, or write what is missing of it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

from sparring.parsing.ordering.claims import Claim, Unfounded, reader_of
from sparring.parsing.untrue import Untrue


class Deduction:
    """What the steps of an answer have stated; it checks the next statement, or writes the missing ones.

    `clues` are in signs. `ends` name the first and the last place in worked answers, None for the easy range, whose
    signs have no spaces. `conclusion` is the sentence that answers the question.
    """

    def __init__(self, names: Sequence[str], clues: Sequence[str], ends: Sequence[str] | None, conclusion: str) -> None:
        self.names, self.ends, self.conclusion = names, ends, conclusion
        self.reader = reader_of(tuple(names))
        self.world = self.reader.world
        self.sign = " < " if ends else "<"
        self.clues = [claim for clue in clues for claim in self.reader.claims(clue) if isinstance(claim, Claim)]
        self.known = self.world.every  # what all clues say
        for clue in self.clues:
            self.known &= clue.mask
        self.stated = self.world.every  # what the steps so far say
        self.copied: set[int] = set()
        self.places: dict[int, int] = {}
        self.is_begun = self.is_deduced = self.is_ordered = self.is_concluded = False

    def follow(self, steps: Sequence[str]) -> tuple[int, Untrue] | None:
        """Take `steps` up to the first false statement; return it, if any, with the index of its step."""
        for index, step in enumerate(steps):
            self.is_begun = True
            is_placed = len(self.places) == len(self.names)  # the conclusion is not one of the places
            for claim in self.reader.claims(step):
                try:
                    self.take(claim)
                except Untrue as untrue:
                    return index, untrue
            self.is_concluded = self.is_concluded or (is_placed and step.rstrip(".").endswith(self.conclusion))
        return None

    def take(self, claim: Claim | Unfounded) -> None:
        """Accept a statement, or raise Untrue."""
        if isinstance(claim, Unfounded):
            raise Untrue(claim.span, claim.reason)
        for number in claim.cited:
            if not 0 <= number < len(self.clues):
                raise Untrue(claim.span, f"there are {len(self.clues)} clues")
        if claim.is_copy and not self.world.follows(claim.mask, self.clues[claim.cited[0]].mask):
            number = claim.cited[0]
            truth = self.clues[number].written
            raise Untrue(claim.span, f"clue {number + 1} says {truth}", truth)
        if not self.world.follows(claim.mask, self.known):
            raise Untrue(claim.span, f"by the clues, {self.truth(claim)}", self.truth(claim))
        basis = self.stated
        for number in claim.cited:
            basis &= self.clues[number].mask
        if claim.cited and not self.world.follows(claim.mask, basis):
            numbers = ", ".join(str(number + 1) for number in claim.cited)
            raise Untrue(claim.span, f"it does not follow from clue {numbers} and the steps before", claim.written)
        self.stated &= claim.mask
        self.places |= claim.places
        if claim.is_copy:
            self.copied.add(claim.cited[0])
        else:
            self.is_deduced = self.is_deduced or bool(claim.places)
        self.is_ordered = self.is_ordered or len(claim.places) == len(self.names)

    def truth(self, claim: Claim) -> str:
        """Return the true places of the objects of `claim`, as far as the clues give them."""
        places = ((a, self.place(a)) for a in claim.about)
        given = [f"{self.names[a]} = {place}" for a, place in places if place]
        return " and ".join(given) or f"{claim.written} is not known"

    def place(self, a: int) -> int | None:
        """Return the place of object `a`, if the clues give one."""
        places = range(1, len(self.names) + 1)
        return next((place for place in places if self.world.follows(self.world.at[a, place], self.known)), None)

    def picks(self) -> Iterator[str]:
        """Yield the missing places in their order, and the one in question (easy range)."""
        order = sorted((self.place(a) or 0, a) for a in range(len(self.names)))
        yield from (f"{place}={self.names[a]}" for place, a in order if a not in self.places)
        if not self.is_concluded:
            yield self.conclusion

    def sentences(self) -> Iterator[str]:
        """Yield the missing steps before the final response."""
        count = len(self.names)
        if not self.is_begun:
            low, high = self.ends or ("first", "last")
            yield f"From {low} to {high}, the positions are 1 to {count}."
        if not self.is_deduced:
            for number, clue in enumerate(self.clues):
                if number not in self.copied:
                    yield f"Clue {number + 1}: {clue.written}."
                    self.take(clue._replace(cited=(number,), is_copy=True))
        if not self.is_ordered:
            yield from self.deductions()
            order = sorted(self.places, key=lambda a: self.places[a])
            if len(order) == count:
                yield f"The order is: {', '.join(self.names[a] for a in order)}."
        if not self.is_concluded:
            yield f"{self.conclusion}."

    def deductions(self) -> Iterator[str]:
        """Yield a place for each object that has none yet, by the fewest clues first."""
        unplaced = {a: place for a in range(len(self.names)) if a not in self.places and (place := self.place(a))}
        while unplaced:
            cited, a = self.next_deduction(unplaced)
            self.places[a] = unplaced.pop(a)
            numbers = [str(number + 1) for number in cited]
            written = f"{self.names[a]} = {self.places[a]}"
            if not numbers:
                yield f"So {written}."
            elif len(numbers) == 1:
                yield f"By clue {numbers[0]}: {written}."
            else:
                yield f"By clues {', '.join(numbers[:-1])} and {numbers[-1]}: {written}."

    def next_deduction(self, unplaced: Mapping[int, int]) -> tuple[tuple[int, ...], int]:
        """Return the fewest clues that place an object, with those that are placed already, and the object."""
        placed = self.world.every
        for pair in self.places.items():
            placed &= self.world.at[pair]
        for size in range(len(self.clues) + 1):
            for cited in combinations(range(len(self.clues)), size):
                basis = placed
                for number in cited:
                    basis &= self.clues[number].mask
                named = {a for number in cited for a in self.clues[number].about}
                for a, place in sorted(unplaced.items(), key=lambda pair: pair[0] not in named):
                    if self.world.follows(self.world.at[a, place], basis):
                        return cited, a
        raise AssertionError("all clues together place every object")

    # ---- remarks

    def named(self, text: str) -> list[int]:
        """Return the objects that `text` makes claims about."""
        claims = self.reader.claims(text)
        return list(dict.fromkeys(a for claim in claims if isinstance(claim, Claim) for a in claim.about))

    def holds(self, remark: str) -> bool | None:
        """Return whether all claims in `remark` are true, with all clues as steps before it; None without claims."""
        self.stated = self.known
        claims = self.reader.claims(remark)
        try:
            for claim in claims:
                self.take(claim)
        except Untrue:
            return False
        return True if claims else None

    def true_link(self, rng: random.Random, about: Sequence[int]) -> str:
        """Draw a true order of two objects, with those of `about` where possible."""
        pairs = [pair for pair, mask in self.world.before.items() if self.world.follows(mask, self.known)]
        chosen = [pair for pair in pairs if set(pair) <= set(about)] or [pair for pair in pairs if set(pair) & {*about}]
        a, b = rng.choice(chosen or pairs)
        return f"{self.names[a]}{self.sign}{self.names[b]}"
