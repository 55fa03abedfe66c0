"""Tasks: their problems, and everything that a program can compute about an attempt.

Every task has problems in three disjoint splits and recognises a right response. Each further ability is a small
protocol (`Grades`, `Checks`, `Solves`, `Claims`, `Endless`), which partners that are programs require. `offers` lists a
task's abilities before a run starts. With `Verifies`, an exam can check remarks in the task's own terms.
"""

from __future__ import annotations

import random
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any, Literal, Protocol, overload, runtime_checkable

from sparring.common.errors import ConfigError, nearest
from sparring.common.seeds import named_rng
from sparring.core.chat import Chat, Message
from sparring.parsing import answers
from sparring.parsing.steps import NUMBERED, Fault, StepFormat

Split = Literal["train", "development", "test"]
Offer = Literal[
    "question", "gold", "rationale", "worked", "thoughts", "preference", "first_error", "solution", "claims"
]


@dataclass(frozen=True)
class Problem:
    """One question.

    `chat` is the question, possibly with a system prompt and earlier turns; `gold` the final answer; `rationale` a
    worked answer that ends in it. Accuracy is reported per `bin`. `data` is private to the task (JSON). `visit` counts
    how often the run has asked the problem before, over all phases.

    `worked` is a whole conversation to imitate at the weights of its parts; `rejected` is a worse reply to `chat` than
    its last one. Rows of plain text have no question: their `chat` is empty, and `worked` holds the text.
    """

    id: str
    chat: Chat
    gold: str | None = None
    rationale: str | None = None
    bin: str = "all"
    data: Mapping[str, Any] = field(default_factory=dict)
    visit: int = 0
    worked: Chat | None = None
    rejected: Message | None = None

    @property
    def reasoning(self) -> str:
        """The rationale without its last step if that only states `gold` ("#### 18", "So the answer is 18.", "18").

        A last part that is `gold`, of one line or several, is left out too. The whole rationale if it has one step; ""
        if there is none.
        """
        if self.gold and (self.rationale or "").endswith(f"\n{self.gold}"):
            return (self.rationale or "").removesuffix(self.gold).rstrip()
        steps = NUMBERED.split(self.rationale or "")
        if len(steps) < 2 or not _only_states(self.gold or "", steps[-1].text):
            return self.rationale or ""
        return (self.rationale or "")[: steps[-1].start].rstrip()


def _only_states(gold: str, step: str) -> bool:
    """Return whether `step` states `gold` as the answer and says nothing else."""
    stated = answers.final(step)
    start = step.rfind(stated)
    number = answers.read_number(gold)
    is_gold = stated.strip("()[]").casefold() == gold.strip().casefold()
    is_gold = is_gold or (number is not None and number == answers.read_number(stated))
    other_words = set(_WORDS.findall(f"{step[:start]} {step[start + len(stated) :]}".casefold()))
    return is_gold and other_words <= _STATING


_WORDS = re.compile(r"[^\W_]+")
_STATING = frozenset({"so", "thus", "hence", "therefore", "then", "the", "final", "correct", "answer", "is", "boxed"})


@runtime_checkable
class Task(Protocol):
    """A source of problems that recognises a right response: a frozen dataclass whose fields are its settings."""

    @property
    def layout(self) -> StepFormat:
        """The step format of worked answers."""
        ...

    def problems(self, split: Split) -> Sequence[Problem]:
        """Return the problems of `split`, the same on each call; the three splits share none."""
        ...

    def is_right(self, problem: Problem, response: str) -> bool:
        """Return whether `response` (without thoughts) ends in the right answer; an empty one never does."""
        ...


@runtime_checkable
class Endless(Protocol):
    """A task that can generate new problems."""

    def endless(self) -> Iterator[Problem]:
        """Yield distinct training problems without end, none of another split; the training split comes first."""
        ...


@runtime_checkable
class Grades(Protocol):
    """A task that can tell how good a response is, such as one that many responses meet in part."""

    def grade(self, problem: Problem, response: str) -> float:
        """Return a grade from 0 to 1: 1 if `response` is right, 0 if it is empty."""
        ...


@runtime_checkable
class Checks(Protocol):
    """A task that can find the first wrong step of any answer."""

    def first_error(self, problem: Problem, answer: str) -> Fault | None:
        """Return the first fault of `answer`, None if all of it is right. Never evaluate model text as code."""
        ...


@runtime_checkable
class Solves(Protocol):
    """A task that can complete an answer."""

    def solve(self, problem: Problem, kept: str) -> str:
        """Return a right answer that starts with `kept`, verbatim. `kept` holds right steps, or none."""
        ...


@runtime_checkable
class Claims(Protocol):
    """A task that can make true or false remarks on an answer."""

    def hint(self, problem: Problem, answer: str, rng: random.Random) -> str:
        """Return a true remark that helps with `answer`: the final answer only if no other remark is possible."""
        ...

    def false_claim(self, problem: Problem, answer: str, rng: random.Random) -> str:
        """Return a false but plausible remark about one step."""
        ...


@runtime_checkable
class Verifies(Protocol):
    """A task that can check remarks."""

    def is_true(self, problem: Problem, answer: str, remark: str) -> bool | None:
        """Return whether `remark` on `answer` is true; None if that cannot be computed."""
        ...


def offers(task: Task) -> frozenset[Offer]:
    """Return what `task` offers to methods and partners, from its protocols and the first split that has problems."""
    splits: tuple[Split, ...] = ("train", "development", "test")
    problems = next((problems for split in splits if (problems := task.problems(split))), ())
    offered = set(problems.offers if isinstance(problems, ReadOnDemand) else offers_of(problems))
    abilities: tuple[tuple[type, Offer], ...] = ((Checks, "first_error"), (Solves, "solution"), (Claims, "claims"))
    offered.update(offer for ability, offer in abilities if isinstance(task, ability))
    return frozenset(offered)


def offers_of(problems: Iterable[Problem]) -> frozenset[Offer]:
    """Return what every one of `problems` has; nothing for no problems."""
    offered: frozenset[Offer] | None = None
    for problem in problems:
        found: dict[Offer, bool] = {
            "question": bool(problem.chat.messages),
            "gold": problem.gold is not None,
            "rationale": problem.rationale is not None,
            "worked": problem.worked is not None or problem.rationale is not None or problem.gold is not None,
            "thoughts": problem.gold is not None or _has_thought(problem.worked),
            "preference": problem.rejected is not None,
        }
        has = frozenset(offer for offer, is_there in found.items() if is_there)
        offered = has if offered is None else offered & has
        if not offered:
            break
    return offered or frozenset()


def _has_thought(worked: Chat | None) -> bool:
    return worked is not None and any(part.thought for part in worked.last.parts)


class ReadOnDemand(Sequence[Problem]):
    """Problems of a file too large for memory: `read(index)` makes one each time; all of them have `offers`."""

    def __init__(self, read: Callable[[int], Problem], indices: Sequence[int], offers: frozenset[Offer]) -> None:
        self._read, self._indices, self.offers = read, indices, offers

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, index: int) -> Problem: ...
    @overload
    def __getitem__(self, index: slice) -> ReadOnDemand: ...
    def __getitem__(self, index: int | slice) -> Problem | ReadOnDemand:
        if isinstance(index, slice):
            return ReadOnDemand(self._read, self._indices[index], self.offers)
        return self._read(self._indices[index])


def is_sound(task: Task, problem: Problem, response: str) -> bool:
    """Return whether `response` is right, and not by luck.

    No step may be wrong as far as `task` can check. If it cannot, the last line must state the number that the line
    before results in (TriPosT, authors' code).
    """
    if not task.is_right(problem, response):
        return False
    if isinstance(task, Checks):
        return task.first_error(problem, response) is None
    return concludes(task.layout, response)


def concludes(step_format: StepFormat, response: str) -> bool:
    """Return False if the last step calculates nothing and states another number than the result before it."""
    steps = step_format.split(response)
    if len(steps) < 2 or "=" in steps[-1].text or "=" not in steps[-2].text:
        return True
    result = answers.first_number(steps[-2].text.rpartition("=")[2])
    stated = answers.stated_number(steps[-1].text)
    return result is None or stated is None or result == stated


class RowTask(ABC):
    """A task whose problems are rows of files: they are read once, when they are first asked for."""

    @abstractmethod
    def _load(self) -> tuple[Mapping[str, Sequence[Problem]], tuple[str, ...]]:
        """Return the problems of each split, and notes; ConfigError names a malformed row."""

    @cached_property
    def _loaded(self) -> tuple[Mapping[str, Sequence[Problem]], tuple[str, ...]]:
        return self._load()

    @property
    def notes(self) -> tuple[str, ...]:
        """Which rows were dropped or completed, and why."""
        return self._loaded[1]

    def problems(self, split: Split) -> Sequence[Problem]:
        """Return the problems of `split`; ConfigError if rows are missing or malformed."""
        return self._loaded[0][split]


class Pool:
    """Generated problems, all distinct, in three splits.

    `draw(rng, split)` generates one; problems with the same `id` are the same problem. `endless` starts with the
    training split and continues without end.
    """

    TRIES = 20_000  # after so many draws in a row without a new problem, the range counts as exhausted

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
        """Return the problems of `split`."""
        return self._splits[split]

    def endless(self) -> Iterator[Problem]:
        """Yield distinct training problems, none of them held out; ConfigError when the range is exhausted."""
        return self._distinct("train", set(self._held_out))

    def _distinct(self, split: Split, taken: set[str]) -> Iterator[Problem]:
        """Yield distinct problems of `split` whose ids are not in `taken`."""
        rng, taken, count = named_rng(self._seed, "problems", split), set(taken), 0
        while True:
            draws = (self._draw(rng, split) for _ in range(self.TRIES))
            problem = next((p for p in draws if p.id not in taken), None)
            if problem is None:
                raise ConfigError(f"the range has only {count} distinct {split} problems; ask for fewer")
            taken.add(problem.id)
            count += 1
            yield problem


class GeneratedTask(ABC):
    """A task whose problems are generated: its fields say how many of each split, and the seed."""

    range: str
    seed: int
    train: int
    development: int
    test: int

    @abstractmethod
    def _draw(self, rng: random.Random, split: Split) -> Problem:
        """Generate a problem for `split`."""

    def _check(self, name: str, ranges: Sequence[str]) -> None:
        """Raise ConfigError for a range that is not among `ranges`, or a negative number of problems."""
        if self.range not in ranges:
            raise nearest(f"range of {name}", self.range, ranges)
        for key in ("train", "development", "test"):
            if getattr(self, key) < 0:
                raise ConfigError(f"{key} = {getattr(self, key)}; give 0 or more problems")

    @cached_property
    def _pool(self) -> Pool:
        return Pool(self._draw, self.seed, self.train, self.development, self.test)

    def problems(self, split: Split) -> Sequence[Problem]:
        """Return the problems of `split`."""
        return self._pool.problems(split)

    def endless(self) -> Iterator[Problem]:
        """Yield training problems without end, the training split first; ConfigError when a range is exhausted."""
        return self._pool.endless()
