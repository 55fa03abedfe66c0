"""Measures how long a run takes on this machine, from a pilot: a few problems of each phase, played and learnt.

The learner replies as it is at the start of the run. Programs of the task reply themselves. A stand-in takes the place
of each partner whose calls are recorded, or who is a user's function: it sends nothing, is right at once and takes no
time. Many problems at once take less time each, so a stage repeats with more of them until it lasts `PATIENCE` seconds.

Not measured: loading, saving, held-out losses, and whatever the partners with a stand-in take. The pilot trains its
learner, which is of no use afterwards.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, zip_longest
from typing import Any, NamedTuple, TypeVar

import torch

from sparring.common.concurrency import bounded_gather, run_sync
from sparring.common.errors import RunStopped
from sparring.common.seeds import named_rng
from sparring.config.factory import name_of, role_fields
from sparring.config.recipe import Phase, Recipe
from sparring.core.attempts import Serving
from sparring.core.chat import Chat
from sparring.core.episode import Episode
from sparring.core.function_partner import FunctionPartner
from sparring.core.method import Method
from sparring.core.partner import Scores, Stance
from sparring.core.protocol import Participant
from sparring.core.rollout import play
from sparring.core.task import Problem, Task
from sparring.parsing.steps import Fault, Step
from sparring.parsing.thought import Answer
from sparring.runs.dry_run import REMARK
from sparring.runs.problem_order import ProblemOrder
from sparring.runs.recording import recordable_partners
from sparring.runs.selection import protocol_of
from sparring.training.learner import Learner
from sparring.training.trainer import Trainer, TrainingSet, needs_reference

PATIENCE = 5.0  # seconds
GROWTH = 4  # how many times as many problems the next try has
PIECES = 64  # the most that the pilot trains on
_Result = TypeVar("_Result")


class PhaseTime(NamedTuple):
    """The estimated seconds of a phase, and the number of `problems` that its playing was measured on.

    `learning` is None if the pilot gave nothing to train on.
    """

    phase: str
    problems: int
    playing: float
    evaluating: float
    learning: float | None = None


def time_in_words(recipe: Recipe, learner: Learner, episodes: int) -> Iterator[str]:
    """Yield what is known about the time of a run of `recipe`; `episodes` is the least number of pilot problems."""
    try:
        times = Pilot(recipe, learner, episodes).times()
    except (RunStopped, torch.OutOfMemoryError) as error:
        yield f"time: unknown; the pilot stopped: {str(error).splitlines()[0]}"
        return
    unknown = [one.phase for one in times if one.learning is None]
    parts = {
        "playing": sum(one.playing for one in times),
        "learning": sum(one.learning or 0.0 for one in times),
        "evaluating": sum(one.evaluating for one in times),
    }
    shown = ", ".join(f"{name} {_duration(seconds)}" for name, seconds in parts.items() if seconds)
    counts = sorted({one.problems for one in times})
    basis = f"{counts[0]:,} to {counts[-1]:,}" if len(counts) > 1 else f"{counts[0]:,}"
    yield (
        f"time ≈ {_duration(sum(parts.values()))} on this machine ({learner.model.device}): {shown}; "
        f"from {basis} problems of each phase and the learner as it is now"
    )
    yield "         (loading, saving and the replies of models, people and functions are not counted)"
    for name in unknown:
        yield f"{name}: no pilot problem gave an example to learn from; the time of its training is not counted"
    for number, phase in enumerate(recipe.phases, start=1):
        if phase.rounds is None:
            yield f"{number}-{name_of(phase.method)}: a budget ends the phase; the time counts one round"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


@dataclass(frozen=True)
class Pilot:
    """A pilot of `recipe` with its `learner`; each phase begins with `episodes` problems."""

    recipe: Recipe
    learner: Learner
    episodes: int

    def times(self) -> list[PhaseTime]:
        """Return the time of each phase. Training comes last: all that is sampled comes from the learner as it is."""
        order = ProblemOrder(self.recipe)
        trainer = Trainer(self.learner, self.recipe.phases[0].trainer)
        played = [self._play(number, phase, order) for number, phase in enumerate(self.recipe.phases)]
        return [
            result._replace(learning=self._learn(phase, episodes, order, trainer))
            for phase, (result, episodes) in zip(self.recipe.phases, played, strict=True)
        ]

    def _play(self, number: int, phase: Phase, order: ProblemOrder) -> tuple[PhaseTime, list[Episode]]:
        """Return the time of playing and evaluating in phase `number` (from 0), and the episodes."""
        problems = order.round(phase, order.total(number), 0)
        method = _with_stand_ins(phase.method, self.recipe.task)
        episodes, each = self._measured(lambda some: run_sync(self._episodes(method, some)), problems)
        played = (order.count(phase) + len(order.consulted(phase, number, 0))) * (phase.rounds or 1)
        evaluating = self._evaluating(phase, order, is_last=number + 1 == len(self.recipe.phases))
        return PhaseTime(f"{number + 1}-{name_of(method)}", len(episodes), each * played, evaluating), episodes

    def _measured(
        self, work: Callable[[Sequence[Problem]], _Result], problems: Sequence[Problem]
    ) -> tuple[_Result, float]:
        """Return what `work` makes of the first of `problems`, of more and more, and its seconds for each problem.

        The first try is a warm-up, unless it lasts long.
        """
        count, is_warm = min(self.episodes, len(problems)), False
        while True:
            start = time.monotonic()
            result = work(problems[:count])
            seconds = time.monotonic() - start
            if seconds > PATIENCE or (is_warm and count >= len(problems)):
                return result, seconds / count
            is_warm = True
            count = min(GROWTH * count, len(problems))

    async def _episodes(self, method: Method, problems: Sequence[Problem]) -> list[Episode]:
        has_logprobs = needs_reference(method.objective)
        return await play(
            method,
            self.recipe.task,
            problems,
            lambda name: self.learner.speaker(*name, logprobs=has_logprobs),
            ("pilot",),
            at_once=self.recipe.run.at_once,
            serving=Serving(),
        )

    def _evaluating(self, phase: Phase, order: ProblemOrder, is_last: bool) -> float:
        """Return the seconds of the learner's answers in the evaluations of `phase`, and in two tests if it `is_last`.

        There is an evaluation at the end of the phase and after each `evaluate_every` problems.
        """
        settings, task = self.recipe.run, self.recipe.task
        developed = task.problems("development")[: settings.evaluate_problems]
        tested = len(task.problems("test")[: settings.test_problems]) if is_last else 0
        if protocol_of(self.recipe) is None or not developed:
            return 0.0
        _, each = self._measured(lambda some: run_sync(self._answer(phase.method, some)), developed)
        every = settings.evaluate_every
        evaluations = 1 + (order.count(phase) * (phase.rounds or 1) // every if every else 0)
        return each * (evaluations * len(developed) + 2 * tested)

    async def _answer(self, method: Method, problems: Sequence[Problem]) -> None:
        async def one(problem: Problem) -> None:
            speaker = self.learner.speaker("pilot", "evaluate", problem.id)
            await Participant("learner", speaker, method, self.recipe.task.layout).try_answer(problem.chat)

        await bounded_gather(one, problems, self.recipe.run.at_once)

    def _learn(self, phase: Phase, episodes: list[Episode], order: ProblemOrder, trainer: Trainer) -> float | None:
        """Return the seconds of the training in `phase`; None if `episodes` teach nothing."""
        rng = named_rng(self.recipe.run.seed, "pilot", "harvest")
        experience = list(phase.method.harvest(episodes, [], self.recipe.task.layout, rng))
        trainer.begin(order.count(phase), phase.trainer)
        training_set = trainer.training_set(experience[:PIECES], phase.method.objective, 1, 2, ("pilot",))
        if not training_set.pieces:
            return None
        start = time.monotonic()
        training_set = replace(training_set, reference=trainer.reference(training_set))
        size = len(training_set.pieces)
        of_reference = (time.monotonic() - start) / size
        of_step = _seconds_for_each_piece(trainer, training_set)
        fresh = len(experience) / len(episodes) * order.count(phase)
        rounds = phase.rounds or 1
        pieces = rounds * fresh + sum(min(phase.replay, earlier * fresh) for earlier in range(rounds))
        return pieces * (of_reference + of_step * (phase.epochs or 1))


def _seconds_for_each_piece(trainer: Trainer, training_set: TrainingSet) -> float:
    """Return the seconds of training for each piece. The first step is a warm-up, so the set needs two epochs."""
    pieces, sizes = 0, cycle(_sizes(len(training_set.pieces), training_set.batch))
    seconds = 0.0
    for step, size in zip(trainer.learn(training_set), sizes, strict=False):
        if step.number > 1:
            pieces, seconds = pieces + size, seconds + step.seconds
        if seconds > PATIENCE:
            break
    return seconds / pieces


def _sizes(count: int, batch: int) -> list[int]:
    """Return the number of pieces in each step of an epoch."""
    return [min(batch, count - start) for start in range(0, count, batch)]


# ── stand-ins ───────────────────────────────────────────────────────────────────────────────────────────────


def _with_stand_ins(method: Method, task: Task) -> Method:
    """Return `method` with a stand-in for each partner that is recordable or a user's function."""
    kinds = role_fields(type(method))
    functions = [name for name in kinds if isinstance(getattr(method, name), FunctionPartner)]
    stand_ins: Any = dict.fromkeys([*recordable_partners(method), *functions], _RightAtOnce(task))
    return replace(method, **stand_ins) if stand_ins else method  # type: ignore[type-var]  # every method is a dataclass


@dataclass(frozen=True)
class _RightAtOnce:
    """Fills any role from the worked answer, so that an episode is as long as with a good partner."""

    task: Task

    async def remark(self, problem: Problem, chat: Chat, stance: Stance, rng: random.Random) -> str:
        return REMARK

    async def feedback(self, problem: Problem, attempt: str, rng: random.Random) -> Fault | None:
        """Return the first step that is not the worked answer's."""
        steps, worked = self._steps(attempt), self._steps(problem.rationale or "")
        wrong = [step for step, own in zip_longest(steps, worked) if step and (own is None or step.text != own.text)]
        fault = [*wrong, *steps[-1:]][:1]
        return Fault(fault[0].label, fault[0].text.partition("\n")[0]) if fault else Fault("1", "")

    async def improve(self, problem: Problem, attempt: str, fault: Fault, rng: random.Random) -> str:
        """Return `attempt` up to the fault and the worked answer from there on."""
        before, worked = self.task.layout.before(attempt, fault.step), problem.rationale or ""
        rest = self._steps(worked)[len(self._steps(before)) :]
        return before + (worked[rest[0].start :] if rest else worked)

    async def score(self, problem: Problem, answers: Sequence[Answer], rng: random.Random) -> Scores:
        """Return scores that differ, so that there is a pair to learn from."""
        return Scores(tuple(map(float, range(len(answers)))))

    async def attempt(self, problem: Problem, rng: random.Random) -> str:
        return problem.rationale or ""

    def _steps(self, answer: str) -> tuple[Step, ...]:
        return self.task.layout.split(answer)
