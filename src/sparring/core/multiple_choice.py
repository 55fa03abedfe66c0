"""Questions with lettered options: how a row's options are read and shown, and the task that such data sets share.

The options stand below the question as lines `A. …`. A gold answer is a letter. `parsing.answers` reads the choice that
a response makes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sparring.common.errors import ConfigError
from sparring.common.records import Record, check_text
from sparring.common.row_files import read_records
from sparring.core.task import Problem, RowTask
from sparring.parsing import answers
from sparring.parsing.steps import LINES, StepFormat


@dataclass(frozen=True)
class Options:
    """The options of a row; `labels` are the data set's own and are not shown."""

    labels: Sequence[str]
    texts: Sequence[str]

    @property
    def listed(self) -> str:
        """The options, one a line, with letters in order."""
        return "\n".join(f"{letter}. {text}" for letter, text in zip(answers.LETTERS, self.texts, strict=False))

    def letter(self, row: Record, column: str, gold: str) -> str:
        """Return the letter of the option that `gold` names; ConfigError if it names none or several."""
        value = row.cell(column)
        is_index = isinstance(value, int | float) and not isinstance(value, bool)
        indices = self._at(gold) if is_index else self._named(gold)
        if len(indices) == 1:
            return answers.LETTERS[indices.pop()]
        reason = "names two of" if indices else "is not among"
        listed = self.listed.replace("\n", ", ")[:100]
        raise row.error(f"{column} is {gold[:40]!r}, which {reason} the choices {listed} (an index counts from 0)")

    def _at(self, index: str) -> set[int]:
        return {position for position in range(len(self.texts)) if str(position) == index}

    def _named(self, gold: str) -> set[int]:
        label = gold.strip("()[].: ").casefold()
        named = {index for index, own_label in enumerate(self.labels) if own_label.casefold() == label}
        named |= {index for index, text in enumerate(self.texts) if text.strip() == gold}
        if named or any(text.strip().isdecimal() for text in self.texts):
            return named
        return self._at(gold)  # in CSV, an index is text


def read_options(row: Record, column: str) -> Options:
    """Read the options at `column`: texts, a list of `{"label", "text"}`, or `{"label": […], "text": […]}`."""
    value = row.cell(column)
    if isinstance(value, Mapping) and {"label", "text"} <= set(value) and len(value["label"]) == len(value["text"]):
        value = [{"label": a, "text": b} for a, b in zip(value["label"], value["text"], strict=True)]
    if not isinstance(value, list) or not 2 <= len(value) <= len(answers.LETTERS):
        raise row.error(f"{column} is not a list of 2 to {len(answers.LETTERS)} choices: {str(value)[:60]}")
    labelled = all(isinstance(option, Mapping) and {"label", "text"} <= set(option) for option in value)
    labels = [str(option["label"]) for option in value] if labelled else answers.LETTERS[: len(value)]
    texts = [option["text"] for option in value] if labelled else value
    return Options(labels, [_text(row, f"{column}, choice {n}", text) for n, text in enumerate(texts, start=1)])


def _text(row: Record, where: str, text: Any) -> str:
    return str(text) if isinstance(text, int | float) else check_text(row, where, text)


class MultipleChoice(RowTask):
    """A task whose gold answers are letters; `data["choices"]` of a problem holds the texts of its options."""

    @property
    def layout(self) -> StepFormat:
        """One step per line."""
        return LINES

    def is_right(self, problem: Problem, response: str) -> bool:
        """Return whether `response` chooses the gold option, by letter or by text."""
        return answers.choice(problem.gold or "", response, problem.data["choices"])

    def _with_rationales(self, problems: Sequence[Problem], source: str) -> tuple[list[Problem], tuple[str, ...]]:
        """Add the rationales in `source` to `problems`, and return notes on those that were not used.

        The rows are those of `sparring write rationales` and are found by their prompt. A rationale that ends in
        another answer is left out. ConfigError if none is of these problems.
        """
        written = {row.text("prompt").strip(): row.text("rationale") for row in read_records(source)}
        unknown = len(written.keys() - {problem.chat.text for problem in problems})
        if unknown == len(written):
            raise ConfigError(
                f"{source} has no rationale for a training problem of {type(self).__name__}; "
                "write them with the same [task] settings"
            )
        found = [replace(p, rationale=written.get(p.chat.text)) for p in problems]
        right = [p if p.rationale and self.is_right(p, p.rationale) else replace(p, rationale=None) for p in found]
        wrong = sum(p.rationale is not None for p in found) - sum(p.rationale is not None for p in right)
        counts = {"rationales of no training problem": unknown, "rationales that end in another answer": wrong}
        return right, tuple(f"{what}: {count}" for what, count in counts.items() if count)
