"""TriPosT: interactive trajectory editing and weighted replay (Yu, Peng, Galley, Gao, Yu; arXiv 2310.13522).

The learner writes an attempt and its own feedback. Feedback that names another step or part than the critic's is
replaced; the learner's own update is kept where it mends the fault, otherwise the editor goes on from the verbatim
steps before it; and so on, up to `updates` times. What ended right is cut into turns, balanced, and imitated with a
higher weight from the feedback on where something was improved.

Numbers without another source are from the authors' code: nobody here has read the paper's body.
Departures and choices of ours:
1. Feedback and updates are opened for the learner by the layout's markers, at training and at use, so whether to
   criticise is not left to chance. The authors' model writes the marker itself.
2. Own feedback that cannot be read counts as "all steps are correct" in every iteration. The authors write that
   feedback for the model in iteration 0 only.
3. `attempt_weight`: the authors train the question and a wrong attempt too, at weight 1. Here a wrong attempt weighs 0,
   and a right one 1.
4. Each of the learner's own feedbacks and updates is verified. The authors keep a trajectory that the model wrote alone
   if its end is right.
5. An attempt that ends right with a wrong step is an error where the task can find that step (`task.is_sound`). The
   authors only ask that the final response agrees with the last step; so do we where the task cannot check.
6. Where nothing was improved, nothing is thinned. The authors then train nothing.
7. One pass over the problems an iteration. The authors make up to five, until they have enough, and drop duplicates.
8. An update need not be rid of the quoted part, as the authors demand: where a checker quotes a word that was cut
   short, the word put right holds it.
9. At use an update must pass the same checks as in training, with the learner's own feedback as the critic: it keeps
   the steps before the fault, changes the faulty one, and its own first fault comes later. The authors stop where the
   last line did not change, repeats itself or is numbered above 15.
"""

from __future__ import annotations

import math
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import fmean
from typing import Annotated, ClassVar, TypeVar

from annotated_types import Ge, Gt, Interval, Len

from sparring.common.errors import ConversationError, Failure, Unreadable
from sparring.core.chat import LEARNER, Chat, Message, Part
from sparring.core.episode import Episode
from sparring.core.experience import Demonstration, Experience
from sparring.core.method import Answered, Method, Schedule
from sparring.core.objective import Likelihood
from sparring.core.partner import CRITIC, EDITOR, Critic, Editor
from sparring.core.speaker import Reply, Sampling, Speaker, prefill
from sparring.core.task import Offer, Problem, Task, is_sound
from sparring.parsing.steps import Fault, StepFormat, order

MARKER = "marker"
IMPROVED, OTHER, GOLD = "self_improvement", "other", "gold"

Parts = tuple[Part, ...]
Find = Callable[[str], Awaitable[Fault | None]]  # what is wrong with an attempt
Said = TypeVar("Said")


@dataclass(frozen=True)
class TriPosT(Method):
    """Learns to criticise and mend its own answers, from trajectories that critic and editor put right."""

    name: ClassVar[str] = "tripost"
    needs: ClassVar[frozenset[Offer]] = frozenset({"gold", "rationale"})
    schedule: ClassVar[Schedule] = Schedule(
        problems=None, epochs=1, lifetime="round"
    )  # each iteration has its own optimiser

    critic: Critic
    editor: Editor
    updates: Annotated[int, Ge(1)] = 5
    balance: Annotated[tuple[float, ...], Len(3, 3)] = (1.5, 1.0, 1.0)  # improved : other : gold
    weight: Annotated[float, Gt(0)] = 1.5  # from the feedback on, of what was improved
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
        """One edited trajectory, as one learner turn whose parts have their own writers."""
        layout = task.layout
        hand = _Hand(problem.chat, learner, layout, Sampling(self.temperature, self.top_p, max_tokens=self.max_tokens))

        async def find(attempt: str) -> Fault | None:
            """None for an attempt that is right to its end, which stays as it is; otherwise what the critic finds."""
            return None if is_sound(task, problem, attempt) else await self._criticised(problem, attempt, rng)

        written: list[Part] = []
        faults: list[Fault | None] = []
        failure: Failure | None = None
        try:
            attempt = (await _by(LEARNER, hand.attempt())).parts
            written += attempt
            faults.append(await find(_text(attempt)))
            while True:
                own = await _by(LEARNER, hand.feedback(attempt))
                found = hand.says(own, attempt, faults[-1])
                feedback = own.parts if found else (Part(layout.word(_text(attempt), faults[-1]), CRITIC),)
                written += [hand.marker(layout.feedback), *feedback]
                if faults[-1] is None or len(faults) > self.updates:
                    break
                update = await self._own_update(hand, attempt, feedback, faults[-1], find) if found else None
                if update is None:
                    text = await self._edited(problem, layout, _text(attempt), faults[-1], rng)
                    update = (Part(text, EDITOR),), await find(text)
                attempt, fault = update
                written += [hand.marker(layout.update), *attempt]
                faults.append(fault)
        except _Failed as failed:
            failure = failed.failure
        return Episode(
            problem,
            problem.chat.then(Message(LEARNER, tuple(written))),
            failures=(failure,) if failure else (),
            notes=_notes(task, problem, tuple(written), faults),
            failed=failure is not None or faults[-1] is not None,
        )

    async def _criticised(self, problem: Problem, attempt: str, rng: random.Random) -> Fault:
        fault = await _by(CRITIC, self.critic.feedback(problem, attempt, rng))
        if fault is None:
            raise _refused(CRITIC, "the critic finds nothing wrong with an answer that is not right")
        return fault

    async def _own_update(
        self, hand: _Hand, attempt: Parts, feedback: Parts, fault: Fault, find: Find
    ) -> tuple[Parts, Fault | None] | None:
        """The learner's own update and its fault; None where it does not get further."""
        update = await _by(LEARNER, hand.update(attempt, feedback))
        if update.finish == "length" or hand.layout.refusal(_text(attempt), fault, update.text):
            return None
        left = await find(update.text)
        return (update.parts, left) if _gets_further(fault, left) else None

    async def _edited(
        self, problem: Problem, layout: StepFormat, attempt: str, fault: Fault, rng: random.Random
    ) -> str:
        """The editor's update."""
        text = await _by(EDITOR, self.editor.improve(problem, attempt, fault, rng))
        if reason := layout.refusal(attempt, fault, text):
            raise _refused(EDITOR, f"the editor's update is refused: {reason}")
        return text

    def harvest(
        self, episodes: Sequence[Episode], consulted: Sequence[Episode], layout: StepFormat, rng: random.Random
    ) -> list[Experience]:
        """Trajectories cut into turns, gold answers added, and the three kinds balanced."""
        turns = [turn for episode in episodes if not episode.failed for turn in self._turns(episode)]
        gold = [_gold(episode.problem, layout) for episode in episodes]
        return list(balanced([*turns, *gold], self.balance, rng))

    def _turns(self, episode: Episode) -> list[Demonstration]:
        """One demonstration an update, only the newest attempt in view, and one of the right attempt at the end. Where
        an update got no further, the first feedback alone is learnt."""
        attempt, *rest = _segments(episode.chat.last.parts)
        if len(rest) == 1:  # right at once
            return [_turn(episode.problem, _weigh(attempt + rest[0], 1.0), OTHER)]
        wrong, feedback = _weigh(attempt, self.attempt_weight), _weigh(rest[0], self.weight)
        if not episode.notes["progress"]:
            return [_turn(episode.problem, wrong + feedback, OTHER)]
        turns = []
        for feedback, update in zip(rest[::2], rest[1::2], strict=False):
            improved = _weigh(attempt, self.attempt_weight) + _weigh(feedback + update, self.weight)
            turns.append(_turn(episode.problem, improved, IMPROVED))
            attempt = update[1:]
        last = _weigh(attempt, 1.0) + _weigh(rest[-1], self.weight)
        return [*turns, _turn(episode.problem, last, OTHER)]

    async def answer(self, question: Chat, learner: Speaker, layout: StepFormat) -> Answered:
        """Attempt, own feedback, update, until feedback finds nothing wrong or an update gets no further. Greedy."""
        hand = _Hand(question, learner, layout, Sampling(temperature=0, max_tokens=self.max_tokens))
        newest = (await hand.attempt()).parts
        own = await hand.feedback(newest)
        fault = hand.read(own, newest)
        said, attempts = [*newest, hand.marker(layout.feedback), *own.parts], [_text(newest)]
        while fault is not None and len(attempts) <= self.continuations:
            update = await hand.update(newest, own.parts)
            if update.finish == "length" or layout.refusal(attempts[-1], fault, update.text):
                break
            newest, own = update.parts, await hand.feedback(update.parts)
            left = hand.read(own, newest)
            if not _gets_further(fault, left):
                break
            fault = left
            said += [hand.marker(layout.update), *newest, hand.marker(layout.feedback), *own.parts]
            attempts.append(update.text)
        return Answered(question.then(Message(LEARNER, tuple(said))), attempts[-1], tuple(attempts))


@dataclass(frozen=True)
class _Hand:
    """The learner's own hand: attempts, feedback and updates in one turn, only the newest attempt in view."""

    question: Chat
    learner: Speaker
    layout: StepFormat
    sampling: Sampling

    async def attempt(self) -> Reply:
        sampling = replace(self.sampling, stop=(self.layout.feedback,))
        return (await self.learner.reply(self.question, sampling)).require_complete()

    async def feedback(self, attempt: Parts) -> Reply:
        begun = (*attempt, self.marker(self.layout.feedback))
        return await self._continued(begun, stop=self.layout.update)

    async def update(self, attempt: Parts, feedback: Parts) -> Reply:
        begun = (*attempt, self.marker(self.layout.feedback), *feedback, self.marker(self.layout.update))
        return await self._continued(begun, stop=self.layout.feedback)

    async def _continued(self, begun: Parts, stop: str) -> Reply:
        chat = prefill(self.question, LEARNER, begun)
        return await self.learner.reply(chat, replace(self.sampling, stop=(stop,)))

    def marker(self, text: str) -> Part:
        return Part(text, MARKER)

    def says(self, feedback: Reply, attempt: Parts, fault: Fault | None) -> bool:
        """Whether own feedback says, readably, what `fault` says."""
        try:
            named = self._named(feedback, attempt)
        except ConversationError:
            return False
        return named is None if fault is None else named is not None and named.agrees_with(fault)

    def read(self, feedback: Reply, attempt: Parts) -> Fault | None:
        """The fault that own feedback names; feedback that cannot be read names none."""
        try:
            return self._named(feedback, attempt)
        except ConversationError:
            return None

    def _named(self, feedback: Reply, attempt: Parts) -> Fault | None:
        fault = self.layout.read(feedback.require_complete().text)
        return None if fault is None else self.layout.located(_text(attempt), fault)


class _Failed(Exception):
    """A reply that was not had; `failure` says whose."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.reason)
        self.failure = failure


async def _by(who: str, words: Awaitable[Said]) -> Said:
    """`words`, whose failure is one of `who`."""
    try:
        return await words
    except ConversationError as error:
        raise _Failed(Failure.of(error, who)) from error


def _refused(who: str, reason: str) -> _Failed:
    return _Failed(Failure.of(Unreadable(reason), who))


def _gets_further(before: Fault | None, after: Fault | None) -> bool:
    """Whether an update that turns one fault into the other made progress."""
    return after is None or (before is not None and order(after.step) > order(before.step))


def _notes(
    task: Task, problem: Problem, written: Parts, faults: Sequence[Fault | None]
) -> dict[str, bool | float | str]:
    """The first answer's rightness, and whether it was lucky (right, by a wrong step); how the trajectory ended; and
    where it was updated, the learner's own share of feedback and updates, and whether each update got further."""
    attempt, *rest = _segments(written)
    right = task.is_right(problem, _text(attempt))
    sound = bool(faults) and faults[0] is None
    notes: dict[str, bool | float | str] = {"right": right, "lucky": right and not sound}
    notes["edited_right"] = bool(faults) and faults[-1] is None
    if found := [fault for fault in faults if fault is not None]:
        notes["leaked"] = fmean(fault.leaked for fault in found)
    if updates := rest[1::2]:
        notes["own_feedback"] = fmean(feedback[-1].writer == LEARNER for feedback in rest[0 : 2 * len(updates) : 2])
        notes["own_updates"] = fmean(update[-1].writer == LEARNER for update in updates)
        notes["progress"] = all(_gets_further(before, after) for before, after in pairwise(faults))
    return notes


def _turn(problem: Problem, parts: Parts, group: str) -> Demonstration:
    return Demonstration(problem.id, problem.chat.then(Message(LEARNER, parts)), group)


def _gold(problem: Problem, layout: StepFormat) -> Demonstration:
    """The worked answer, followed by the feedback that it is right (authors' code)."""
    answer = problem.rationale or ""
    words = ((answer, GOLD), (layout.feedback, MARKER), (layout.word(answer, None), GOLD))
    return _turn(problem, tuple(Part(text, writer, weight=1.0) for text, writer in words), GOLD)


def balanced(turns: Sequence[Demonstration], shares: Sequence[float], rng: random.Random) -> Sequence[Demonstration]:
    """What was improved, and drawn at random, in order, as many others as keep the ratio of `shares` to it, and as much
    gold as keeps its ratio to those; where nothing was improved, nothing is left out."""
    places = {group: [n for n, turn in enumerate(turns) if turn.group == group] for group in (IMPROVED, OTHER, GOLD)}
    if not places[IMPROVED]:
        return turns
    improved, other, gold = shares
    others = min(len(places[OTHER]), math.ceil(len(places[IMPROVED]) * other / improved))
    golden = min(len(places[GOLD]), math.ceil(others * gold / other) if other else len(places[GOLD]))
    kept = {*places[IMPROVED], *rng.sample(places[OTHER], others), *rng.sample(places[GOLD], golden)}
    return [turn for place, turn in enumerate(turns) if place in kept]


def _segments(parts: Parts) -> list[Parts]:
    """`parts` cut before each marker: the attempt, then feedback and updates in turn, each with its marker."""
    found: list[list[Part]] = [[]]
    for part in parts:
        if part.writer == MARKER:
            found.append([])
        found[-1].append(part)
    return [tuple(segment) for segment in found]


def _weigh(parts: Parts, weight: float) -> Parts:
    return tuple(replace(part, weight=weight) for part in parts)


def _text(parts: Parts) -> str:
    return "".join(part.text for part in parts if not part.thought)
