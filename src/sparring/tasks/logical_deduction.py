"""Logical deduction, from BIG-bench: a few objects in a fixed order, clues, and the question of who has one place.

The *paper* range has BIG-bench's questions on three and five objects (seen, the bins of the training split) and seven
(unseen), as in TriPosT (arXiv 2310.13522). The worked answers are ours: they copy the clues in signs, place one object
after another by the fewest clues that suffice, and state the order. The *easy* range is ours, for character-level
learners: three or four letters, clues in signs.

    h<k k<f 2? (A) k (B) f (C) h      1=h
                                      2=k
                                      3=f
                                      2=k
                                      (A)

A statement is true if it follows from the clues; one that cites clues has to follow from these and the steps before.
The order of the steps and their wording are free. `sparring.parsing.ordering` reads the statements.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar, NamedTuple

from sparring.common.errors import ConfigError
from sparring.common.seeds import digest
from sparring.core.big_bench import SEEN, UNSEEN, BigBenchChoice, Mistake, with_options
from sparring.core.chat import question
from sparring.core.task import Problem, Split
from sparring.parsing import answers
from sparring.parsing.ordering.claims import MOST_OBJECTS, RANKS, Claim, Reader, reader_of
from sparring.parsing.ordering.deduction import Deduction
from sparring.parsing.steps import Step

FEWEST, PAPER, EASY = 3, (3, 5, 7), (3, 4)  # numbers of objects
PLACE_CLUES = 0.35  # ours: share of the clues that give a place
NAMES = "fghk"  # the objects of the easy range: few, so that a tiny learner can tell them apart
ASK = "The following paragraphs each describe a set of {} objects arranged in a fixed order. The statements are "
ASK += "logically consistent within each paragraph. {}"
NUMBERS = ("", "one", "two", "three", "four", "five", "six", "seven")


class Scene(NamedTuple):
    """How one kind of BIG-bench's questions is worded. `low` and `high` say a place counted from either end."""

    opening: str
    objects: Sequence[str]
    before: str
    after: str
    ends: tuple[str, str]  # the words of the worked answer
    low: tuple[str, str]  # of the first place, and of another one
    high: tuple[str, str]
    article: bool = True


_BIRDS = "blue jay, quail, falcon, robin, crow, owl, raven, cardinal, hummingbird, hawk"
_COLOURS = "black, blue, brown, gray, green, orange, purple, red, white, yellow"
_GOLFERS = "Ada, Amy, Ana, Dan, Eli, Eve, Joe, Mel, Mya, Rob"
_VEHICLES = "bus, convertible, hatchback, limousine, minivan, motorcycle, sedan, station wagon, tractor, truck"
_FRUITS = "apples, cantaloupes, kiwis, loquats, mangoes, oranges, peaches, pears, plums, watermelons"
_ROW = ("is to the left of", "is to the right of", ("left", "right"), ("is the leftmost", "is the {} from the left"))
_ROW_END = ("is the rightmost", "is the {} from the right")
SCENES = (
    Scene(
        "On a branch, there are {} birds: {}.",
        _BIRDS.split(", "),
        *_ROW,
        _ROW_END,
    ),
    Scene(
        "On a shelf, there are {} books: {}.",
        [f"{colour} book" for colour in _COLOURS.split(", ")],
        *_ROW,
        _ROW_END,
    ),
    Scene(
        "In a golf tournament, there were {} golfers: {}.",
        _GOLFERS.split(", "),
        "finished above",
        "finished below",
        ("first", "last"),
        ("finished first", "finished {}"),
        ("finished last", "finished {}-to-last"),
        article=False,
    ),
    Scene(
        "In an antique car show, there are {} vehicles: {}.",
        _VEHICLES.split(", "),
        "is older than",
        "is newer than",
        ("oldest", "newest"),
        ("is the oldest", "is the {}-oldest"),
        ("is the newest", "is the {}-newest"),
    ),
    Scene(
        "A fruit stand sells {} fruits: {}.",
        _FRUITS.split(", "),
        "are less expensive than",
        "are more expensive than",
        ("cheapest", "most expensive"),
        ("are the cheapest", "are the {}-cheapest"),
        ("are the most expensive", "are the {}-most expensive"),
        article=False,
    ),
)
_ENDS = {
    word: SCENES[scene].ends
    for scene, words in ((0, ("left", "right")), (2, ("finish",)), (3, ("old", "new")), (4, ("cheap", "expensive")))
    for word in words
}
_END_WORDS = re.compile("|".join(_ENDS))
_LISTED = re.compile(r":(?P<objects>[^.:]+)\.(?P<clues>.+)", re.DOTALL)
_ARTICLE = re.compile(r"^(?:an?|the)\s+", re.IGNORECASE)


@dataclass(frozen=True)
class LogicalDeduction(BigBenchChoice):
    """The order of a few objects, from clues (BIG-bench), or an easy range of it for tiny learners.

    `range` is `easy` (3 or 4 letters) or `paper`. In the paper's range, training problems have `seen_objects` objects;
    development and test problems also have 3, 5 and 7. `file` is a file of BIG-bench or BIG-bench-hard, or several. Its
    rows make all splits; those with another number of objects than the seen ones are never training problems. `None`
    stands for 1500, 200 and 1000 generated problems, or for a tenth of a file each and its other rows.
    """

    name: ClassVar[str] = "logical_deduction"

    seen_objects: tuple[int, ...] = (3, 5)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.seen_objects or not set(self.seen_objects) <= set(range_of_objects()):
            allowed = ", ".join(map(str, range_of_objects()))
            raise ConfigError(f"seen_objects = {list(self.seen_objects)}; choose from {allowed}")

    def choice(self, problem: Problem, response: str) -> str | None:
        """Return the letter of the option that `response` chooses; None if it chooses none or several.

        In the paper's range, it may also end in the name of an object or in a sentence that says what an option says.
        """
        letter = super().choice(problem, response)
        if letter is not None or self.range == "easy" or not problem.rationale:
            return letter
        final, reader = answers.final(response), reader_of(tuple(problem.data["names"]))
        said = _each_one(reader, problem.data["options"]) or []
        named = [index for index, claim in enumerate(said) if [*claim.about] == [reader.named(final)]]
        last = [claim.places for claim in reader.claims(final) if isinstance(claim, Claim) and len(claim.places) == 1][
            -1:
        ]
        found = named or [index for index, claim in enumerate(said) if [claim.places] == last]
        return answers.LETTERS[found[0]] if len(found) == 1 else None

    def hint(self, problem: Problem, answer: str, rng: random.Random) -> str:
        """Return a true statement on the objects of the first mistake, or on two objects: not the place in question."""
        mistake = self._first_mistake(problem, answer) if problem.rationale else None
        deduction = _deduction(problem)
        about = deduction.named(mistake.untrue.truth or mistake.step.text) if mistake else []
        return self._remark(deduction.true_link(rng, about), mistake.step.label if mistake else "")

    def false_claim(self, problem: Problem, answer: str, rng: random.Random) -> str:
        """Return a false order of two objects, worded like a hint."""
        deduction, steps = _deduction(problem), self.layout.split(answer)
        step = rng.choice(steps) if steps else None
        one, _, other = deduction.true_link(rng, deduction.named(step.text) if step else []).partition(deduction.sign)
        return self._remark(f"{other}{deduction.sign}{one}", step.label if step else "")

    def is_true(self, problem: Problem, answer: str, remark: str) -> bool | None:
        """Check what `remark` says of the order, and what it cites for it."""
        return _deduction(problem).holds(remark) if "clues" in problem.data else None

    def _false_step(self, problem: Problem, steps: Sequence[Step]) -> Mistake | None:
        false = _deduction(problem).follow([step.text for step in steps])
        return Mistake(steps[false[0]], false[1]) if false else None

    def _missing_steps(self, problem: Problem, steps: Sequence[Step]) -> Iterator[str]:
        deduction = _deduction(problem)
        deduction.follow([step.text for step in steps])
        return deduction.picks() if self.range == "easy" else deduction.sentences()

    # ---- problems

    def _draw(self, rng: random.Random, split: Split) -> Problem:
        if self.range == "easy":
            return self._easy(rng)
        counts = self.seen_objects if split == "train" else sorted({*self.seen_objects, *PAPER})
        scene, count = rng.choice(SCENES), rng.choice(counts)
        names = rng.sample(scene.objects, count)
        clues, order = _drawn_clues(rng, count)
        asked = rng.randint(1, count)
        listed = [_with_article(name) if scene.article else name for name in names]
        opening = scene.opening.format(NUMBERS[count], f"{', '.join(listed[:-1])}, and {listed[-1]}")
        sentences = [f"{_clue_sentence(scene, names, clue, rng)}." for clue in clues]
        options = [_sentence(scene, name, _place(scene, asked, count)) for name in names]
        problem = self._understood(ASK.format(NUMBERS[count], " ".join([opening, *sentences])), options)
        assert problem is not None
        assert problem.gold == answers.LETTERS[order[asked - 1]]
        return problem

    def _easy(self, rng: random.Random) -> Problem:
        count = rng.choice(EASY)
        names = rng.sample(NAMES, count)
        clues, order = _drawn_clues(rng, count)
        asked = rng.randint(1, count)
        written = [f"{names[a]}<{names[b]}" if b is not None else f"{names[a]}={place}" for a, b, place in clues]
        listed = " ".join(f"({letter}) {name}" for letter, name in zip(answers.LETTERS, names, strict=False))
        text = f"{' '.join(written)} {asked}? {listed}"
        data = {"options": names, "names": names, "clues": written, "asked": asked}
        gold = answers.LETTERS[order[asked - 1]]
        identity = digest(*sorted(written), *sorted(names), asked)[:16]
        return self._solved(Problem(identity, question(text), gold, bin=f"{count} objects", data=data))

    def _understood(self, asked: str, options: Sequence[str]) -> Problem | None:
        match = _LISTED.search(asked)
        listed = re.split(r",\s*(?:and\s+)?|(?<!\s)\s+and\s+", match["objects"]) if match else []
        names = [_ARTICLE.sub("", name.strip()) for name in listed if name.strip()]
        if match is None or not FEWEST <= len(names) <= MOST_OBJECTS or len(set(names)) < len(names):
            return None
        reader, sentences = reader_of(tuple(names)), re.split(r"(?<=\.)\s+", match["clues"].strip())
        clues, choices = _each_one(reader, sentences), _each_one(reader, options)
        ends = _END_WORDS.search(match["clues"].lower())
        if clues is None or choices is None or not ends or any("≠" in clue.written for clue in clues):
            return None
        known = reader.world.every
        for clue in clues:
            known &= clue.mask
        true = [index for index, choice in enumerate(choices) if known and reader.world.follows(choice.mask, known)]
        if len(true) != 1:
            return None
        data = {
            "options": list(options),
            "names": names,
            "clues": [clue.written for clue in clues],
            "ends": list(_ENDS[ends[0]]),
        }
        text = with_options(asked, options)
        novelty = SEEN if len(names) in self.seen_objects else UNSEEN
        gold = answers.LETTERS[true[0]]
        identity = digest(*sorted(sentences), *sorted(names), *sorted(options))[:16]
        return self._solved(Problem(identity, question(text), gold, bin=f"{novelty}{len(names)} objects", data=data))


def range_of_objects() -> Sequence[int]:
    """Return the numbers of objects that a question may have."""
    return range(FEWEST, MOST_OBJECTS + 1)


def _deduction(problem: Problem) -> Deduction:
    data = problem.data
    conclusion = data["options"][answers.LETTERS.index(problem.gold or "A")]
    conclusion = conclusion if "ends" in data else f"{data['asked']}={conclusion}"
    return Deduction(data["names"], data["clues"], data.get("ends"), conclusion)


def _each_one(reader: Reader, sentences: Sequence[str]) -> list[Claim] | None:
    """Return the one claim of each sentence; None if a sentence has none, or more."""
    found = [reader.claims(sentence) for sentence in sentences]
    single = [claims[0] for claims in found if len(claims) == 1 and isinstance(claims[0], Claim)]
    return single if len(single) == len(sentences) else None


# ---- generated clues

_Clue = tuple[int, int | None, int]  # an object, the one that it comes before or None, its place


def _drawn_clues(rng: random.Random, count: int) -> tuple[list[_Clue], list[int]]:
    """Draw an order and clues that determine it, none of them superfluous; objects are numbers."""
    order = rng.sample(range(count), count)
    world = reader_of(tuple(map(str, range(count)))).world
    places: list[_Clue] = [(a, None, place) for place, a in enumerate(order, start=1)]
    pairs: list[_Clue] = [(a, b, 0) for a, b in combinations(order, 2)]
    masks = {clue: world.at[clue[0], clue[2]] for clue in places}
    masks |= {clue: world.before[clue[0], clue[1]] for clue in pairs if clue[1] is not None}
    rng.shuffle(places)
    rng.shuffle(pairs)
    clues: list[_Clue] = []
    known = world.every
    while known & (known - 1):  # more than one arrangement is left
        source = places if places and rng.random() < PLACE_CLUES else pairs or places
        clue = source.pop()
        if not world.follows(masks[clue], known):
            clues.append(clue)
            known &= masks[clue]
    for clue in list(clues):
        others = world.every
        for other in clues:
            others &= masks[other] if other != clue else world.every
        if world.follows(masks[clue], others):
            clues.remove(clue)
    return rng.sample(clues, len(clues)), order


def _with_article(name: str) -> str:
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _sentence(scene: Scene, name: str, rest: str) -> str:
    return f"The {name} {rest}" if scene.article or scene.ends[0] == "cheapest" else f"{name} {rest}"


def _clue_sentence(scene: Scene, names: Sequence[str], clue: _Clue, rng: random.Random) -> str:
    a, b, place = clue
    if b is None:
        return _sentence(scene, names[a], _place(scene, place, len(names)))
    a, b, link = rng.choice([(a, b, scene.before), (b, a, scene.after)])
    return _sentence(scene, names[a], f"{link} {'' if names[b][0].isupper() else 'the '}{names[b]}")


def _place(scene: Scene, place: int, count: int) -> str:
    """Return the words for a place, counted from the nearer end."""
    distance = min(place, count + 1 - place)
    words = scene.low if distance == place else scene.high
    return words[distance > 1].format(RANKS[distance - 1])
