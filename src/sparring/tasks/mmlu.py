"""Multiple choice questions of 57 subjects with five examples in the prompt: MMLU (Hendrycks et al., arXiv 2009.03300).

A row is `{"question", "subject", "choices", "answer"}`, as in `cais/mmlu`; the answer is an index from 0. The prompt is
the authors': a heading that names the subject, examples with their answers, the question and `Answer:`. Examples are
the first `dev` rows of the subject and serve for nothing else. The authors' figure is the mean over subjects, the bins.

Auxiliary training rows come from other data sets and have no subject, so their prompts have no heading and no examples.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from annotated_types import Ge

from sparring.common.errors import ConfigError
from sparring.common.records import Record
from sparring.common.row_files import read_records
from sparring.common.schema import FilePath
from sparring.common.seeds import digest
from sparring.common.splits import split_sources, without_duplicates
from sparring.core.chat import question
from sparring.core.multiple_choice import MultipleChoice, read_options
from sparring.core.prompt import fill
from sparring.core.task import Problem

AUXILIARY = "auxiliary"  # the bin of rows without a subject
_LETTER = re.compile(r"\s*\(?([A-Z])[).]?[ \t]*\n")
_SPLITS = {
    "shots": ("dev",),
    "test": ("test",),
    "development": ("validation", "val"),
    "train": ("auxiliary_train", "train"),
}


@dataclass(frozen=True)
class MMLU(MultipleChoice):
    """Multiple choice questions of 57 subjects, with examples in the prompt (MMLU).

    `source` is a hub id or a folder with `auxiliary_train*`, `validation*`, `test*` and `dev*` files (see
    `sparring.common.records`), which hold the training, development and test rows and the examples. `shots` is the
    number of examples. `train`, `development` and `test` are limits, shared equally by the subjects (None: all rows; 0:
    no file is needed). `rationales` is a file that `sparring write rationales` wrote for the training problems.

    A question that is asked twice is kept once: among the examples first, then in the test split.
    """

    name: ClassVar[str] = "mmlu"

    source: FilePath = "cais/mmlu"
    shots: Annotated[int, Ge(0)] = 5
    train: Annotated[int, Ge(0)] | None = None
    development: Annotated[int, Ge(0)] | None = None
    test: Annotated[int, Ge(0)] | None = None
    rationales: FilePath | None = None

    def is_right(self, problem: Problem, response: str) -> bool:
        """Return whether `response` chooses the gold option; only its first line is read if that is a letter alone.

        The prompt asks for that, and models without a chat template go on with another question.
        """
        letter = _LETTER.match(response)
        return super().is_right(problem, letter[1] if letter else response)

    def _load(self) -> tuple[dict[str, list[Problem]], tuple[str, ...]]:
        sizes = {split: getattr(self, split) for split in _SPLITS}
        wanted = {split: words for split, words in _SPLITS.items() if sizes[split] != 0}
        sources = split_sources(self.source, wanted, {split: f"{split} = 0" for split in wanted}, "all")
        rows = {split: [_problem(row) for s in sources.get(split, ()) for row in read_records(s)] for split in _SPLITS}
        held_out = {_content(problem) for split in rows if split != "train" for problem in rows[split]}
        auxiliary, rows["train"] = rows["train"], [p for p in rows["train"] if _content(p) not in held_out]
        dropped = len(auxiliary) - len(rows["train"])
        unique, notes = without_duplicates(rows)
        notes += (f"train: {dropped} dropped (asked in another split, too)",) if dropped else ()
        examples = self._examples(rows["shots"])  # repeated ones, too: a subject of the original has one
        splits = {
            split: [self._ask(problem, examples) for problem in _evenly(unique[split], sizes[split])]
            for split in ("train", "development", "test")
        }
        if self.rationales is not None:
            splits["train"], more = self._with_rationales(splits["train"], self.rationales)
            notes += more
        return splits, tuple(note for note in notes if not note.startswith("shots"))

    def _examples(self, problems: Sequence[Problem]) -> dict[str, list[str]]:
        """Return the first examples of each subject, with their answers; ConfigError if a subject has too few."""
        examples: dict[str, list[str]] = {}
        for problem in problems:
            examples.setdefault(problem.bin, []).append(f"{problem.chat.text} {problem.gold}\n\n")
        for subject, listed in examples.items():
            if len(listed) < self.shots:
                few = f"{subject} has {len(listed)} dev rows, too few for shots = {self.shots}"
                raise ConfigError(f"{few}; set shots = {len(listed)} or fewer")
        return {subject: listed[: self.shots] for subject, listed in examples.items()}

    def _ask(self, problem: Problem, examples: Mapping[str, Sequence[str]]) -> Problem:
        """Put the heading and the examples of its subject before the text of `problem`."""
        subject = problem.bin
        if subject == AUXILIARY:
            return problem
        if self.shots and subject not in examples:
            raise ConfigError(f"{self.source} has no dev rows of {subject} for the prompt; add them, or set shots = 0")
        heading = fill(HEADING, subject=subject.replace("_", " "))
        return replace(problem, chat=question("".join((heading, *examples.get(subject, ()), problem.chat.text))))


def _content(problem: Problem) -> tuple[str, ...]:
    """Return the question and its options in any order: auxiliary rows have no subject to be told by."""
    return problem.chat.text.partition("\nA. ")[0], *sorted(problem.data["choices"])


def _problem(row: Record) -> Problem:
    asked, subject = row.text("question").strip(), row.plain("subject") or ""
    options = read_options(row, "choices")
    gold = row.plain("answer")
    if gold is None:
        raise row.error("answer is empty; give the index of the right choice, from 0")
    return Problem(
        id=digest("mmlu", subject, asked, *options.texts)[:16],
        chat=question(f"{asked}\n{options.listed}\nAnswer:"),
        gold=options.letter(row, "answer", gold),
        bin=subject or AUXILIARY,
        data={"choices": list(options.texts)},
    )


def _evenly(problems: Sequence[Problem], size: int | None) -> list[Problem]:
    """Return `size` of `problems`, in their order: the first of each subject, then the second, and so on."""
    seen: Counter[str] = Counter()
    ranked = []
    for index, problem in enumerate(problems):
        ranked.append((seen[problem.bin], index))
        seen[problem.bin] += 1
    return [problems[index] for index in sorted(index for _, index in sorted(ranked)[:size])]


HEADING = "The following are multiple choice questions (with answers) about {subject}.\n\n"
