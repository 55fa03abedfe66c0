"""Multiple choice tasks of BIG-bench: problems generated or read from its files, and reading the choice.

A file is in the format of BIG-bench (`{"examples": [{"input", "target_scores"}]}`, options in any order) or of
BIG-bench-hard (`{"examples": [{"input", "target"}]}`, options below the question). A task works out the rows that its
program understands. The others, and those whose target is not what the program arrives at, have no worked answer: they
are held out for the test, where right answers suffice.
"""

from __future__ import annotations

import random
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Literal, NamedTuple

from annotated_types import Ge

from sparring.common.errors import ConfigError, nearest
from sparring.common.records import Record
from sparring.common.row_files import read_records
from sparring.common.schema import FilePath
from sparring.common.seeds import digest, named_rng
from sparring.common.splits import SPLIT_SHARE, draw_split, without_duplicates
from sparring.core.chat import question
from sparring.core.task import Pool, Problem, Split
from sparring.parsing import answers
from sparring.parsing.steps import COMPACT, FINAL, NUMBERED, Fault, Step, StepFormat
from sparring.parsing.untrue import Untrue

SIZES: Mapping[Split, int] = {"train": 1500, "development": 200, "test": 1000}  # of generated splits
SEEN, UNSEEN = "seen, ", "unseen, "  # how the bins of the paper's range begin
MAX_READ = 20_000  # characters of an answer that are read

_OPTION = re.compile(r"^\(([A-Z])\) (.+)$", re.MULTILINE)
_TARGET = re.compile(r"\s*\(?([A-Z])\)?\.?\s*")


class Mistake(NamedTuple):
    """The first false statement of an answer, with its step."""

    step: Step
    untrue: Untrue


@dataclass(frozen=True)
class BigBenchChoice(ABC):
    """A task whose questions have lettered options; `data["options"]` of a problem holds their texts."""

    range: Literal["easy", "paper"] = "easy"
    train: Annotated[int, Ge(0)] | None = None
    development: Annotated[int, Ge(0)] | None = None
    test: Annotated[int, Ge(0)] | None = None
    seed: int = 0
    file: FilePath | tuple[FilePath, ...] | None = None

    def __post_init__(self) -> None:
        if self.range not in ("easy", "paper"):
            raise nearest("range", self.range, ("easy", "paper"))
        for split in SIZES:
            size = getattr(self, split)
            if size is not None and size < 0:
                raise ConfigError(f"{split} = {size}; give 0 or more problems")
        if self.file is not None and self.range == "easy":
            raise ConfigError('a file is for the paper\'s range (got range = "easy"); set range = "paper"')

    @property
    def layout(self) -> StepFormat:
        """Numbered steps as in the paper; the compact format in the easy range."""
        return COMPACT if self.range == "easy" else NUMBERED

    @property
    def notes(self) -> tuple[str, ...]:
        """Which rows of the file were dropped or have no worked answer."""
        return self._loaded[1] if self.file else ()

    def problems(self, split: Split) -> Sequence[Problem]:
        """Return the problems of `split`; ConfigError if rows of the file are malformed."""
        return self._loaded[0][split] if self.file else self._pool.problems(split)

    def endless(self) -> Iterator[Problem]:
        """Yield training problems without end, the training split first; ConfigError for a file."""
        if self.file:
            raise ConfigError('a file has no new problems; set problems = "fixed"')
        return self._pool.endless()

    def is_right(self, problem: Problem, response: str) -> bool:
        """Return whether `response` chooses the right option, by its letter or its text."""
        return problem.gold is not None and self.choice(problem, response) == problem.gold

    def first_error(self, problem: Problem, answer: str) -> Fault | None:
        """Return the first false step of `answer`, or its last step if it does not choose the right option."""
        mistake = self._first_mistake(problem, answer)
        if mistake is None:
            return None
        step, untrue = mistake
        return Fault(step.label, step.text[slice(*untrue.span)], str(untrue))

    def solve(self, problem: Problem, kept: str) -> str:
        """Return `kept` and the remaining steps; ConfigError for a question that the program cannot read."""
        if problem.rationale is None:
            raise ConfigError(f"no program can read the question {problem.chat.text[:60]!r}; ask a model to solve it")
        steps = self.layout.split(kept)
        final = answers.final(steps[-1].text) if steps else ""
        if final == problem.gold or final.startswith(f"({problem.gold})"):
            return kept
        end = f"({problem.gold})" if self.range == "easy" else f"So the answer is ({problem.gold})."
        left = [*self._missing_steps(problem, steps), end]
        is_numbered = not steps or kept[steps[0].start : steps[0].end].strip() != steps[0].text
        if self.layout.numbered and is_numbered:
            left = [f"({label}) {step}" for label, step in zip(_labels(steps, len(left)), left, strict=True)]
        gap = "\n" if kept and not kept.endswith("\n") else ""
        return kept + gap + "\n".join(left)

    def choice(self, problem: Problem, response: str) -> str | None:
        """Return the letter of the option that `response` chooses; None if it chooses none or several."""
        return answers.chosen(response, problem.data["options"])

    def _first_mistake(self, problem: Problem, answer: str) -> Mistake | None:
        read = answer[:MAX_READ]
        steps = self.layout.split(read)
        if not steps:
            return Mistake(Step("1", "", 0, 0), Untrue((0, 0), "there is no answer"))
        mistake = self._false_step(problem, steps) if problem.rationale else None
        if mistake is not None or self.is_right(problem, answer):
            return mistake
        is_chosen = self.choice(problem, answer) is not None
        reason = "this is not the right option" if is_chosen else "the answer does not end in one option"
        last = steps[-1]
        start = last.text.rfind("\n") + 1
        return Mistake(last, Untrue((start, len(last.text)), reason))

    @abstractmethod
    def _draw(self, rng: random.Random, split: Split) -> Problem:
        """Generate a problem for `split`."""

    @abstractmethod
    def _understood(self, asked: str, options: Sequence[str]) -> Problem | None:
        """Return the problem of a question and its options, worked out; None if the program cannot read it."""

    @abstractmethod
    def _false_step(self, problem: Problem, steps: Sequence[Step]) -> Mistake | None:
        """Return the first of `steps` that states something false."""

    @abstractmethod
    def _missing_steps(self, problem: Problem, steps: Sequence[Step]) -> Iterable[str]:
        """Return the steps that an answer lacks after `steps`, without the last one, which states the option."""

    def _solved(self, problem: Problem) -> Problem:
        """Return `problem` with its worked answer."""
        return replace(problem, rationale=self.solve(replace(problem, rationale=""), ""))

    def _remark(self, statement: str, label: str = "") -> str:
        """Word `statement` as a remark on the step `label`."""
        if self.range == "easy":
            return f"check: {statement}"
        return f"Check step ({label}): {statement}." if label else f"Check this: {statement}."

    # ---- generated problems, or rows of files

    @cached_property
    def _pool(self) -> Pool:
        sizes = {split: size if getattr(self, split) is None else getattr(self, split) for split, size in SIZES.items()}
        return Pool(self._draw, self.seed, sizes["train"], sizes["development"], sizes["test"])

    @cached_property
    def _loaded(self) -> tuple[Mapping[Split, Sequence[Problem]], tuple[str, ...]]:
        files = (self.file,) if isinstance(self.file, str) else self.file or ()
        rows = [self._row(record) for file in files for record in read_records(file)]
        unique, notes = without_duplicates({"rows": rows})
        problems = unique["rows"]
        is_test_only = (self.train, self.development, self.test) == (0, 0, None)
        count = len(problems) if is_test_only else self._held_out(self.test, len(problems))
        test, rest = draw_split(problems, count, self.seed, "test")
        count = self._held_out(self.development, len(problems))
        development, rest = draw_split(rest, count, self.seed, "development")
        others = [problem for problem in rest if not _is_trainable(problem)]
        train = [problem for problem in rest if _is_trainable(problem)][: self.train]
        if not train and self.train != 0:
            raise ConfigError(f"{', '.join(files)}: no row is left to train on; lower development or test")
        counts = Counter(problem.bin for problem in problems if problem.rationale is None)
        notes += tuple(f"rows without a worked answer, {why}: {count}" for why, count in sorted(counts.items()))
        notes += (f"unseen rows and rows without a worked answer, all for the test: {len(others)}",) * bool(others)
        return {"train": train, "development": development, "test": [*test, *others]}, notes

    @staticmethod
    def _held_out(size: int | None, total: int) -> int:
        return max(1, round(SPLIT_SHARE * total)) if size is None else size

    def _row(self, record: Record) -> Problem:
        """Return the problem of a row; ConfigError if it is malformed."""
        text = record.text("input")
        if record.has("target_scores"):
            asked, options, gold = _scored(record, text.strip())
        else:
            asked, _, listed = text.partition("Options:\n")
            options = [option[1].strip() for option in _OPTION.findall(listed)]
            target = _TARGET.fullmatch(record.text("target"))
            gold = target[1] if target else ""
        if len(options) < 2 or gold not in answers.LETTERS[: len(options)] or not gold:
            raise record.error("it does not hold options (A), (B), … below the question and one of them as its target")
        return self._worked(asked.strip(), options, gold)

    def _worked(self, asked: str, options: Sequence[str], gold: str) -> Problem:
        """Return the problem of a row: without a worked answer if the program does not arrive at `gold`."""
        problem = self._understood(asked, options)
        if problem is not None and problem.gold == gold:
            return problem
        text = with_options(asked, options)
        why = "no option found" if problem is None else "another target"
        return Problem(digest(text)[:16], question(text), gold, bin=why, data={"options": list(options)})


def _is_trainable(problem: Problem) -> bool:
    return problem.rationale is not None and not problem.bin.startswith(UNSEEN)


def _labels(steps: Sequence[Step], count: int) -> list[str]:
    """Return labels for `count` more steps, the last of which is the final response."""
    numbers = [re.match(r"\d{1,9}", step.label) for step in steps]
    last = next((int(number[0]) for number in reversed(numbers) if number), 0)
    return [*(str(last + ahead) for ahead in range(1, count)), FINAL]


def with_options(asked: str, options: Sequence[str]) -> str:
    """Return the question with its options below, as in BIG-bench-hard."""
    lines = [f"({letter}) {text}" for letter, text in zip(answers.LETTERS, options, strict=False)]
    return "\n".join([asked, "Options:", *lines])


def _scored(record: Record, text: str) -> tuple[str, list[str], str]:
    """Return question, options in drawn order and gold letter of a row in BIG-bench's own format."""
    scores = record.cell("target_scores")
    if not isinstance(scores, dict) or sum(score == 1 for score in scores.values()) != 1:
        raise record.error("target_scores does not give one option the score 1")
    options = sorted(scores)
    named_rng("options", text).shuffle(options)  # in the files, the right option often comes first
    gold = answers.LETTERS[next(index for index, option in enumerate(options) if scores[option] == 1)]
    return text, [option.removesuffix(".") for option in options], gold
