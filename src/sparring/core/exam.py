"""What an exam of a partner is: probes with a known right reaction, marks for each reaction, and measures over all.

A mark is a number from 0 to 1 under the name of a measure, and None where nothing can be computed. A measure is the
mean of its marks with a 95 % interval (Wilson); marks of None are counted beside it. `score` is the measure by which a
partner is called fit: a reply that cannot be used scores 0. `exams/` holds an exam for each role.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from sparring.common.errors import Failure
from sparring.common.seeds import named_rng
from sparring.common.statistics import wilson
from sparring.core.partner import Stance
from sparring.core.task import Problem, Task
from sparring.parsing.steps import Fault

SCORE = "score"
UNUSABLE = "unusable replies"
MAX_VISITS = 20  # times that a problem is used with other faults if there are too few problems


@dataclass(frozen=True)
class Probe:
    """What a partner is asked: a problem and the `given` answers.

    `kind` names the sort of probe, `expected` the right reaction in words. `fault` was planted in the answer, and
    `stance` is asked of a discussant.
    """

    problem: Problem
    kind: str
    given: tuple[str, ...]
    expected: str
    fault: Fault | None = None
    stance: Stance = "supportive"


@dataclass(frozen=True)
class Graded:
    """A probe with the partner's `reply` in words, its marks, and the failure if the reply could not be used."""

    probe: Probe
    reply: str
    marks: Mapping[str, float | None] = field(default_factory=dict)
    failure: Failure | None = None

    @classmethod
    def failed(cls, probe: Probe, failure: Failure, scored: bool = True) -> Graded:
        """Grade a probe that got no usable reply; one of a kind that is not `scored` costs nothing."""
        return cls(probe, "", {**({SCORE: 0.0} if scored else {}), UNUSABLE: 1.0}, failure)

    @property
    def verdict(self) -> str:
        """The score in a word."""
        if self.failure is not None:
            return "failed"
        score = self.marks.get(SCORE)
        return "not computable" if score is None else {0.0: "wrong", 1.0: "right"}.get(score, "undecided")

    def plain(self) -> dict[str, Any]:
        """Return the probe and its grade as plain data."""
        return {
            "problem": self.probe.problem.id,
            "question": self.probe.problem.chat.text,
            "probe": self.probe.kind,
            "given": list(self.probe.given),
            "expected": self.probe.expected,
            "reply": self.reply,
            "verdict": self.verdict,
            "marks": dict(self.marks),
            "failure": f"{self.failure.kind}: {self.failure.reason}" if self.failure else None,
        }


@dataclass(frozen=True)
class Measure:
    """The mean of `n` marks with its 95 % interval.

    `wanted`: the mean of a perfect partner, None if no value is right. `unknown`: marks that could not be computed.
    """

    name: str
    wanted: float | None
    value: float
    low: float
    high: float
    n: int
    unknown: int = 0

    def plain(self) -> dict[str, Any]:
        """Return the measure as plain data, without figures where nothing could be computed."""
        return {**vars(self), **({} if self.n else dict.fromkeys(("value", "low", "high")))}


class Exam(Protocol):
    """Examines partners of one role."""

    name: ClassVar[str]
    role: ClassVar[str]
    calls: ClassVar[int]  # calls of the partner for one probe

    def probes(self, task: Task, problems: Sequence[Problem], count: int, seed: int) -> list[Probe]:
        """Return at most `count` distinct probes; none if nothing can be computed on these problems."""
        ...

    async def grade(self, partner: Any, task: Task, probe: Probe, rng: random.Random) -> Graded:
        """Ask `partner` and grade its reply; ConversationError if there is none."""
        ...

    def measures(self, graded: Sequence[Graded]) -> list[Measure]:
        """Return the measures, SCORE first."""
        ...


def measure(name: str, wanted: float | None, marks: Iterable[float | None]) -> Measure:
    """Return the measure of `marks`."""
    listed = list(marks)
    known = [mark for mark in listed if mark is not None]
    total = math.fsum(known)
    low, high = wilson(total, len(known))
    return Measure(name, wanted, total / len(known) if known else 0.0, low, high, len(known), len(listed) - len(known))


def measures(wanted: Mapping[str, float | None], graded: Sequence[Graded]) -> list[Measure]:
    """Return a measure for each name in `wanted`, over the probes that have a mark of that name, UNUSABLE last."""
    names = {**wanted, UNUSABLE: 0.0}
    all_marks = {name: [one.marks[name] for one in graded if name in one.marks] for name in names}
    return [measure(name, names[name], marks) for name, marks in all_marks.items() if marks]


def draw_probes(
    kinds: Callable[[Problem, random.Random], Iterable[Probe]], problems: Sequence[Problem], count: int, seed: int
) -> list[Probe]:
    """Return `count` distinct probes, fewer if there are not as many; `kinds` makes those of one problem.

    Each problem is used once before any is used again.
    """
    probes: dict[tuple[str, str, tuple[str, ...]], Probe] = {}
    for visit in range(MAX_VISITS):
        for problem in problems:
            for probe in kinds(problem, named_rng(seed, "exam", problem.id, visit)):
                if len(probes) == count:
                    return list(probes.values())
                probes.setdefault((problem.id, probe.kind, probe.given), probe)
        if not probes:
            break
    return list(probes.values())
