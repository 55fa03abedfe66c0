"""Worked answers for problems that have none: written by a speaker, kept where their answer is right.

Where all tries are wrong the speaker may be asked once more with the right answer before it, as in STaR
(Zelikman et al., arXiv 2203.14465: rationalisation). Such a rationale must not merely state what it was told (ours): it
is kept if its first step alone is not yet right, its steps before the last have at least eight words, and none of them
speaks of a hint, as English words tell.

Not here: whether a rationale that ends rightly is right on the way.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt, Interval

from sparring.common.errors import ConfigError, Failure, Unreadable
from sparring.core.attempts import as_messages
from sparring.core.chat import LEARNER, USER, Chat, message
from sparring.core.prompt import check_blanks, fill
from sparring.core.speaker import PARTNER, Sampling, Speaker
from sparring.core.task import Problem, Split, Task
from sparring.synthesis.output import Output, ask_speaker, in_order, serve
from sparring.synthesis.overlap import split_words

Source = Literal["data", "written", "hinted"]

LEAST = 8  # words before the last step of a rationale that was written with the answer in view
_OF_A_HINT = re.compile(
    r"\bhints?\b|\b(?:given|provided|supplied|stated|known)\s+(?:final\s+)?answer\b|\b(?:was|were|am|are)\s+told\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True)
class Worked:
    """A row of the file, as the task `table` reads it. `source`: whether the data had the rationale, or it was written
    without or with the right answer in view."""

    prompt: str | None = None
    messages: list[dict[str, str]] | None = None  # in place of a prompt, where more than that was said
    answer: str
    rationale: str
    source: Source
    category: str | None = None


@dataclass(frozen=True)
class _Try:
    """What became of one reply: a kept rationale, or why it is not kept."""

    outcome: str | Failure
    rationale: str | None = None


@dataclass(frozen=True)
class RationaleWriter:
    """Has a worked answer written for each problem of `split` that has none (each at all, unless `only_missing`).

    A problem is asked up to `tries` times, until an answer is right; then up to `hint_tries` times with the right
    answer in view. Rationales that are there are copied. `at_once` problems are asked at a time.
    """

    name: ClassVar[str] = "rationales"
    row: ClassVar[type] = Worked
    extent: ClassVar[tuple[str, ...]] = ("tries", "hint_tries", "max_failures", "at_once")

    split: Split = "train"
    tries: Annotated[int, Gt(0)] = 4
    hint_tries: Annotated[int, Ge(0)] = 0
    only_missing: bool = True
    temperature: Annotated[float, Ge(0)] = 0.7
    top_p: Annotated[float, Interval(gt=0, le=1)] = 0.95
    max_tokens: Annotated[int, Gt(0)] = 1024
    prompt: str | None = None
    hint_prompt: str | None = None
    max_failures: Annotated[float, Interval(ge=0, le=1)] = 0.2
    at_once: Annotated[int, Gt(0)] = 64

    def __post_init__(self) -> None:
        check_blanks(self.prompt or "", ("question",))
        check_blanks(self.hint_prompt or "", ("question", "gold"))

    def total(self, task: Task) -> int:
        """How many problems there are; ConfigError if none of them lacks a rationale, or one has no answer."""
        problems = task.problems(self.split)
        unanswered = sum(problem.gold is None for problem in problems)
        if unanswered:
            raise ConfigError(
                f"{unanswered} of the {len(problems)} {self.split} problems of [task] have no right answer, so nothing "
                "tells which rationales to keep; choose another task, or name the column (answer_column of a table)"
            )
        if not any(map(self._lacks, problems)):
            raise ConfigError(
                f"none of the {len(problems)} {self.split} problems of [task] lacks a rationale; "
                "set only_missing = false to have all of them written anew"
            )
        return len(problems)

    async def write(self, task: Task, speaker: Speaker, output: Output) -> None:
        """Adds a row to `output` for each problem that has a rationale in the end."""

        async def ask(problem: Problem) -> tuple[Problem, list[_Try]]:
            return problem, await self._tried(task, problem, speaker) if self._lacks(problem) else []

        problems: Iterator[Problem] = iter(task.problems(self.split))
        async with aclosing(in_order(ask, problems, lambda: self.at_once)) as asked:
            async for problem, tries in asked:
                for one in tries:
                    output.reply(one.outcome)
                source, rationale = self._kept(problem, tries)
                output.found[source or "without"] += 1
                if source is not None:
                    output.add(_row(problem, rationale, source))
                output.advanced(1)

    def _lacks(self, problem: Problem) -> bool:
        return problem.rationale is None or not self.only_missing

    def _kept(self, problem: Problem, tries: Sequence[_Try]) -> tuple[Source | None, str]:
        """Where the problem's rationale comes from, and its words; None where it has none."""
        if not self._lacks(problem):
            return "data", problem.rationale or ""
        if not tries or tries[-1].rationale is None:
            return None, ""
        return "hinted" if len(tries) > self.tries else "written", tries[-1].rationale

    async def _tried(self, task: Task, problem: Problem, speaker: Speaker) -> list[_Try]:
        """The replies to one problem, the last of which is right if one is."""
        serve(self.name, problem.id)
        sampling = Sampling(self.temperature, self.top_p, max_tokens=self.max_tokens)
        tries: list[_Try] = []
        for place in range(self.tries + self.hint_tries):
            hinted = place >= self.tries
            sample = place - self.tries if hinted else place
            prompt = (self.hint_prompt or HINT_PROMPT) if hinted else (self.prompt or RATIONALE_PROMPT)
            chat = _asked(problem, fill(prompt, question=problem.chat.text, gold=problem.gold or ""))
            found = await ask_speaker(speaker, chat, sampling, sample, lambda reply: _readable(task, reply))
            tries.append(_judged(task, problem, found, hinted))
            if tries[-1].rationale is not None:
                break
        return tries


def _asked(problem: Problem, prompt: str) -> Chat:
    """The problem's chat as the writer is asked it: the learner's earlier turns are its own."""
    earlier = [replace(m, author=PARTNER) if m.author == LEARNER else m for m in problem.chat.messages[:-1]]
    return Chat((*earlier, message(USER, prompt)))


def _readable(task: Task, reply: str) -> str:
    """`reply` as a rationale; Unreadable if there is nothing to it but its answer."""
    steps = task.layout.split(reply)
    if len(steps) < 2:
        raise Unreadable(f"a rationale has a step before its answer, and this is all of it: {reply.strip()[:60]!r}")
    return reply.strip()


def _judged(task: Task, problem: Problem, found: str | Failure, hinted: bool) -> _Try:
    if isinstance(found, Failure):
        return _Try(found)
    if not task.is_right(problem, found):
        return _Try("wrong")
    if hinted and _leans(task, problem, found):
        return _Try("leaning on the hint")
    return _Try("right", found)


def _leans(task: Task, problem: Problem, rationale: str) -> bool:
    """Whether `rationale` merely states the answer that it was told."""
    first, *others = task.layout.split(rationale)
    working = rationale[: others[-1].start]
    return task.is_right(problem, first.text) or len(split_words(working)) < LEAST or bool(_OF_A_HINT.search(rationale))


def _row(problem: Problem, rationale: str, source: Source) -> Worked:
    plain = len(problem.chat.messages) == 1
    said_before: list[dict[str, Any]] = [] if plain else as_messages(problem.chat, LEARNER)
    return Worked(
        prompt=problem.chat.text if plain else None,
        messages=said_before or None,
        answer=problem.gold or "",
        rationale=rationale,
        source=source,
        category=None if problem.bin == "all" else problem.bin,
    )


RATIONALE_PROMPT = """{question}

Work out the answer step by step, each step in a line of its own. Then end with a line "The answer is …." that gives \
the final answer alone."""

HINT_PROMPT = """{question}

(For you alone: the right answer is {gold}.)

Work out the answer step by step, each step in a line of its own, as somebody would who has only the question: begin \
with the first step, not with the answer, and do not mention that you know it. Then end with a line "The answer is …." \
that gives the final answer alone."""
