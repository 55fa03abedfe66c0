"""Rationales for problems that lack them: written by a speaker, kept if their answer is right.

If all tries are wrong, the speaker may be asked again with the right answer in the prompt ("rationalization" in STaR:
Zelikman et al., arXiv 2203.14465). Such a rationale must not just restate the answer (ours). Its first step alone must
not be right yet, its steps before the last must have at least eight words, and none may mention a hint (in English).

Whether the steps of a rationale with a right answer are correct is not checked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt, Interval

from sparring.common.concurrency import in_order
from sparring.common.errors import ConfigError, Failure, Unreadable
from sparring.core.attempts import as_messages
from sparring.core.chat import LEARNER, USER, Chat, message
from sparring.core.prompt import check_placeholders, fill
from sparring.core.speaker import PARTNER, Sampling, Speaker
from sparring.core.task import Problem, Split, Task
from sparring.synthesis.output import Output, ask_speaker, set_serving
from sparring.synthesis.overlap import split_words

Source = Literal["data", "written", "hinted"]

MIN_HINTED_WORDS = 8  # before the last step of a rationale that was written with the answer in the prompt
_HINT_WORDS = re.compile(
    r"\bhints?\b|\b(?:given|provided|supplied|stated|known)\s+(?:final\s+)?answer\b|\b(?:was|were|am|are)\s+told\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True)
class RationaleRow:
    """A row of the file, in the format of the task `table`.

    `source`: "data" if the rationale was in the data, "written" or "hinted" if it was written without or with the right
    answer in the prompt.
    """

    prompt: str | None = None
    messages: list[dict[str, str]] | None = None  # instead of `prompt`, for a chat of several messages
    answer: str
    rationale: str
    source: Source
    category: str | None = None


@dataclass(frozen=True)
class _Try:
    """The outcome of one reply, with its rationale if that is kept."""

    outcome: str | Failure
    rationale: str | None = None


@dataclass(frozen=True)
class RationaleWriter:
    """Writes a rationale for each problem of `split` that has none (for every problem, unless `only_missing`).

    A problem is asked up to `tries` times, until an answer is right. If none is, it is asked up to `hint_tries` times
    with the right answer in the prompt. Existing rationales are copied. `at_once` is the number of concurrent problems.
    """

    name: ClassVar[str] = "rationales"
    row_type: ClassVar[type] = RationaleRow
    changeable: ClassVar[tuple[str, ...]] = ("tries", "hint_tries", "max_failures", "at_once")

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
        check_placeholders(self.prompt or "", ("question",))
        check_placeholders(self.hint_prompt or "", ("question", "gold"))

    def total(self, task: Task) -> int:
        """Return the number of problems; ConfigError if none lacks a rationale, or one has no gold answer."""
        problems = task.problems(self.split)
        unanswered = sum(problem.gold is None for problem in problems)
        if unanswered:
            raise ConfigError(
                f"{unanswered} of the {len(problems)} {self.split} problems of [task] have no right answer, which is "
                "needed to check rationales; choose another task, or name the column (answer_column of a table)"
            )
        if not any(map(self._needs_rationale, problems)):
            raise ConfigError(
                f"none of the {len(problems)} {self.split} problems of [task] lacks a rationale; "
                "set only_missing = false to write all of them anew"
            )
        return len(problems)

    async def write(self, task: Task, speaker: Speaker, output: Output) -> None:
        """Add a row to `output` for each problem that has a rationale in the end."""

        async def ask(problem: Problem) -> tuple[Problem, list[_Try]]:
            tries = await self._make_tries(task, problem, speaker) if self._needs_rationale(problem) else []
            return problem, tries

        problems: Iterator[Problem] = iter(task.problems(self.split))
        async with aclosing(in_order(ask, problems, lambda: self.at_once)) as results:
            async for problem, tries in results:
                for one in tries:
                    output.count_reply(one.outcome)
                source, rationale = self._result(problem, tries)
                output.items[source or "without"] += 1
                if source is not None:
                    output.add(_row(problem, rationale, source))
                output.on_progress(1)

    def _needs_rationale(self, problem: Problem) -> bool:
        return problem.rationale is None or not self.only_missing

    def _result(self, problem: Problem, tries: Sequence[_Try]) -> tuple[Source | None, str]:
        """Return the source and text of the problem's rationale, None and "" if it has none."""
        if not self._needs_rationale(problem):
            return "data", problem.rationale or ""
        if not tries or tries[-1].rationale is None:
            return None, ""
        return "hinted" if len(tries) > self.tries else "written", tries[-1].rationale

    async def _make_tries(self, task: Task, problem: Problem, speaker: Speaker) -> list[_Try]:
        """Return the tries at one problem, up to the first right one."""
        set_serving(self.name, problem.id)
        sampling = Sampling(self.temperature, self.top_p, max_tokens=self.max_tokens)
        tries: list[_Try] = []
        for number in range(self.tries + self.hint_tries):
            is_hinted = number >= self.tries
            sample = number - self.tries if is_hinted else number
            prompt = (self.hint_prompt or HINT_PROMPT) if is_hinted else (self.prompt or RATIONALE_PROMPT)
            chat = _with_prompt(problem, fill(prompt, question=problem.chat.text, gold=problem.gold or ""))
            result = await ask_speaker(speaker, chat, sampling, sample, lambda reply: parse_rationale(task, reply))
            tries.append(_judge(task, problem, result, is_hinted))
            if tries[-1].rationale is not None:
                break
        return tries


def _with_prompt(problem: Problem, prompt: str) -> Chat:
    """Return the problem's chat with `prompt` as the last message and the learner's earlier turns as the writer's."""
    earlier = [replace(m, author=PARTNER) if m.author == LEARNER else m for m in problem.chat.messages[:-1]]
    return Chat((*earlier, message(USER, prompt)))


def parse_rationale(task: Task, reply: str) -> str:
    """Return `reply` as a rationale; Unreadable if it has no step before its answer."""
    steps = task.layout.split(reply)
    if len(steps) < 2:
        raise Unreadable(f"the rationale has no step before its answer (got {reply.strip()[:60]!r})")
    return reply.strip()


def _judge(task: Task, problem: Problem, result: str | Failure, is_hinted: bool) -> _Try:
    if isinstance(result, Failure):
        return _Try(result)
    if not task.is_right(problem, result):
        return _Try("wrong")
    if is_hinted and relies_on_hint(task, problem, result):
        return _Try("leaning on the hint")
    return _Try("right", result)


def relies_on_hint(task: Task, problem: Problem, rationale: str) -> bool:
    """Whether `rationale` only restates the answer from its prompt."""
    first, *others = task.layout.split(rationale)
    working = rationale[: others[-1].start]
    return (
        task.is_right(problem, first.text)
        or len(split_words(working)) < MIN_HINTED_WORDS
        or bool(_HINT_WORDS.search(rationale))
    )


def _row(problem: Problem, rationale: str, source: Source) -> RationaleRow:
    has_one_message = len(problem.chat.messages) == 1
    messages: list[dict[str, Any]] = [] if has_one_message else as_messages(problem.chat, LEARNER)
    return RationaleRow(
        prompt=problem.chat.text if has_one_message else None,
        messages=messages or None,
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
