"""SAIE: supportive and adversarial discussion (Loem, Kaneko, Okazaki; arXiv 2311.08107).

The learner answers, a fixed partner supports or attacks the answer, and the learner is updated online from the
discussion. After training the learner answers alone.

Our sources leave these choices open, so they are ours:
1. When the partner takes which stance (`stance`), and its share. "alternate" switches with each turn and with each
   visit of a problem (`Problem.visit`); half of the problems begin with an attack.
2. What it learns (`learn`): the gold answer after the remark, the remark itself, or its own revision if that is
   right. `gold_weight` adds the gold answer to the question alone, which keeps the skill of answering in one turn.
3. How many turns, how many problems per update (the phase's `problems`), and the temperature.
4. `remarks = "shuffled"`, a control: what is learnt has the remark that another problem of the round got.
5. The partner may see the gold answer: a supportive hint must be true and an adversarial claim false. `states_gold`
   measures how often remarks give the answer away, whoever makes them.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Gt, Interval

from sparring.common.errors import ConfigError, ConversationError, Failure
from sparring.common.seeds import stream
from sparring.core.chat import LEARNER, Chat, message
from sparring.core.episode import Episode
from sparring.core.experience import Demonstration, Experience
from sparring.core.leakage import states_gold
from sparring.core.method import Answered, Method, Schedule, answered
from sparring.core.objective import Likelihood
from sparring.core.partner import DISCUSSANT, Discussant, Stance
from sparring.core.speaker import Sampling, Speaker
from sparring.core.task import Offer, Problem, Task
from sparring.parsing.steps import StepFormat

StanceRule = Literal["random", "by_correctness", "alternate", "supportive", "adversarial"]
LearnFrom = Literal["gold_after_remark", "remark", "own_correct_revision"]


@dataclass(frozen=True)
class SAIE(Method):
    """Learns from a discussant that supports or attacks the learner's current answer."""

    name: ClassVar[str] = "saie"
    needs: ClassVar[frozenset[Offer]] = frozenset({"gold"})
    schedule: ClassVar[Schedule] = Schedule(problems=16, epochs=1, lifetime="phase", updates_per_round=1)

    discussant: Discussant
    stance: StanceRule = "random"
    adversarial_share: Annotated[float, Interval(ge=0, le=1)] = 0.5
    learn: LearnFrom = "gold_after_remark"
    gold_weight: Annotated[float, Ge(0)] = 1.0
    remarks: Literal["own", "shuffled"] = "own"
    turns: Annotated[int, Ge(1)] = 1
    temperature: Annotated[float, Ge(0)] = 1.0
    top_p: Annotated[float, Interval(gt=0, le=1)] = 1.0
    max_tokens: Annotated[int, Gt(0)] = 512

    def __post_init__(self) -> None:
        if self.remarks == "shuffled" and (self.turns > 1 or self.learn == "own_correct_revision"):
            raise ConfigError(
                'remarks = "shuffled" needs discussions that end in their first remark '
                f'(got turns = {self.turns}, learn = "{self.learn}"); set turns = 1 and learn from gold or the remark'
            )

    @property
    def objective(self) -> Likelihood:
        """Likelihood of the discussion's lesson and of the gold answer."""
        return Likelihood()

    async def interact(self, problem: Problem, task: Task, learner: Speaker, rng: random.Random) -> Episode:
        """Ask for an attempt and a remark in each of `turns`, and for a last revision if the learner learns from it."""
        chat, right, stances, leaked = problem.chat, [], [], []
        sampling = Sampling(self.temperature, self.top_p, max_tokens=self.max_tokens)
        who = LEARNER
        try:
            for turn in range(self.turns):
                who = LEARNER
                reply = (await learner.reply(chat, sampling)).require_complete()
                chat = chat.then(reply.by(LEARNER))
                right.append(task.is_right(problem, reply.text))
                stances.append(self._stance(problem, right[-1], turn, rng))
                who = DISCUSSANT
                remark = await self.discussant.remark(problem, chat, stances[-1], rng)
                leaked.append(states_gold(task, problem, remark))
                chat = chat.say(DISCUSSANT, remark)
            if self.learn == "own_correct_revision":
                who = LEARNER
                revision = (await learner.reply(chat, sampling)).require_complete()
                chat = chat.then(revision.by(LEARNER))
                right.append(task.is_right(problem, revision.text))
        except ConversationError as error:
            return Episode(problem, chat, failures=(Failure.of(error, who),), failed=True)
        return Episode(problem, chat, notes=_notes(right, stances, leaked))

    def _stance(self, problem: Problem, right: bool, turn: int, rng: random.Random) -> Stance:
        match self.stance:
            case "supportive" | "adversarial":
                return self.stance
            case "by_correctness":  # challenge what is right, help what is wrong
                return "adversarial" if right else "supportive"
            case "alternate":
                first = stream("stance", problem.id)
                return "adversarial" if (first + problem.visit + turn) % 2 else "supportive"
            case "random":
                return "adversarial" if rng.random() < self.adversarial_share else "supportive"

    def harvest(
        self, episodes: Sequence[Episode], consulted: Sequence[Episode], layout: StepFormat, rng: random.Random
    ) -> list[Experience]:
        """Return the lesson of each discussion, and the gold answer to the question alone at `gold_weight`."""
        lessons: list[Experience] = []
        discussions = {n: episode.chat for n, episode in enumerate(episodes) if not episode.failed}
        if self.remarks == "shuffled":
            discussions = _shuffled(episodes, list(discussions), rng)
        for n, episode in enumerate(episodes):
            problem = episode.problem
            if n in discussions:
                lessons += self._lesson(episode, discussions[n])
            if self.gold_weight:
                alone = problem.chat.then(message(LEARNER, _gold(problem), "gold", self.gold_weight))
                lessons.append(Demonstration(problem.id, alone))
        return lessons

    def _lesson(self, episode: Episode, chat: Chat) -> list[Demonstration]:
        problem = episode.problem
        if self.learn == "gold_after_remark":
            return [Demonstration(problem.id, chat.then(message(LEARNER, _gold(problem), "gold", 1.0)), "discussion")]
        if self.learn == "remark":
            return [Demonstration(problem.id, _with_last_trained(chat), "remark", reader=DISCUSSANT)]
        if not episode.notes["right_after"]:
            return []
        return [Demonstration(problem.id, _with_last_trained(chat), "revision")]

    async def answer(self, question: Chat, learner: Speaker, layout: StepFormat) -> Answered:
        """Return one greedy reply to the question alone."""
        reply = await learner.reply(question, Sampling(temperature=0, max_tokens=self.max_tokens))
        return answered(question, reply.require_complete().by(LEARNER))


def _shuffled(episodes: Sequence[Episode], played: list[int], rng: random.Random) -> dict[int, Chat]:
    """Return the discussions of the episodes at the indices `played`, each with a remark on another problem.

    Left out are those for which the round has none: if one problem is more than half of the round, or all of it.
    """
    order = rng.sample(played, len(played))
    visits = Counter(episodes[n].problem.id for n in order)
    rank = {problem: number for number, problem in enumerate(visits)}
    order.sort(key=lambda n: rank[episodes[n].problem.id])  # visits of one problem side by side
    most = max(visits.values(), default=0)  # two visits of one problem cannot lie so far apart
    pairs = zip(order, order[most:] + order[:most], strict=True)
    return {
        n: Chat((*episodes[n].chat.messages[:-1], episodes[other].chat.last))
        for n, other in pairs
        if episodes[n].problem.id != episodes[other].problem.id
    }


def _with_last_trained(chat: Chat) -> Chat:
    return Chat((*chat.messages[:-1], chat.last.with_weight(1.0)))


def _gold(problem: Problem) -> str:
    return problem.rationale if problem.rationale is not None else problem.gold or ""


def _notes(right: Sequence[bool], stances: Sequence[Stance], leaked: Sequence[bool]) -> dict[str, bool | float | str]:
    """Return what an episode remembers: whether the first answer was right, the first stance, the share of remarks
    that state the gold answer, and, if there was a revision, how it compares with the first answer.
    """
    notes: dict[str, bool | float | str] = {"right": right[0], "adversarial": stances[0] == "adversarial"}
    notes["leaked"] = fmean(leaked)
    if leaked_when_wrong := [leak for leak, was_right in zip(leaked, right, strict=False) if not was_right]:
        notes["leaked_when_wrong"] = fmean(leaked_when_wrong)
    if len(right) > 1:
        notes["right_after"] = right[-1]
        under_attack = stances[0] == "adversarial"
        if right[0] and under_attack:
            notes["held_under_attack"] = right[1]
        if not right[0] and not under_attack:
            notes["repaired_with_support"] = right[1]
    return notes
