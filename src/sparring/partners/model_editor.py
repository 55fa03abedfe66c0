"""An editor that asks a speaker to continue an attempt from the first wrong step on."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Ge, Gt

from sparring.common.errors import Unreadable
from sparring.core.partner import ask, conversation
from sparring.core.prompt import check_placeholders, fill
from sparring.core.speaker import Sampling, Speaker
from sparring.core.task import Offer, Problem, Task
from sparring.parsing.steps import Fault


@dataclass(frozen=True)
class ModelEditor:
    """Asks a speaker to finish an attempt.

    The steps before the fault stay verbatim even if the speaker rewrites them. An update that does not change the
    faulty step is rejected.
    """

    name: ClassVar[str] = "model_editor"
    by: ClassVar[str] = "speaker"
    needs: ClassVar[frozenset[Offer]] = frozenset()

    speaker: Speaker
    task: Task
    temperature: Annotated[float, Ge(0)] = 0.7  # TriPosT, authors' code
    max_tokens: Annotated[int, Gt(0)] = 1024
    prompt: str | None = None

    def __post_init__(self) -> None:
        check_placeholders(self.prompt or "", ("question", "kept", "step", "wrong", "reason"))

    async def improve(self, problem: Problem, attempt: str, fault: Fault, rng: random.Random) -> str:
        """Return the steps before the fault followed by the speaker's continuation."""
        layout = self.task.layout
        prefix = layout.before(attempt, fault.step)

        def read(reply: str) -> str:
            text = _unwrapped(reply)
            has_prefix = bool(prefix) and text.lstrip().startswith(prefix.strip())
            update = text if has_prefix else prefix + text
            if reason := layout.refusal(attempt, fault, update):
                raise Unreadable(f"the update is refused: {reason}")
            return update

        prompt = fill(
            self.prompt or EDITOR_PROMPT,
            question=conversation(problem.chat, "student"),
            kept=prefix.rstrip() or "(none: start from the beginning)",
            step=fault.step,
            wrong=fault.part,
            reason=fault.reason or "none given",
        )
        return await ask(self.speaker, prompt, read, Sampling(self.temperature, max_tokens=self.max_tokens))


def _unwrapped(reply: str) -> str:
    """Strip blank lines and trailing space; keep the first line's indentation if it is more than one space (code)."""
    text = re.sub(r"\A(?:[^\S\n]*\n)+", "", reply).rstrip()
    return text if text.startswith(("  ", "\t")) else text.lstrip()


EDITOR_PROMPT = """A student's answer goes wrong at step ({step}): the part "{wrong}" is incorrect. Reason: {reason}.

Question:
{question}

The steps before, which are right:
{kept}

Write the rest of the answer in the same layout. Begin with the corrected step ({step}) and go on to the final answer. \
Do not repeat the steps before, and write nothing else."""
