"""Grade-school word problems with worked solutions: GSM8K (Cobbe et al., arXiv 2110.14168).

A row is `{"question", "answer"}`; an answer is worked in lines and ends in `#### 18`. Its calculator annotations
(`48/2 = <<48/2=24>>24`) are hidden from learners. Hints and false claims use them to find the computed numbers of a
line.

There is no `first_error`: solutions vary too much to find the first wrong step from a gold solution.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, ClassVar

from annotated_types import Ge

from sparring.common.errors import ConfigError
from sparring.common.records import Record
from sparring.common.row_files import read_records
from sparring.common.schema import FilePath
from sparring.common.seeds import digest
from sparring.common.splits import draw_split, split_sources, without_duplicates
from sparring.core.chat import question
from sparring.core.task import Problem, RowTask
from sparring.parsing import answers
from sparring.parsing.steps import LINES, StepFormat

_GOLD = re.compile(r"####[ \t]*(-?[\d.,]*\d)[ \t]*")
_ANNOTATED = re.compile(r"<<[^<>]*>>(?P<shown>-?[\d.,]*\d)?")
_NUMBER = re.compile(r"(?:(?<![\w)])-)?(?:\d+(?:,\d{3})*(?:\.\d+)?|\.\d+)")
_SLIPS = (-10, -5, -3, -2, -1, 1, 2, 3, 5, 10)  # in units of the last digit: small enough to be plausible


@dataclass(frozen=True)
class Gsm8k(RowTask):
    """Grade-school word problems with worked solutions (GSM8K).

    `source` is a hub id, `owner/name` or `owner/name/configuration`, a folder with `train*` and `test*` files (see
    `sparring.common.records`), or, with `test = 0`, one file of training rows. `development` problems are drawn from
    the training rows by `seed`. `train` and `test` limit the other training rows and the test rows (None: all).
    """

    name: ClassVar[str] = "gsm8k"

    source: FilePath = "openai/gsm8k"
    train: Annotated[int, Ge(1)] | None = None
    development: Annotated[int, Ge(0)] = 500
    test: Annotated[int, Ge(0)] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for key, size in (("train", self.train), ("development", self.development), ("test", self.test)):
            if size is not None and size < 0:
                raise ConfigError(f"{key} = {size}; give a number of problems, 0 or more")

    @property
    def layout(self) -> StepFormat:
        """One step per line."""
        return LINES

    def is_right(self, problem: Problem, response: str) -> bool:
        """Return whether `response` ends in the gold number."""
        return answers.number(problem.gold or "", response)

    def hint(self, problem: Problem, answer: str, rng: random.Random) -> str:
        """Return the first step of the solution that `answer` lacks, without the final answer.

        If no step is missing, return the final answer.
        """
        for step in _steps(problem):
            if not step.is_in(answer):
                return f"Consider this step: {step.without(Fraction(problem.gold or 0))}"
        return f"The final answer is {problem.gold}."

    def false_claim(self, problem: Problem, answer: str, rng: random.Random) -> str:
        """Return a step of the solution with one computed number changed, if possible one that `answer` has right."""
        stated = _numbers(answer)
        computed = [(step, span) for step in _steps(problem) for span in step.results]
        if not computed:
            return f"I think that the final answer is {_slip(problem.gold or '', rng)}."
        shared = [(step, span) for step, span in computed if answers.read_number(step.text[slice(*span)]) in stated]
        step, (start, end) = rng.choice(shared or computed)
        changed = step.text[:start] + _slip(step.text[start:end], rng) + step.text[end:]
        return f"I think that this step is wrong. It should be: {changed}"

    def is_true(self, problem: Problem, answer: str, remark: str) -> bool | None:
        """Compare `remark` with the longest step of the solution whose words it repeats; `…` is any number."""
        steps = sorted(_steps(problem), key=lambda step: -len(step.text))
        said = next((said for step in steps if (said := list(step.said_in(remark)))), [])
        return all(said) if said else None

    def _load(self) -> tuple[dict[str, list[Problem]], tuple[str, ...]]:
        wanted = {"train": ("train",), "test": ("test",)}
        if self.test == 0:
            del wanted["test"]
        sources = split_sources(self.source, wanted, {"test": "test = 0"}, "main")
        rows = {"test": [_problem(row) for source in sources.get("test", ()) for row in read_records(source)]}
        rows["test"] = rows["test"][: self.test]
        rows["train"] = [_problem(row) for source in sources["train"] for row in read_records(source)]
        splits, notes = without_duplicates(rows)
        if len(splits["train"]) <= self.development:
            raise ConfigError(
                f"{self.source} has {len(splits['train'])} training problems, too few to draw development = "
                f"{self.development} of them; ask for fewer"
            )
        splits["development"], rest = draw_split(splits["train"], self.development, self.seed, "development")
        splits["train"] = rest[: self.train]
        return splits, notes


@dataclass(frozen=True)
class _Step:
    """A line of a solution without annotations; `results` are the spans of its computed numbers."""

    text: str
    results: tuple[tuple[int, int], ...]

    @property
    def values(self) -> set[Fraction]:
        return {value for span in self.results if (value := answers.read_number(self.text[slice(*span)])) is not None}

    def is_in(self, answer: str) -> bool:
        """Return whether `answer` contains the computed numbers; without any, whether it contains the text."""
        return self.values <= _numbers(answer) if self.values else _without_spaces(self.text) in _without_spaces(answer)

    def said_in(self, text: str) -> Iterator[bool]:
        """Yield for each place of `text` that has the words of this step whether its numbers are those of the step."""
        pattern = rf"(…|(?<!\d)(?>{_NUMBER.pattern}))".join(map(re.escape, _NUMBER.split(self.text.strip())))
        numbers = [answers.read_number(number) for number in _NUMBER.findall(self.text)]
        for match in re.finditer(pattern, text) if numbers else ():
            shown = zip(match.groups(), numbers, strict=True)
            yield all(digits == "…" or answers.read_number(digits) == number for digits, number in shown)

    def without(self, secret: Fraction) -> str:
        """Return its text; if it computes the number `secret`, replace that number by `…`."""
        if self.results and secret not in self.values:
            return self.text
        return _NUMBER.sub(lambda n: "…" if answers.read_number(n[0]) == secret else n[0], self.text)


def _problem(row: Record) -> Problem:
    text, worked = row.text("question").strip(), row.text("answer").strip()
    last = worked.splitlines()[-1]
    gold = _GOLD.fullmatch(last)
    if gold is None or answers.read_number(gold[1]) is None:
        raise row.error(f"the last line of the answer is {last[:60]!r}, not '#### ' and a number")
    lines = [line for line in worked.splitlines()[:-1] if line.strip()]
    steps = [_step(line) for line in lines]
    return Problem(
        id=digest("gsm8k", text)[:16],
        chat=question(text),
        gold=gold[1].replace(",", ""),
        rationale=LINES.write([*(step.text for step in steps), last]),
        bin=_bin(len(steps)),
        data={"annotated": lines},
    )


def _bin(steps: int) -> str:
    return "1 step" if steps < 2 else "2-3 steps" if steps < 4 else "4-5 steps" if steps < 6 else "6 or more steps"


def _step(line: str) -> _Step:
    """Remove the annotations of `line` and note the spans of the numbers after them."""
    text, results, end = "", [], 0
    for match in _ANNOTATED.finditer(line):
        text += line[end : match.start()]
        if match["shown"]:
            results.append((len(text), len(text) + len(match["shown"])))
        text += match["shown"] or ""
        end = match.end()
    return _Step(text + line[end:], tuple(results))


def _steps(problem: Problem) -> Iterator[_Step]:
    return map(_step, problem.data["annotated"])


def _numbers(text: str) -> set[Fraction]:
    return {value for digits in set(_NUMBER.findall(text)) if (value := answers.read_number(digits)) is not None}


def _without_spaces(text: str) -> str:
    return "".join(text.split())


def _slip(number: str, rng: random.Random) -> str:
    """Draw another number near `number`, written in the same way."""
    places = len(number.partition(".")[2])
    value = int(number.replace(",", "").replace(".", ""))
    others = [value + slip for slip in _SLIPS if value < 0 or value + slip >= 0]
    other = rng.choice(others)
    whole, rest = divmod(abs(other), 10**places)
    digits = f"{whole:,}" if "," in number else str(whole)
    return ("-" if other < 0 else "") + digits + (f".{rest:0{places}}" if places else "")
