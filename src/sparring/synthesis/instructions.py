"""New instructions in the manner of a few that are shown: Self-Instruct (Wang et al., arXiv 2212.10560).

As for "Thinking LLMs" (arXiv 2410.10630), eight are shown, drawn anew for each reply. Those that are shown are all
seeds; Self-Instruct shows two of its own among them (departure of ours), which would make each reply wait for those
before it. New ones are kept unless they are too short, too long, or nearly one that is there: of the task, held-out
problems among them, or new.

Not here: whether an instruction is any good.
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

from sparring.common.errors import ConfigError, Failure, RunStopped, Unreadable
from sparring.common.seeds import named_rng
from sparring.core.chat import question
from sparring.core.prompt import check_blanks, fill
from sparring.core.speaker import Sampling, Speaker
from sparring.core.task import Task
from sparring.synthesis.output import Output, ask_speaker, in_order, serve
from sparring.synthesis.overlap import Known, split_words

BARREN = 100  # replies in a row that bring nothing new: the speaker has no more to say
_ITEM = re.compile(r"([0-9]{1,4})[.)]\s+(\S.*)")


@dataclass(frozen=True)
class Instruction:
    """A row of the file: the instruction, and the number of the reply that it stood in (`problem` on the ledger)."""

    instruction: str
    reply: int


@dataclass(frozen=True)
class InstructionWriter:
    """Has `count` new instructions written, `per_reply` at a time, after `shots` of the task's training problems.

    `shortest` and `longest` are in words, for seeds and new ones alike; `similarity` is the ROUGE-L F1 with a known one
    above which a new one is dropped. `at_once` replies are asked for at a time.
    """

    name: ClassVar[str] = "instructions"
    row: ClassVar[type] = Instruction
    extent: ClassVar[tuple[str, ...]] = ("count", "max_failures", "at_once")

    count: Annotated[int, Gt(0)] = 1000
    per_reply: Annotated[int, Gt(0)] = 4
    shots: Annotated[int, Gt(0)] = 8  # "Thinking LLMs"
    shortest: Annotated[int, Gt(0)] = 4  # Self-Instruct, as published in code: more than 3 words
    longest: Annotated[int, Gt(0)] = 150  # the same
    similarity: Annotated[float, Interval(gt=0, le=1)] = 0.7  # Self-Instruct
    temperature: Annotated[float, Ge(0)] = 0.7
    top_p: Annotated[float, Interval(gt=0, le=1)] = 0.95
    max_tokens: Annotated[int, Gt(0)] = 1024
    prompt: str | None = None
    seed: int = 0
    max_failures: Annotated[float, Interval(ge=0, le=1)] = 0.2
    at_once: Annotated[int, Gt(0)] = 64

    def __post_init__(self) -> None:
        check_blanks(self.prompt or "", ("examples", "count"))
        if self.shortest > self.longest:
            raise ConfigError(f"shortest = {self.shortest} is above longest = {self.longest}; give a range of words")

    def total(self, task: Task) -> int:
        """How many rows there are to be; ConfigError if too few of `task`'s instructions can be shown."""
        found = len(self._seeds(task))
        if found < self.shots:
            raise ConfigError(
                f"shots = {self.shots}, but [task] has {found} training problems of {self.shortest} to {self.longest} "
                "words to show; give more (development_size = 0 and test_size = 0 keep none back), or fewer shots"
            )
        return self.count

    async def write(self, task: Task, speaker: Speaker, output: Output) -> None:
        """Adds rows to `output` until there are `count`; RunStopped where nothing new comes any more."""
        seeds, known = self._seeds(task), self._known(task)
        sampling = Sampling(self.temperature, self.top_p, max_tokens=self.max_tokens)

        async def ask(number: int) -> tuple[int, list[str] | Failure]:
            serve(self.name, str(number))
            return number, await ask_speaker(
                speaker, question(self._prompt(seeds, number)), sampling, number, parse_list
            )

        def ahead() -> int:  # no more than are needed if all of them are new
            return min(self.at_once, math.ceil((self.count - len(output.rows)) / self.per_reply))

        barren = 0
        async with aclosing(in_order(ask, numbers(), ahead)) as replies:
            async for number, items in replies:
                there = len(output.rows)
                self._take(items, number, known, output)
                barren = 0 if len(output.rows) > there else barren + 1
                if len(output.rows) == self.count:
                    return
                if barren == BARREN:
                    raise RunStopped(
                        f"the last {BARREN} replies brought no new instruction, after {there}; give more or "
                        "other seeds, a higher temperature or similarity, or a lower count"
                    )

    def _seeds(self, task: Task) -> list[str]:
        """What may be shown, each in one line."""
        asked = (" ".join(problem.chat.text.split()) for problem in task.problems("train"))
        return [text for text in asked if self.shortest <= len(split_words(text)) <= self.longest]

    def _known(self, task: Task) -> Known:
        known = Known(self.similarity)
        for problem in (*task.problems("train"), *task.problems("development"), *task.problems("test")):
            known.add(split_words(problem.chat.text))
        return known

    def _prompt(self, seeds: Sequence[str], number: int) -> str:
        shown = named_rng(self.seed, "shots", number).sample(seeds, self.shots)
        examples = "\n".join(f"- {text}" for text in shown)
        return fill(self.prompt or INSTRUCTION_PROMPT, examples=examples, count=str(self.per_reply))

    def _take(self, items: list[str] | Failure, number: int, known: Known, output: Output) -> None:
        """Keeps what is new of one reply, and counts all of it."""
        output.reply(items if isinstance(items, Failure) else "read")
        for text in [] if isinstance(items, Failure) else items:
            if len(output.rows) == self.count:
                return
            fault = self._fault(text, known)
            output.found[fault or "new"] += 1
            if fault is None:
                known.add(split_words(text))
                output.add(Instruction(text, number))
                output.advanced(1)

    def _fault(self, text: str, known: Known) -> str | None:
        """Why `text` is not kept."""
        said_in = split_words(text)
        if len(said_in) < self.shortest:
            return "too short"
        if len(said_in) > self.longest:
            return "too long"
        if said_in in known:
            return "repeated"
        return "similar" if known.similar(said_in) else None


def parse_list(reply: str) -> list[str]:
    """The items of a numbered list, each in one line; a line before it that ends in a colon is passed over. Unreadable
    if there is anything else, or the numbers do not follow one another from 1."""
    lines = [line.strip() for line in reply.splitlines() if line.strip()]
    if lines and lines[0].endswith(":") and not _ITEM.fullmatch(lines[0]):
        lines = lines[1:]
    items = []
    for place, line in enumerate(lines, start=1):
        item = _ITEM.fullmatch(line)
        if item is None or int(item[1]) != place:
            raise Unreadable(f"item {place} of a numbered list was expected, not {line[:60]!r}")
        items.append(item[2])
    if not items:
        raise Unreadable("there is no numbered list")
    return items


INSTRUCTION_PROMPT = """Here are some of the things that people ask of an assistant:

{examples}

Write {count} more that other people could ask. They are to vary in subject, kind and length as much as these do, and \
none is to resemble one of these. Each can be answered in writing, without pictures, sound, files or the web, and \
holds all that is needed to answer it.

Reply with a numbered list from 1 on, each item in a single line, and with nothing else."""
