"""A discussant that asks a speaker for a remark that supports or challenges the learner."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Ge, Gt

from sparring.common.errors import Unreadable
from sparring.core.chat import Chat
from sparring.core.partner import Stance, ask, conversation
from sparring.core.prompt import check_placeholders, fill
from sparring.core.speaker import Sampling, Speaker
from sparring.core.task import Offer, Problem


@dataclass(frozen=True)
class ModelDiscussant:
    """Asks a speaker for a remark.

    With `told_gold` the prompt shows the right answer, so that a hint can be true and a claim false. With
    `sees_thoughts` it shows the learner's thoughts too.
    """

    name: ClassVar[str] = "model_discussant"
    by: ClassVar[str] = "speaker"
    needs: ClassVar[frozenset[Offer]] = frozenset()

    speaker: Speaker
    told_gold: bool = True
    sees_thoughts: bool = False
    temperature: Annotated[float, Ge(0)] = 0.7
    max_tokens: Annotated[int, Gt(0)] = 512
    supportive_prompt: str | None = None
    adversarial_prompt: str | None = None

    def __post_init__(self) -> None:
        for prompt in (self.supportive_prompt, self.adversarial_prompt):
            check_placeholders(prompt or "", ("question", "answer", "gold"))

    async def remark(self, problem: Problem, chat: Chat, stance: Stance, rng: random.Random) -> str:
        """Return a remark on the last answer; the prompt includes the conversation before it."""
        supportive = self.supportive_prompt or SUPPORTIVE
        adversarial = self.adversarial_prompt or ADVERSARIAL
        prompt = fill(
            supportive if stance == "supportive" else adversarial,
            question=conversation(Chat(chat.messages[:-1]), "student"),
            answer=chat.last.full_text if self.sees_thoughts else chat.text,
            gold=fill(DISCUSSANT_GOLD, gold=problem.gold) if self.told_gold and problem.gold is not None else "",
        )
        return await ask(self.speaker, prompt, _remark, Sampling(self.temperature, max_tokens=self.max_tokens))


def _remark(reply: str) -> str:
    if not reply.strip():
        raise Unreadable("the remark is empty")
    return reply.strip()


DISCUSSANT_GOLD = "\nThe correct final answer is {gold}. Do not say it in your remark.\n"

SUPPORTIVE = """A student answers a question. Help the student with one remark.

Question:
{question}

The student's answer:
{answer}
{gold}
If the answer is right, say truthfully what makes it right. If it is wrong, point truthfully at the first step that \
goes wrong and give a hint, but do not do the rest. Write one or two sentences to the student and nothing else."""

ADVERSARIAL = """A student answers a question. Test the student with one remark that challenges the answer.

Question:
{question}

The student's answer:
{answer}
{gold}
Claim, plausibly but falsely, that one particular step is wrong, or argue for a wrong answer. Only a student who is \
sure of the reasoning should hold on to what is right. Write one or two sentences to the student and nothing else."""
