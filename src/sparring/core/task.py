"""What is asked, and everything that can be computed about an attempt.

Every task has problems in three disjoint splits and knows a right response. What else it can compute is a small
protocol each (`Checks`, `Solves`, `Claims`, `Endless`): a partner that is a program asks for what it needs, and
`offers` tells before the start what a task has.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal, Protocol, runtime_checkable

from sparring.common.errors import ConfigError
from sparring.common.seeds import named_rng
from sparring.core.chat import Chat
from sparring.parsing import answers
from sparring.parsing.steps import NUMBERED, Fault, StepFormat

Split = Literal["train", "development", "test"]
Offer = Literal["gold", "rationale", "first_error", "solution", "claims"]


@dataclass(frozen=True)
class Problem:
    """One thing to ask.

    `chat` is the question, with the system prompt and earlier turns it may have; `gold` the final answer; `rationale`
    a worked answer that ends in it; `bin` the group it is counted in; `data` what its task keeps for itself (JSON).
    `visit`: how many times the run has asked it before, in whatever phase.
    """

    id: str
    chat: Chat
    gold: str | None = None
    rationale: str | None = None
    bin: str = "all"
    data: Mapping[str, Any] = field(default_factory=dict)
    visit: int = 0

    @property
    def reasoning(self) -> str:
        """The rationale up to the answer: without its last step where that does nothing but state `gold` ("#### 18",
        "So the answer is 18.", "18"); all of it where it has no other step. A rationale that is not there is ""."""
        steps = NUMBERED.split(self.rationale or "")
        if len(steps) < 2 or not _only_states(self.gold or "", steps[-1].text):
            return self.rationale or ""
        return (self.rationale or "")[: steps[-1].start].rstrip()


def _only_states(gold: str, step: str) -> bool:
    """Whether `step` states `gold` as the answer and says nothing else."""
    stated = answers.final(step)
    place = step.rfind(stated)
    number = answers.read_number(gold)
    same = stated.strip("()[]").casefold() == gold.strip().casefold()
    same = same or (number is not None and number == answers.read_number(stated))
    around = set(_WORDS.findall(f"{step[:place]} {step[place + len(stated) :]}".casefold()))
    return same and around <= _STATING


_WORDS = re.compile(r"[^\W_]+")
_STATING = frozenset({"so", "thus", "hence", "therefore", "then", "the", "final", "correct", "answer", "is", "boxed"})


@runtime_checkable
class Task(Protocol):
    """A source of problems that can tell a right response: a frozen dataclass whose fields are its settings."""

    @property
    def layout(self) -> StepFormat:
        """How worked answers to its problems are laid out."""
        ...

    def problems(self, split: Split) -> Sequence[Problem]:
        """The problems of `split`, the same ones each time; the three splits share none."""
        ...

    def is_right(self, problem: Problem, response: str) -> bool:
        """Whether `response` (thoughts taken off) ends in the right answer; an empty one never does."""
        ...


@runtime_checkable
class Endless(Protocol):
    """A task that can make new problems."""

    def endless(self) -> Iterator[Problem]:
        """Training problems without end, none twice, none of another split; the training split comes first."""
        ...


@runtime_checkable
class Checks(Protocol):
    """A task that can find the first wrong step of an answer that anybody wrote."""

    def first_error(self, problem: Problem, answer: str) -> Fault | None:
        """The first fault of `answer`, None if it is right to the end. Never evaluates model text as code."""
        ...


@runtime_checkable
class Solves(Protocol):
    """A task that can finish an answer."""

    def solve(self, problem: Problem, kept: str) -> str:
        """A right answer that begins with `kept`, verbatim: steps that are right, perhaps none."""
        ...


@runtime_checkable
class Claims(Protocol):
    """A task that can remark on an answer, truly or falsely."""

    def hint(self, problem: Problem, answer: str, rng: random.Random) -> str:
        """A true remark that helps with `answer`: never the final answer unless nothing else is left to say."""
        ...

    def false_claim(self, problem: Problem, answer: str, rng: random.Random) -> str:
        """A plausible remark about one step that is false."""
        ...


def offers(task: Task) -> frozenset[Offer]:
    """What `task` can give to methods and partners, judged by its abilities and its training problems."""
    problems = task.problems("train")
    found: set[Offer] = set()
    if problems and all(problem.gold is not None for problem in problems):
        found.add("gold")
    if problems and all(problem.rationale is not None for problem in problems):
        found.add("rationale")
    abilities: tuple[tuple[type, Offer], ...] = ((Checks, "first_error"), (Solves, "solution"), (Claims, "claims"))
    found.update(offer for ability, offer in abilities if isinstance(task, ability))
    return frozenset(found)


def is_sound(task: Task, problem: Problem, response: str) -> bool:
    """Whether `response` is right and was not right by luck: it holds no wrong step that `task` can find, or where the
    task cannot check, its final line states the number that the line before comes to (TriPosT, authors' code)."""
    if not task.is_right(problem, response):
        return False
    if isinstance(task, Checks):
        return task.first_error(problem, response) is None
    return _concludes(task.layout, response)


def _concludes(layout: StepFormat, response: str) -> bool:
    """False where the last step but one ends in `= number`, and the last, which calculates nothing, in another."""
    steps = layout.split(response)
    if len(steps) < 2 or "=" in steps[-1].text or "=" not in steps[-2].text:
        return True
    result = answers.first_number(steps[-2].text.rpartition("=")[2])
    stated = answers.stated_number(steps[-1].text)
    return result is None or stated is None or result == stated


class Pool:
    """Generated problems, all distinct, in three splits.

    `draw(generator, split)` makes one; two with the same `id` are the same problem. Training problems go on
    without end in `endless`, of which the training split is the beginning.
    """

    TRIES = 20_000  # draws in a row that bring nothing new: the range is used up

    def __init__(
        self, draw: Callable[[random.Random, Split], Problem], seed: int, train: int, development: int, test: int
    ) -> None:
        self._draw, self._seed = draw, seed
        held_out: set[str] = set()
        self._splits: dict[Split, list[Problem]] = {}
        sizes: tuple[tuple[Split, int], ...] = (("test", test), ("development", development))
        for split, size in sizes:
            self._splits[split] = list(islice(self._distinct(split, held_out), size))
            held_out |= {problem.id for problem in self._splits[split]}
        self._held_out = frozenset(held_out)
        self._splits["train"] = list(islice(self.endless(), train))

    def problems(self, split: Split) -> Sequence[Problem]:
        """The problems of `split`."""
        return self._splits[split]

    def endless(self) -> Iterator[Problem]:
        """Distinct training problems, none of them held out; ConfigError when the range is used up."""
        return self._distinct("train", set(self._held_out))

    def _distinct(self, split: Split, taken: set[str]) -> Iterator[Problem]:
        generator, taken, found = named_rng(self._seed, "problems", split), set(taken), 0
        while True:
            problem = next(
                (p for p in (self._draw(generator, split) for _ in range(self.TRIES)) if p.id not in taken), None
            )
            if problem is None:
                raise ConfigError(f"this range has no more than {found} distinct {split} problems; ask for fewer")
            taken.add(problem.id)
            found += 1
            yield problem
