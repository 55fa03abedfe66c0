"""TriPosT: interactive trajectory editing and weighted replay (Yu, Peng, Galley, Gao, Yu; arXiv 2310.13522).

The learner writes an attempt and its own feedback. If its feedback names another step or part than the critic's, the
critic's replaces it. The learner's own update stays if it repairs the fault; otherwise the editor continues from the
verbatim steps before the fault. This repeats up to `updates` times. Trajectories that end right are cut into turns and
balanced. The learner imitates them, with a higher weight from the feedback on where something was improved.

Numbers without another source are from the authors' code; we have not read the body of the paper.
Departures and choices of ours:
1. The markers of the step format open feedback and updates for the learner, in training and at use. So chance does not
   decide whether it criticises. The authors' model writes the marker itself.
2. Own feedback that cannot be read counts as "all steps are correct" in every iteration. The authors write that
   feedback for the model in iteration 0 only.
3. `attempt_weight`: the authors also train the question and a wrong attempt, at weight 1. Here a wrong attempt has
   weight 0 and a right one weight 1.
4. We verify each of the learner's own feedbacks and updates. The authors keep a trajectory that the model wrote alone
   if its end is right.
5. An attempt that ends right with a wrong step is an error if the task can find that step (`task.is_sound`). The
   authors only require that the final response agrees with the last step; so do we where the task cannot check.
6. If nothing was improved, all turns are kept. The authors then train nothing.
7. One pass over the problems per iteration. The authors make up to five passes, until they have enough, and drop
   duplicates.
8. An update may still contain the quoted part; the authors demand that it does not. A checker may quote a truncated
   word, which the corrected word contains.
9. An `author`, if there is one, writes the attempts, and the learner writes nothing: the authors' baseline of
   fine-tuning on demonstrations written by others, with the same turns and the same balance.
10. At use, an update must pass the same checks as in training, with the learner's own feedback as the critic. It must
    keep the steps before the fault, change the faulty step, and have its own first fault later. The authors stop if the
    last line did not change, repeats itself or is numbered above 15.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import fmean
from typing import Annotated, ClassVar

from annotated_types import Ge, Gt, Interval, Len

from sparring.common.errors import ConversationError, Failure, Unreadable
from sparring.core.chat import LEARNER, Chat, Message, Part
from sparring.core.episode import Episode
from sparring.core.experience import Demonstration, Experience
from sparring.core.method import Answered, Method, Schedule
from sparring.core.objective import Likelihood
from sparring.core.partner import AUTHOR, CRITIC, EDITOR, Author, Critic, Editor
from sparring.core.speaker import Reply, Sampling, Speaker, prefill
from sparring.core.task import Offer, Problem, Task, is_sound
from sparring.parsing.steps import Fault, StepFormat, order

MARKER = "marker"
IMPROVED, OTHER, GOLD = "self_improvement", "other", "gold"

Parts = tuple[Part, ...]


@dataclass(frozen=True)
class TriPosT(Method):
    """Learns to criticise and repair its own answers, from trajectories that critic and editor corrected."""

    name: ClassVar[str] = "tripost"
    needs: ClassVar[frozenset[Offer]] = frozenset({"gold", "rationale"})
    schedule: ClassVar[Schedule] = Schedule(
        problems=None, epochs=1, lifetime="round"
    )  # each iteration has its own optimiser

    revises: ClassVar[bool] = True  # an answer may consist of several attempts

    critic: Critic
    editor: Editor
    author: Author | None = None
    updates: Annotated[int, Ge(1)] = 5
    balance: Annotated[tuple[float, ...], Len(3, 3)] = (1.5, 1.0, 1.0)  # improved : other : gold
    weight: Annotated[float, Gt(0)] = 1.5  # from the feedback on, where something was improved
    attempt_weight: Annotated[float, Ge(0)] = 0.0
    temperature: Annotated[float, Ge(0)] = 1.0
    top_p: Annotated[float, Interval(gt=0, le=1)] = 1.0
    max_tokens: Annotated[int, Gt(0)] = 512
    continuations: Annotated[int, Ge(0)] = 2  # at use

    @property
    def objective(self) -> Likelihood:
        """Likelihood, weighted by part."""
        return Likelihood()

    async def interact(self, problem: Problem, task: Task, learner: Speaker, rng: random.Random) -> Episode:
        """Write and edit one trajectory: one learner turn whose parts have their own writers."""
        step_format = task.layout
        sampling = Sampling(self.temperature, self.top_p, max_tokens=self.max_tokens)
        turn = _LearnerTurn(problem.chat, learner, step_format, sampling)
        written: list[Part] = []
        faults: list[Fault | None] = []  # of each attempt
        failure: Failure | None = None
        who = AUTHOR if self.author else LEARNER
        try:
            attempt = await self._attempt(problem, turn, rng)
            written += attempt
            who = CRITIC
            faults.append(await self._first_fault(task, problem, _text(attempt), rng))
            while True:
                fault = faults[-1]
                who = LEARNER
                own_feedback = None if self.author else await turn.right_feedback(attempt, fault)
                feedback = own_feedback or (Part(step_format.write_feedback(_text(attempt), fault), CRITIC),)
                written += [turn.marker(step_format.feedback), *feedback]
                if fault is None or len(faults) > self.updates:
                    break
                update: Parts | None = None
                if own_feedback:
                    reply = await turn.update(attempt, feedback)
                    who = CRITIC
                    if reply.finish != "length" and not step_format.refusal(_text(attempt), fault, reply.text):
                        next_fault = await self._first_fault(task, problem, reply.text, rng)
                        update = reply.parts if _gets_further(fault, next_fault) else None
                if update is None:
                    who = EDITOR
                    text = await self.editor.improve(problem, _text(attempt), fault, rng)
                    if reason := step_format.refusal(_text(attempt), fault, text):
                        raise Unreadable(f"the editor's update is refused: {reason}")
                    who = CRITIC
                    update, next_fault = (Part(text, EDITOR),), await self._first_fault(task, problem, text, rng)
                attempt = update
                written += [turn.marker(step_format.update), *attempt]
                faults.append(next_fault)
        except ConversationError as error:
            failure = Failure.of(error, who)
        chat = problem.chat.then(Message(LEARNER, tuple(written)))
        notes = _notes(task, problem, tuple(written), faults)
        failed = failure is not None or faults[-1] is not None
        return Episode(problem, chat, failures=(failure,) if failure else (), notes=notes, failed=failed)

    async def _attempt(self, problem: Problem, turn: _LearnerTurn, rng: random.Random) -> Parts:
        """Return the author's attempt, or the learner's if there is no author."""
        if self.author is None:
            return (await turn.attempt()).parts
        return (Part(await self.author.attempt(problem, rng), AUTHOR),)

    async def _first_fault(self, task: Task, problem: Problem, attempt: str, rng: random.Random) -> Fault | None:
        """Return None for a sound attempt, otherwise what the critic finds; Unreadable if the critic finds nothing."""
        if is_sound(task, problem, attempt):
            return None
        fault = await self.critic.feedback(problem, attempt, rng)
        if fault is None:
            raise Unreadable("the critic found no fault in an attempt that is wrong")
        return fault

    def harvest(
        self, episodes: Sequence[Episode], consulted: Sequence[Episode], layout: StepFormat, rng: random.Random
    ) -> list[Experience]:
        """Cut trajectories into turns, add gold answers, and balance the three kinds."""
        turns = [turn for episode in episodes if not episode.failed for turn in self._turns(episode)]
        gold = [_gold(episode.problem, layout) for episode in episodes]
        return list(balanced([*turns, *gold], self.balance, rng))

    def _turns(self, episode: Episode) -> list[Demonstration]:
        """Return one demonstration per update, each with only the newest attempt, and one of the right attempt.

        If an update got no further, return only the first attempt with its feedback.
        """
        attempt, *rest = _segments(episode.chat.last.parts)
        if len(rest) == 1:  # the first attempt was right
            return [_turn(episode.problem, _weigh(attempt + rest[0], 1.0), OTHER)]
        if not episode.notes["progress"]:
            wrong, feedback = _weigh(attempt, self.attempt_weight), _weigh(rest[0], self.weight)
            return [_turn(episode.problem, wrong + feedback, OTHER)]
        turns = []
        for feedback, update in zip(rest[::2], rest[1::2], strict=False):
            improved = _weigh(attempt, self.attempt_weight) + _weigh(feedback + update, self.weight)
            turns.append(_turn(episode.problem, improved, IMPROVED))
            attempt = update[1:]  # without the marker
        last = _weigh(attempt, 1.0) + _weigh(rest[-1], self.weight)
        return [*turns, _turn(episode.problem, last, OTHER)]

    async def answer(self, question: Chat, learner: Speaker, layout: StepFormat) -> Answered:
        """Attempt, criticise, update, greedily, until feedback names no fault or an update makes no progress."""
        turn = _LearnerTurn(question, learner, layout, Sampling(temperature=0, max_tokens=self.max_tokens))
        attempt = (await turn.attempt()).parts
        feedback = await turn.feedback(attempt)
        fault = turn.read(feedback, attempt)
        written, attempts = [*attempt, turn.marker(layout.feedback), *feedback.parts], [_text(attempt)]
        while fault is not None and len(attempts) <= self.continuations:
            update = await turn.update(attempt, feedback.parts)
            if update.finish == "length" or layout.refusal(attempts[-1], fault, update.text):
                break
            attempt, feedback = update.parts, await turn.feedback(update.parts)
            next_fault = turn.read(feedback, attempt)
            if not _gets_further(fault, next_fault):
                break
            fault = next_fault
            written += [turn.marker(layout.update), *attempt, turn.marker(layout.feedback), *feedback.parts]
            attempts.append(update.text)
        return Answered(question.then(Message(LEARNER, tuple(written))), attempts[-1], tuple(attempts))


@dataclass(frozen=True)
class _LearnerTurn:
    """Samples the learner's attempts, feedback and updates in one turn, with only the newest attempt in view."""

    question: Chat
    learner: Speaker
    step_format: StepFormat
    sampling: Sampling

    async def attempt(self) -> Reply:
        sampling = replace(self.sampling, stop=(self.step_format.feedback,))
        return (await self.learner.reply(self.question, sampling)).require_complete()

    async def feedback(self, attempt: Parts) -> Reply:
        prefix = (*attempt, self.marker(self.step_format.feedback))
        return await self._continue(prefix, stop=self.step_format.update)

    async def update(self, attempt: Parts, feedback: Parts) -> Reply:
        prefix = (*attempt, self.marker(self.step_format.feedback), *feedback, self.marker(self.step_format.update))
        return await self._continue(prefix, stop=self.step_format.feedback)

    async def _continue(self, prefix: Parts, stop: str) -> Reply:
        chat = prefill(self.question, LEARNER, prefix)
        return await self.learner.reply(chat, replace(self.sampling, stop=(stop,)))

    def marker(self, text: str) -> Part:
        return Part(text, MARKER)

    async def right_feedback(self, attempt: Parts, fault: Fault | None) -> Parts | None:
        """Return own feedback if it can be read and says the same as `fault`, otherwise None."""
        feedback = await self.feedback(attempt)
        try:
            own_fault = self._parse(feedback, attempt)
        except ConversationError:
            return None
        agrees = own_fault is None if fault is None else own_fault is not None and own_fault.agrees_with(fault)
        return feedback.parts if agrees else None

    def read(self, feedback: Reply, attempt: Parts) -> Fault | None:
        """Return the fault that own feedback names; None if it names none or cannot be read."""
        try:
            return self._parse(feedback, attempt)
        except ConversationError:
            return None

    def _parse(self, feedback: Reply, attempt: Parts) -> Fault | None:
        fault = self.step_format.read_feedback(feedback.require_complete().text)
        return None if fault is None else self.step_format.locate(_text(attempt), fault)


def _gets_further(before: Fault | None, after: Fault | None) -> bool:
    """Return whether an update made progress: no fault is left, or the first fault comes later than before."""
    return after is None or (before is not None and order(after.step) > order(before.step))


def _notes(
    task: Task, problem: Problem, written: Parts, faults: Sequence[Fault | None]
) -> dict[str, bool | float | str]:
    """Return what an episode remembers.

    `right` and `lucky` (right by a wrong step) describe the first answer, `edited_right` the last one. `leaked` is the
    share of faults whose critic stated the gold answer. If there were updates: the share of feedback and of updates
    that is the learner's own, and whether each update got further.
    """
    attempt, *rest = _segments(written)
    right = task.is_right(problem, _text(attempt))
    sound = bool(faults) and faults[0] is None
    notes: dict[str, bool | float | str] = {"right": right, "lucky": right and not sound}
    notes["edited_right"] = bool(faults) and faults[-1] is None
    if criticised := [fault for fault in faults if fault is not None]:
        notes["leaked"] = fmean(fault.leaked for fault in criticised)
    if updates := rest[1::2]:
        notes["own_feedback"] = fmean(feedback[-1].writer == LEARNER for feedback in rest[0 : 2 * len(updates) : 2])
        notes["own_updates"] = fmean(update[-1].writer == LEARNER for update in updates)
        notes["progress"] = all(_gets_further(before, after) for before, after in pairwise(faults))
    return notes


def _turn(problem: Problem, parts: Parts, group: str) -> Demonstration:
    return Demonstration(problem.id, problem.chat.then(Message(LEARNER, parts)), group)


def _gold(problem: Problem, step_format: StepFormat) -> Demonstration:
    """Return the worked answer followed by the feedback that it is right (authors' code)."""
    answer = problem.rationale or ""
    texts = ((answer, GOLD), (step_format.feedback, MARKER), (step_format.write_feedback(answer, None), GOLD))
    return _turn(problem, tuple(Part(text, writer, weight=1.0) for text, writer in texts), GOLD)


def balanced(turns: Sequence[Demonstration], shares: Sequence[float], rng: random.Random) -> Sequence[Demonstration]:
    """Return all improved turns and random others and gold in the ratio of `shares` (improved, other, gold), in order.

    The number of others follows from the number of improved turns, the number of gold from the number of others. If
    nothing was improved, all turns are returned.
    """
    by_group = {group: [n for n, turn in enumerate(turns) if turn.group == group] for group in (IMPROVED, OTHER, GOLD)}
    if not by_group[IMPROVED]:
        return turns
    improved, other, gold = shares
    others = min(len(by_group[OTHER]), math.ceil(len(by_group[IMPROVED]) * other / improved))
    golden = min(len(by_group[GOLD]), math.ceil(others * gold / other) if other else len(by_group[GOLD]))
    chosen = {*by_group[IMPROVED], *rng.sample(by_group[OTHER], others), *rng.sample(by_group[GOLD], golden)}
    return [turn for index, turn in enumerate(turns) if index in chosen]


def _segments(parts: Parts) -> list[Parts]:
    """Cut `parts` before each marker: the attempt, then feedback and updates in turn, each with its marker."""
    segments: list[list[Part]] = [[]]
    for part in parts:
        if part.writer == MARKER:
            segments.append([])
        segments[-1].append(part)
    return [tuple(segment) for segment in segments]


def _weigh(parts: Parts, weight: float) -> Parts:
    return tuple(replace(part, weight=weight) for part in parts)


def _text(parts: Parts) -> str:
    return "".join(part.text for part in parts if not part.thought)
