"""A method answers three questions, and everything else is written once for all methods.

`interact`: how do learner and partner interact on one problem? It is asynchronous and sees one problem; the engine
runs hundreds at once. `harvest`: what does a round of episodes teach? `answer`: how is a learner trained this way used
afterwards? It gets the question and never the gold answer.

A method is a frozen dataclass: its fields are its hyperparameters, and its fields typed as a role of `partner` are
the roles that a recipe fills.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, runtime_checkable

from sparring.core.chat import Chat, Message
from sparring.core.episode import Episode
from sparring.core.experience import Experience
from sparring.core.objective import Objective
from sparring.core.speaker import Speaker
from sparring.core.task import Offer, Problem, Task
from sparring.parsing.steps import StepFormat


@dataclass(frozen=True)
class Answered:
    """How a question was answered: the final response, and before it every attempt, the first one first."""

    chat: Chat
    response: str
    attempts: tuple[str, ...]


@dataclass(frozen=True)
class Schedule:
    """How a method likes to be run unless the phase says otherwise.

    `problems` a round (None: the whole training split), `epochs` over what a round teaches, how long optimiser and
    learning-rate schedule live (a "phase" for on-line methods, a "round" for replay methods), and into how many steps a
    round's experience is split (None: as many as the trainer's `batch` makes).
    """

    problems: int | None
    epochs: int
    lifetime: Literal["phase", "round"]
    updates_per_round: int | None = None


@runtime_checkable
class Method(Protocol):
    """One way for a learner to learn from a partner."""

    name: ClassVar[str]
    needs: ClassVar[frozenset[Offer]]
    schedule: ClassVar[Schedule]

    @property
    def objective(self) -> Objective:
        """What training on its experience lowers."""
        ...

    @property
    def consults(self) -> int:
        """How many development problems it wants played each round to choose its own settings by; a method that
        names this protocol as its parent, and has nothing to choose, wants none."""
        return 0

    async def interact(self, problem: Problem, task: Task, learner: Speaker, rng: random.Random) -> Episode:
        """One problem's episode. Failures of either side are recorded in it, not raised."""
        ...

    def harvest(
        self, episodes: Sequence[Episode], consulted: Sequence[Episode], layout: StepFormat, rng: random.Random
    ) -> list[Experience]:
        """What `episodes` teach, in the task's `layout`; `consulted` are those on development problems, never learnt
        from."""
        ...

    async def answer(self, question: Chat, learner: Speaker, layout: StepFormat) -> Answered:
        """How the trained learner answers `question`. Raises ConversationError where it gives no answer."""
        ...


def answered(chat: Chat, said: Message) -> Answered:
    """The plainest answer: one reply, given as it is."""
    return Answered(chat.then(said), said.text, (said.text,))
