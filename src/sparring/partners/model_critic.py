"""A critic that is a speaker: asked for the first wrong step, its part and the reason, and read strictly."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Ge, Gt

from sparring.errors import Unreadable
from sparring.partner import ask
from sparring.speaker import Sampling, Speaker
from sparring.steps import LINES, Fault, Step, order
from sparring.task import Offer, Problem, Task
from sparring.template import check, fill


@dataclass(frozen=True)
class ModelCritic:
    """Asks a speaker where an attempt first goes wrong. With `told_gold` it is shown the right answer, to decide
    *whether* something is wrong. A prompt has the attempt as numbered `{steps}`, or as it is, in `{answer}`."""

    name: ClassVar[str] = "model_critic"
    needs: ClassVar[frozenset[Offer]] = frozenset()

    speaker: Speaker
    task: Task
    told_gold: bool = True
    temperature: Annotated[float, Ge(0)] = 0.0
    max_tokens: Annotated[int, Gt(0)] = 512
    prompt: str | None = None

    def __post_init__(self) -> None:
        check(self.prompt or "", ("question", "steps", "answer", "gold"))

    async def feedback(self, problem: Problem, attempt: str, draw: random.Random) -> Fault | None:
        """The first fault; the part it quotes must stand in the step it names."""
        steps = self.task.layout.split(attempt)

        def read(reply: str) -> Fault | None:
            fault = LINES.read(reply)
            return None if fault is None else _checked(fault, steps)

        prompt = fill(
            self.prompt or PROMPT,
            question=problem.chat.text,
            answer=attempt,
            steps="\n".join(f"({step.label}) {step.text}" for step in steps),
            gold=fill(TOLD, gold=problem.gold) if self.told_gold and problem.gold is not None else "",
        )
        return await ask(self.speaker, prompt, read, Sampling(self.temperature, max_tokens=self.max_tokens))


def _checked(fault: Fault, steps: tuple[Step, ...]) -> Fault:
    step = next((step for step in steps if order(step.label) == order(fault.step)), None)
    if step is None:
        raise Unreadable(f"there is no step ({fault.step})")
    if fault.part not in step.text:
        raise Unreadable(f"step ({step.label}) does not contain the part {fault.part!r}; quote it letter for letter")
    return Fault(step.label, fault.part, fault.reason)


TOLD = """
The correct final answer is {gold}. Use it only to decide whether something is wrong; do not mention it.
"""

PROMPT = """Check a student's answer step by step.

Question:
{question}

The student's answer:
{steps}
{gold}
If every step is right, reply exactly:
All steps are correct.
Otherwise find the first step that is wrong and reply exactly in this form, with the number of the step and the wrong \
part copied letter for letter:
In step (2) the part "the wrong part" is incorrect. This is because the reason in a few words."""
