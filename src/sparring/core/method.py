"""The interface of a training method: three functions. The engine does everything else for all methods.

`interact` plays one problem with learner and partner; it is asynchronous, and the engine runs hundreds at once.
`harvest` turns the episodes of a round into training examples. `answer` uses the trained learner; it gets the question
and never the gold answer.

A method is a frozen dataclass. Its fields are its hyperparameters; a recipe fills the fields typed as a role of
`partner`. With `offline = True`, its examples come from the task's rows alone: no partner, no sampled reply.
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
    """The answer to a question: the chat, the final response, and all attempts in order (the last is the response)."""

    chat: Chat
    response: str
    attempts: tuple[str, ...]


@dataclass(frozen=True)
class Schedule:
    """A method's defaults; a phase may override them.

    `problems` per round (None: the whole training split) and `epochs` over a round's examples. `lifetime` is that of
    optimiser and learning-rate schedule: "phase" for online methods, "round" for replay methods. `updates_per_round` is
    the number of steps that a round's examples are split into (None: the trainer's `batch_size` decides).
    """

    problems: int | None
    epochs: int
    lifetime: Literal["phase", "round"]
    updates_per_round: int | None = None


@runtime_checkable
class Method(Protocol):
    """A way for a learner to learn from a partner."""

    name: ClassVar[str]
    needs: ClassVar[frozenset[Offer]]
    schedule: ClassVar[Schedule]

    @property
    def objective(self) -> Objective:
        """The loss that training on its examples minimises."""
        ...

    @property
    def consults(self) -> int:
        """The number of development problems to play each round, from which the method chooses its own settings.

        Subclasses inherit 0: they have nothing to choose.
        """
        return 0

    async def interact(self, problem: Problem, task: Task, learner: Speaker, rng: random.Random) -> Episode:
        """Play one problem. Failures of learner or partner are recorded in the episode, not raised."""
        ...

    def harvest(
        self, episodes: Sequence[Episode], consulted: Sequence[Episode], layout: StepFormat, rng: random.Random
    ) -> list[Experience]:
        """Turn `episodes` into training examples, in the task's `layout`.

        `consulted` are episodes on development problems; they are never trained on.
        """
        ...

    async def answer(self, question: Chat, learner: Speaker, layout: StepFormat) -> Answered:
        """Return the trained learner's answer to `question`; ConversationError if it gives none."""
        ...


def answered(chat: Chat, reply: Message) -> Answered:
    """Return the answer that consists of one unchanged reply."""
    return Answered(chat.then(reply), reply.text, (reply.text,))
