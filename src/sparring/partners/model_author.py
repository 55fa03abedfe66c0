"""An author that asks a speaker for an attempt, after worked answers to other problems."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Ge, Gt

from sparring.common.errors import Unreadable
from sparring.core.partner import ask, conversation
from sparring.core.prompt import check_placeholders, fill
from sparring.core.speaker import Sampling, Speaker
from sparring.core.task import Offer, Problem, Task


@dataclass(frozen=True)
class ModelAuthor:
    """Asks a speaker to answer.

    The prompt shows `examples` worked answers to other training problems, drawn anew for each attempt, so that the
    speaker keeps to the layout.
    """

    name: ClassVar[str] = "model_author"
    by: ClassVar[str] = "speaker"
    needs: ClassVar[frozenset[Offer]] = frozenset({"rationale"})

    speaker: Speaker
    task: Task
    examples: Annotated[int, Ge(0)] = 3
    temperature: Annotated[float, Ge(0)] = 1.0  # TriPosT, authors' code
    max_tokens: Annotated[int, Gt(0)] = 1024
    prompt: str | None = None

    def __post_init__(self) -> None:
        check_placeholders(self.prompt or "", ("question", "examples"))

    async def attempt(self, problem: Problem, rng: random.Random) -> str:
        """Return the speaker's answer, another one at each visit of the problem."""
        prompt = fill(
            self.prompt or AUTHOR_PROMPT,
            question=conversation(problem.chat, "student"),
            examples="".join(self._example(other) for other in self._others(problem, rng)),
        )
        sampling = Sampling(self.temperature, max_tokens=self.max_tokens)
        return await ask(self.speaker, prompt, _attempt, sampling, sample=problem.visit)

    def _others(self, problem: Problem, rng: random.Random) -> list[Problem]:
        """Draw the problems of the examples."""
        problems = self.task.problems("train")
        drawn = rng.sample(problems, min(len(problems), self.examples + 1))
        return [other for other in drawn if other.id != problem.id][: self.examples]

    @staticmethod
    def _example(other: Problem) -> str:
        question = conversation(other.chat, "student")
        return fill(AUTHOR_EXAMPLE, question=question, answer=other.rationale or "")


def _attempt(reply: str) -> str:
    if not reply.strip():
        raise Unreadable("the attempt is empty")
    return reply.strip()


AUTHOR_EXAMPLE = """Question:
{question}

Answer:
{answer}

"""

AUTHOR_PROMPT = """Answer a question step by step. Keep to the layout of the worked answers, if there are some, and \
write nothing else.

{examples}Question:
{question}

Answer:"""
