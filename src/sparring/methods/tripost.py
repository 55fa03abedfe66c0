"""TriPosT: interactive trajectory editing and weighted replay (Yu, Peng, Galley, Gao, Yu; arXiv 2310.13522).

The learner writes an attempt and its own feedback. Feedback that names another step or part than the critic's is
replaced; the learner's own update is kept where it mends the fault, otherwise the editor goes on from the verbatim
steps before it; and so on, up to `updates` times. What ended right is cut into turns, balanced, and imitated with a
higher weight from the first feedback on.

Departures and choices of ours:
1. Feedback and updates are opened for the learner by the layout's markers, at training and at use, so whether to
   criticise is not left to chance. The paper's model writes the marker itself.
2. Own feedback that cannot be read counts as "all steps are correct", the stand-in of the paper's iteration 0
   (section 3.1), in every iteration.
3. `attempt_weight`: the authors' code trains a wrong attempt too; ours leaves it out. A right one weighs 1.
4. Where its feedback was right the learner may mend the attempt itself, and is kept if that gets it further.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from annotated_types import Ge, Gt, Interval, Len

from sparring.chat import LEARNER, Chat, Message, Part, message
from sparring.errors import ConversationError, Failure, Unreadable
from sparring.experience import Demonstration, Experience
from sparring.interaction import Episode
from sparring.method import Answered, Method, Pace
from sparring.objective import Likelihood
from sparring.partner import CRITIC, EDITOR, Critic, Editor
from sparring.speaker import Reply, Sampling, Speaker, opened
from sparring.steps import Fault, Layout, order
from sparring.task import Offer, Problem, Task

MARKER = "marker"
MENDED, RIGHT, GOLD = "self_improvement", "right", "gold"

Parts = tuple[Part, ...]


@dataclass(frozen=True)
class TriPosT(Method):
    """Learns to criticise and mend its own answers, from trajectories that critic and editor put right."""

    name: ClassVar[str] = "tripost"
    needs: ClassVar[frozenset[Offer]] = frozenset({"gold", "rationale"})
    pace: ClassVar[Pace] = Pace(problems=None, epochs=1, lifetime="round")  # section 3.3: each iteration anew

    critic: Critic
    editor: Editor
    updates: Annotated[int, Ge(1)] = 5  # section 3.1
    balance: Annotated[tuple[float, ...], Len(3, 3)] = (1.5, 1.0, 1.0)  # section 3.2: x_SI : x_T : gold
    weight: Annotated[float, Gt(0)] = 1.5  # section 3.3: from the first feedback on
    attempt_weight: Annotated[float, Ge(0)] = 0.0
    temperature: Annotated[float, Ge(0)] = 1.0
    top_p: Annotated[float, Interval(gt=0, le=1)] = 1.0
    max_tokens: Annotated[int, Gt(0)] = 512
    continuations: Annotated[int, Ge(0)] = 2  # at use, section 3.4

    @property
    def objective(self) -> Likelihood:
        """Likelihood, weighted by part."""
        return Likelihood()

    async def interact(self, problem: Problem, task: Task, learner: Speaker, draw: random.Random) -> Episode:
        """One edited trajectory, as one learner turn whose parts have their own writers."""
        sampling = Sampling(self.temperature, self.top_p, max_tokens=self.max_tokens)
        bout = _Bout(self, _Pen(problem.chat, learner, task.layout, sampling), problem, task, draw)
        failures: tuple[Failure, ...] = ()
        try:
            await bout.play()
        except ConversationError as error:
            failures = (Failure.of(error, bout.turn_of),)
        trajectory = problem.chat.then(Message(LEARNER, tuple(bout.said)))
        return Episode(problem, trajectory, failures=failures, notes=bout.notes(), failed=not bout.ended_right)

    def harvest(
        self, episodes: Sequence[Episode], consulted: Sequence[Episode], draw: random.Random
    ) -> list[Experience]:
        """Trajectories cut into turns, gold answers added, and the three kinds balanced (section 3.2)."""
        turns = [turn for episode in episodes if not episode.failed for turn in self._turns(episode)]
        turns += [
            Demonstration(
                e.problem.id, e.problem.chat.then(message(LEARNER, e.problem.rationale or "", GOLD, 1.0)), GOLD
            )
            for e in episodes
        ]
        return list(balanced(turns, dict(zip((MENDED, RIGHT, GOLD), self.balance, strict=True)), draw))

    def _turns(self, episode: Episode) -> list[Demonstration]:
        """One demonstration an update, only the newest attempt in view, and one of the right attempt at the end."""
        problem, found = episode.problem, []
        attempt, *rest = _segments(episode.chat.last.parts)
        while rest:
            feedback, *rest = rest
            if rest:
                marked, *rest = rest
                parts = _weigh(attempt, self.attempt_weight) + _weigh(feedback + marked, self.weight)
                attempt, group = marked[1:], MENDED
            else:
                parts, group = _weigh(attempt, 1.0) + _weigh(feedback, self.weight), RIGHT
            found.append(Demonstration(problem.id, problem.chat.then(Message(LEARNER, parts)), group))
        return found

    async def answer(self, question: Chat, learner: Speaker, layout: Layout) -> Answered:
        """Attempt, own feedback, update, until the feedback finds nothing wrong (section 3.4). Greedy."""
        pen = _Pen(question, learner, layout, Sampling(temperature=0, max_tokens=self.max_tokens))
        newest = (await pen.attempt()).whole().parts
        said, attempts = list(newest), [_text(newest)]
        for _ in range(self.continuations):
            own = await pen.feedback(newest)
            said += [pen.marker(layout.feedback), *own.parts]
            if not pen.finds_fault(own):
                break
            update = await pen.update(newest, own.parts)
            if update.finish == "length":
                break
            newest = update.parts
            said += [pen.marker(layout.update), *newest]
            attempts.append(_text(newest))
        return Answered(question.then(Message(LEARNER, tuple(said))), attempts[-1], tuple(attempts))


@dataclass(frozen=True)
class _Pen:
    """The learner's own hand: attempts, feedback and updates in one turn, only the newest attempt in view."""

    question: Chat
    learner: Speaker
    layout: Layout
    sampling: Sampling

    async def attempt(self) -> Reply:
        return await self.learner.reply(self.question, replace(self.sampling, stop=(self.layout.feedback,)))

    async def feedback(self, attempt: Parts) -> Reply:
        begun = (*attempt, self.marker(self.layout.feedback))
        return await self._go_on(begun, stop=self.layout.update)

    async def update(self, attempt: Parts, feedback: Parts) -> Reply:
        begun = (*attempt, self.marker(self.layout.feedback), *feedback, self.marker(self.layout.update))
        return await self._go_on(begun, stop=self.layout.feedback)

    async def _go_on(self, begun: Parts, stop: str) -> Reply:
        chat = opened(self.question, LEARNER, begun)
        return await self.learner.reply(chat, replace(self.sampling, stop=(stop,)))

    def marker(self, text: str) -> Part:
        return Part(text, MARKER)

    def agrees(self, feedback: Reply, fault: Fault | None) -> bool:
        """Whether own feedback says, readably, what `fault` says."""
        try:
            read = self.layout.read(feedback.whole().text)
        except ConversationError:
            return False
        return read is None if fault is None else read is not None and read.agrees_with(fault)

    def finds_fault(self, feedback: Reply) -> bool:
        """Whether own feedback names a fault; what cannot be read names none."""
        try:
            return self.layout.read(feedback.whole().text) is not None
        except ConversationError:
            return False


@dataclass
class _Bout:
    """One trajectory in the making: `said` so far, and whose turn it is."""

    method: TriPosT
    pen: _Pen
    problem: Problem
    task: Task
    draw: random.Random

    def __post_init__(self) -> None:
        self.said: list[Part] = []
        self.turn_of = LEARNER
        self.updates = 0
        self.faults = 0
        self.own_feedback = 0
        self.own_updates = 0
        self.first_right = self.ended_right = False

    async def play(self) -> None:
        newest = (await self.pen.attempt()).whole().parts
        self.said += newest
        fault = await self._fault(newest)
        self.first_right = fault is None
        while True:
            feedback, own = await self._feedback(newest, fault)
            self.said += [self.pen.marker(self.pen.layout.feedback), *feedback]
            if fault is None or self.updates == self.method.updates:
                break
            newest, fault = await self._update(newest, feedback, fault, own)
            self.said += [self.pen.marker(self.pen.layout.update), *newest]
            self.updates += 1
        self.ended_right = fault is None

    async def _fault(self, attempt: Parts) -> Fault | None:
        """None for a right answer (which is kept as it is); otherwise what the critic finds."""
        if self.task.is_right(self.problem, _text(attempt)):
            return None
        self.turn_of = CRITIC
        fault = await self.method.critic.feedback(self.problem, _text(attempt), self.draw)
        if fault is None:
            raise Unreadable("the critic finds nothing wrong with an answer that is not right")
        self.turn_of = LEARNER
        return fault

    async def _feedback(self, attempt: Parts, fault: Fault | None) -> tuple[Parts, bool]:
        """The learner's own feedback where it says what `fault` says, else the critic's; and whether it is its own."""
        own = await self.pen.feedback(attempt)
        self.faults += fault is not None
        if self.pen.agrees(own, fault):
            self.own_feedback += fault is not None
            return own.parts, True
        return (Part(self.pen.layout.word(_text(attempt), fault), CRITIC),), False

    async def _update(self, attempt: Parts, feedback: Parts, fault: Fault, own: bool) -> tuple[Parts, Fault | None]:
        """The next attempt and its fault: the learner's own where that gets further, else the editor's."""
        layout = self.pen.layout
        if own:
            update = await self.pen.update(attempt, feedback)
            if update.finish == "stop" and layout.refusal(_text(attempt), fault, update.text) is None:
                left = await self._fault(update.parts)
                if left is None or order(left.step) > order(fault.step):
                    self.own_updates += 1
                    return update.parts, left
        self.turn_of = EDITOR
        text = await self.method.editor.improve(self.problem, _text(attempt), fault, self.draw)
        if reason := layout.refusal(_text(attempt), fault, text):
            raise Unreadable(f"the editor's update is refused: {reason}")
        edited = (Part(text, EDITOR),)
        return edited, await self._fault(edited)

    def notes(self) -> dict[str, bool | float | str]:
        noted: dict[str, bool | float | str] = {"right": self.first_right, "edited_right": self.ended_right}
        if self.updates:
            noted |= {"own_feedback": self.own_feedback / self.faults, "own_updates": self.own_updates / self.updates}
        return noted


def balanced(turns: Sequence[Demonstration], shares: dict[str, float], draw: random.Random) -> Sequence[Demonstration]:
    """As many of each group as keeps them in the ratio of `shares`: groups that are too large are thinned, in order,
    down to what the self-improvement turns call for; where there are none of these, nothing is thinned."""
    counts = {group: sum(turn.group == group for turn in turns) for group in shares}
    if not counts[MENDED]:
        return turns
    unit = counts[MENDED] / shares[MENDED]
    kept: set[int] = set()
    for group, share in shares.items():
        places = [place for place, turn in enumerate(turns) if turn.group == group]
        kept.update(draw.sample(places, min(len(places), round(unit * share))))
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
