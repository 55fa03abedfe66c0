"""Measure learners by a protocol on held-out problems: means of measures, with intervals, in total and per bin.

Only the task sees the gold answer. A problem without an answer is measured as the protocol says (wrong, as a rule) and
also counted as failed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean
from typing import Any

from sparring.common import html
from sparring.common.concurrency import bounded_gather
from sparring.common.errors import ConversationError, Failure, Unavailable
from sparring.common.seeds import named_rng
from sparring.common.statistics import Mean, mean_of
from sparring.core import attempts
from sparring.core.attempts import Serving
from sparring.core.chat import LEARNER, Chat, message
from sparring.core.protocol import EvaluationProtocol, Heard, Measured, Measures, Participant
from sparring.core.task import Problem, Task

REASON = 120  # characters of a failure's reason in a list of failures
HEADINGS = ("value", "95 % interval", "problems")  # of `mean_rows`, after the name
# A measure with one of these words in its name is a number with a scale of its own; every other one is a share.
SCALES = frozenset({
    "characters", "difficulty", "length", "likelihood", "loss", "points", "rating", "reward", "rouge", "score",
    "seconds", "tokens", "words",
})  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What a protocol measured on one problem."""

    problem: str
    bin: str
    measures: Measures
    response: str = ""
    transcripts: tuple[Chat, ...] = ()
    failures: tuple[Failure, ...] = ()

    @property
    def is_unavailable(self) -> bool:
        """Whether a learner gave no reply, which says nothing about its answer: the problem can be asked again."""
        return is_unavailable(map(asdict, self.failures))

    def plain(self) -> dict[str, Any]:
        """Return the outcome as plain data; each transcript is a list of messages with author and full text."""
        chats = [[{"author": m.author, "text": m.full_text} for m in chat.messages] for chat in self.transcripts]
        return {**vars(self), "failures": [asdict(failure) for failure in self.failures], "transcripts": chats}

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Outcome:
        """Return the outcome from which `plain` made `row`; each message comes back as one part."""
        chats = (Chat(tuple(message(m["author"], m["text"]) for m in chat)) for chat in row["transcripts"])
        failures = tuple(Failure(**failure) for failure in row["failures"])
        return cls(**{**row, "transcripts": tuple(chats), "failures": failures})


@dataclass(frozen=True)
class Evaluation:
    """The outcomes on a list of problems, in its order, and the measure that ranks learners."""

    outcomes: tuple[Outcome, ...]
    primary: str = "accuracy"

    @property
    def score(self) -> Mean:
        """The mean of the primary measure."""
        return self.measures().get(self.primary) or mean_of([])

    def measures(self) -> dict[str, Mean]:
        """Return the mean of each measure over the problems that have it; the primary measure is the first."""
        return _means(self.outcomes, self.primary)

    def bins(self) -> dict[str, dict[str, Mean]]:
        """Return the means of each bin, "2 words" before "10 words"."""
        names = sorted({outcome.bin for outcome in self.outcomes}, key=_by_numbers)
        return {name: _means([o for o in self.outcomes if o.bin == name], self.primary) for name in names}

    def macro(self) -> float:
        """Return the mean of the primary measure's bin means: each bin counts the same, whatever its size."""
        means = [means[self.primary].value for means in self.bins().values() if self.primary in means]
        return fmean(means) if means else 0.0

    def plain(self) -> dict[str, Any]:
        """Return all figures as plain data."""
        kinds = Counter(f"{f.who}: {f.kind}" for outcome in self.outcomes for f in outcome.failures)
        return {
            "problems": len(self.outcomes),
            "primary": self.primary,
            "measures": _plain({self.primary: self.score, **self.measures()} if self.outcomes else {}),
            "macro": self.macro(),
            "bins": {name: _plain(means) for name, means in self.bins().items()},
            "failures": dict(kinds.most_common()),
        }

    def failures_in_words(self) -> list[str]:
        """Return each kind of failure with its count and its commonest reason, the most frequent kind first."""
        reasons: dict[str, Counter[str]] = {}
        for failure in (failure for outcome in self.outcomes for failure in outcome.failures):
            reasons.setdefault(f"{failure.who}: {failure.kind}", Counter())[failure.reason[:REASON]] += 1
        kinds = sorted(reasons.items(), key=lambda kind: -kind[1].total())
        return [f"{counts.total()} × {kind} ({counts.most_common(1)[0][0]})" for kind, counts in kinds]

    def _repr_html_(self) -> str:
        """Show the measures, and the primary one of each bin, as tables in a notebook."""
        bins = {name: means[self.primary] for name, means in self.bins().items() if self.primary in means}
        of_bins = html.table(f"{self.primary} of each bin", ("bin", *HEADINGS), mean_rows(_plain(bins)))
        failures = "".join(f"<p>{html.escaped(line)}</p>" for line in self.failures_in_words())
        return (
            html.table(f"{len(self.outcomes):,} problems", ("measure", *HEADINGS), mean_rows(_plain(self.measures())))
            + (of_bins if len(bins) > 1 else "")
            + failures
        )


def is_unavailable(failures: Iterable[Mapping[str, Any]]) -> bool:
    """Return whether `failures`, as plain data, contain that of a learner that gave no reply."""
    return any(failure["who"] == LEARNER and failure["kind"] == Unavailable.__name__ for failure in failures)


def _by_numbers(name: str) -> list[str | int]:
    """Return the texts and numbers of which `name` consists, to sort by."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def _means(outcomes: Sequence[Outcome], primary: str) -> dict[str, Mean]:
    names = dict.fromkeys([primary, *(name for outcome in outcomes for name in outcome.measures)])
    values = {name: [float(o.measures[name]) for o in outcomes if name in o.measures] for name in names}
    return {name: mean_of(numbers) for name, numbers in values.items() if numbers}


def _plain(means: Mapping[str, Mean]) -> dict[str, dict[str, float]]:
    return {name: mean.plain() for name, mean in means.items()}


def mean_rows(means: Mapping[str, Mapping[str, float]]) -> list[list[str]]:
    """Return a row of texts for each of `means` (`Mean.plain`): its name, value, interval and count."""
    return [
        [name, in_words(name, mean["value"]), interval_in_words(name, mean["low"], mean["high"]), f"{mean['count']:,}"]
        for name, mean in means.items()
    ]


def score(figures: Mapping[str, Any]) -> float:
    """Return the mean of the primary measure from `Evaluation.plain`."""
    return float(figures["measures"][figures["primary"]]["value"])


def describe_score(figures: Mapping[str, Any]) -> str:
    """Return the primary measure from `Evaluation.plain` in words, with its interval."""
    name = figures["primary"]
    mean = figures["measures"][name]
    value, low, high = (in_words(name, mean[key]) for key in ("value", "low", "high"))
    return f"{name} {value} [{low}, {high}] on {figures['problems']} problems"


def in_words(measure: str, value: float, sign: bool = False) -> str:
    """Return a mean of `measure`, or with `sign` a difference: a share as a percentage, a number with three digits.

    The name decides, not the value: a judge's mean score of 0.83 is no 83 %.
    """
    is_share = (
        SCALES.isdisjoint(measure.split("_")) and abs(value) <= 1
    )  # a protocol of one's own may name it otherwise
    form = ".1%" if is_share else ".3g"
    return format(value, f"+{form}" if sign else form)


def interval_in_words(measure: str, low: float, high: float, sign: bool = False) -> str:
    """Return an interval of `measure` as a cell of a table."""
    return f"{in_words(measure, low, sign)} – {in_words(measure, high, sign)}"


async def measure_problems(
    protocol: EvaluationProtocol,
    task: Task,
    problems: Sequence[Problem],
    learners: Callable[[Problem], Sequence[Participant]],
    *,
    seed: int = 0,
    at_once: int = 512,
    on_outcome: Callable[[Outcome], None] = lambda outcome: None,
) -> Evaluation:
    """Measure the `learners` of each of `problems`, `at_once` at a time, and return the outcomes in order."""

    async def one(problem: Problem) -> Outcome:
        attempts.serving.set(Serving(f"evaluation-{protocol.name}", 1, problem.id))
        measured = await _measure(protocol, task, problem, learners(problem), seed)
        outcome = Outcome(problem.id, problem.bin, **vars(measured))
        on_outcome(outcome)
        return outcome

    return Evaluation(tuple(await bounded_gather(one, problems, at_once)), protocol.primary)


async def _measure(
    protocol: EvaluationProtocol, task: Task, problem: Problem, learners: Sequence[Participant], seed: int
) -> Measured:
    heard = [Heard(learner.speaker) for learner in learners]
    listening = [replace(learner, speaker=speaker) for learner, speaker in zip(learners, heard, strict=True)]
    try:
        return await protocol.measure(problem, task, listening, named_rng(seed, "evaluate", problem.id))
    except ConversationError as error:
        transcripts = tuple(chat for speaker in heard for chat in speaker.chats)
        return Measured(protocol.unanswered(), "", transcripts, (Failure.of(error, LEARNER),))
