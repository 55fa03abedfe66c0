"""New instructions similar to given examples: Self-Instruct (Wang et al., arXiv 2212.10560).

As in "Thinking LLMs" (arXiv 2410.10630), each prompt shows eight examples, drawn anew. All examples are seeds.
Self-Instruct also shows two generated ones; that would make each reply wait for the ones before it (departure of ours).
A new instruction is dropped if it is too short, too long, or nearly the same as a known one. The known ones are the
task's, held-out problems included, and the new ones.

The quality of an instruction is not judged.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import count as numbers
from typing import Annotated, ClassVar

from annotated_types import Ge, Gt, Interval

from sparring.common.concurrency import in_order
from sparring.common.errors import ConfigError, Failure, RunStopped, Unreadable
from sparring.common.seeds import named_rng
from sparring.core.chat import question
from sparring.core.prompt import check_placeholders, fill
from sparring.core.speaker import Sampling, Speaker
from sparring.core.task import Task
from sparring.synthesis.output import Output, ask_speaker, set_serving
from sparring.synthesis.overlap import KnownTexts, split_words

MAX_BARREN_REPLIES = 100  # consecutive replies without a new instruction, after which the writing stops
_ITEM = re.compile(r"([0-9]{1,4})[.)]\s+(\S.*)")


@dataclass(frozen=True)
class InstructionRow:
    """A row of the file: an instruction, and the number of the reply that contained it (`problem` on the ledger)."""

    instruction: str
    reply: int


@dataclass(frozen=True)
class InstructionWriter:
    """Writes `count` new instructions, `per_reply` in a reply, from prompts with `shots` training problems of the task.

    `shortest` and `longest` are in words and apply to seeds and new instructions. `similarity` is the ROUGE-L F1 with a
    known instruction above which a new one is dropped. `at_once` is the number of concurrent calls.
    """

    name: ClassVar[str] = "instructions"
    row_type: ClassVar[type] = InstructionRow
    changeable: ClassVar[tuple[str, ...]] = ("count", "max_failures", "at_once")

    count: Annotated[int, Gt(0)] = 1000
    per_reply: Annotated[int, Gt(0)] = 4
    shots: Annotated[int, Gt(0)] = 8  # "Thinking LLMs"
    shortest: Annotated[int, Gt(0)] = 4  # authors' code of Self-Instruct: more than 3 words
    longest: Annotated[int, Gt(0)] = 150  # as above
    similarity: Annotated[float, Interval(gt=0, le=1)] = 0.7  # Self-Instruct
    temperature: Annotated[float, Ge(0)] = 0.7
    top_p: Annotated[float, Interval(gt=0, le=1)] = 0.95
    max_tokens: Annotated[int, Gt(0)] = 1024
    prompt: str | None = None
    seed: int = 0
    max_failures: Annotated[float, Interval(ge=0, le=1)] = 0.2
    at_once: Annotated[int, Gt(0)] = 64

    def __post_init__(self) -> None:
        check_placeholders(self.prompt or "", ("examples", "count"))
        if self.shortest > self.longest:
            raise ConfigError(
                f"shortest must not be above longest (got shortest = {self.shortest}, longest = {self.longest}); "
                "give a range of words"
            )

    def total(self, task: Task) -> int:
        """Return the number of rows to write; ConfigError if `task` has too few problems to show."""
        seeds = len(self._seeds(task))
        if seeds < self.shots:
            raise ConfigError(
                f"shots = {self.shots}, but [task] has only {seeds} training problems of {self.shortest} to "
                f"{self.longest} words; give more (development_size = 0 and test_size = 0 hold none out) or lower shots"
            )
        return self.count

    async def write(self, task: Task, speaker: Speaker, output: Output) -> None:
        """Add rows to `output` until there are `count`; RunStopped if replies stop bringing new instructions."""
        seeds, known = self._seeds(task), self._known_texts(task)
        sampling = Sampling(self.temperature, self.top_p, max_tokens=self.max_tokens)

        async def ask(number: int) -> tuple[int, list[str] | Failure]:
            set_serving(self.name, str(number))
            return number, await ask_speaker(
                speaker, question(self._prompt(seeds, number)), sampling, number, parse_list
            )

        def window() -> int:  # at most the calls that are needed if every instruction is new
            return min(self.at_once, math.ceil((self.count - len(output.rows)) / self.per_reply))

        barren = 0
        async with aclosing(in_order(ask, numbers(), window)) as replies:
            async for number, items in replies:
                rows_before = len(output.rows)
                self._take(items, number, known, output)
                barren = 0 if len(output.rows) > rows_before else barren + 1
                if len(output.rows) == self.count:
                    return
                if barren == MAX_BARREN_REPLIES:
                    raise RunStopped(
                        f"the last {MAX_BARREN_REPLIES} replies brought no new instruction (got {rows_before} of "
                        f"{self.count}); give more or other seeds, raise temperature or similarity, or lower count"
                    )

    def _seeds(self, task: Task) -> list[str]:
        """Return the training problems that may be shown, each on one line."""
        texts = (" ".join(problem.chat.text.split()) for problem in task.problems("train"))
        return [text for text in texts if self.shortest <= len(split_words(text)) <= self.longest]

    def _known_texts(self, task: Task) -> KnownTexts:
        known = KnownTexts(self.similarity)
        for problem in (*task.problems("train"), *task.problems("development"), *task.problems("test")):
            known.add(split_words(problem.chat.text))
        return known

    def _prompt(self, seeds: Sequence[str], number: int) -> str:
        shown = named_rng(self.seed, "shots", number).sample(seeds, self.shots)
        examples = "\n".join(f"- {text}" for text in shown)
        return fill(self.prompt or INSTRUCTION_PROMPT, examples=examples, count=str(self.per_reply))

    def _take(self, items: list[str] | Failure, number: int, known: KnownTexts, output: Output) -> None:
        """Count the instructions of one reply and keep the new ones."""
        output.count_reply(items if isinstance(items, Failure) else "read")
        for text in [] if isinstance(items, Failure) else items:
            if len(output.rows) == self.count:
                return
            rejection = self._rejection(text, known)
            output.items[rejection or "new"] += 1
            if rejection is None:
                known.add(split_words(text))
                output.add(InstructionRow(text, number))
                output.on_progress(1)

    def _rejection(self, text: str, known: KnownTexts) -> str | None:
        """Return why `text` is dropped, None if it is kept."""
        words = split_words(text)
        if len(words) < self.shortest:
            return "too short"
        if len(words) > self.longest:
            return "too long"
        if words in known:
            return "repeated"
        return "similar" if known.has_similar(words) else None


def parse_list(reply: str) -> list[str]:
    """Return the items of a numbered list, one per line, after an optional first line that ends in a colon.

    Raises Unreadable if there is anything else, or if the numbers are not 1, 2, 3, ….
    """
    lines = [line.strip() for line in reply.splitlines() if line.strip()]
    if lines and lines[0].endswith(":") and not _ITEM.fullmatch(lines[0]):
        lines = lines[1:]
    items = []
    for number, line in enumerate(lines, start=1):
        match = _ITEM.fullmatch(line)
        if match is None or int(match[1]) != number:
            raise Unreadable(f"item {number} of a numbered list was expected, not {line[:60]!r}")
        items.append(match[2])
    if not items:
        raise Unreadable("there is no numbered list")
    return items


INSTRUCTION_PROMPT = """Here are some of the things that people ask of an assistant:

{examples}

Write {count} more that other people could ask. They are to vary in subject, kind and length as much as these do, and \
none is to resemble one of these. Each can be answered in writing, without pictures, sound, files or the web, and \
holds all that is needed to answer it.

Reply with a numbered list from 1 on, each item in a single line, and with nothing else."""
