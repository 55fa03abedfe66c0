"""Questions of common sense with five options: CommonsenseQA (Talmor et al., arXiv 1811.00937).

A row is `{"question": {"stem", "choices": [{"label", "text"}]}, "answerKey"}` as published, or `{"question",
"choices": {"label": […], "text": […]}, "answerKey"}` as on the hub. The published test rows have no answers, so the
published development rows are the test split here, as is usual.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Ge

from sparring.common.errors import ConfigError
from sparring.common.records import Record
from sparring.common.row_files import read_records
from sparring.common.schema import FilePath
from sparring.common.seeds import digest
from sparring.common.splits import draw_split, split_sources, without_duplicates
from sparring.core.chat import question
from sparring.core.multiple_choice import MultipleChoice, read_options
from sparring.core.task import Problem

_SPLITS = {"train": ("train",), "test": ("validation", "dev")}
_OPTIONAL = {"train": "train = 0 and development = 0", "test": "test = 0"}


@dataclass(frozen=True)
class CommonsenseQA(MultipleChoice):
    """Questions of common sense with five options (CommonsenseQA).

    `source` is a hub id, a folder with `train*` and `dev*` or `validation*` files, or, with `test = 0`, one file of
    training rows (see `sparring.common.records`). `development` problems are drawn from the training rows by `seed`.
    `train` and `test` limit the other training rows and the test rows (None: all). `rationales` is a file that
    `sparring write rationales` wrote for the training problems.
    """

    name: ClassVar[str] = "commonsense_qa"

    source: FilePath = "tau/commonsense_qa"
    train: Annotated[int, Ge(0)] | None = None
    development: Annotated[int, Ge(0)] = 500
    test: Annotated[int, Ge(0)] | None = None
    seed: int = 0
    rationales: FilePath | None = None

    def _load(self) -> tuple[dict[str, list[Problem]], tuple[str, ...]]:
        is_wanted = {"train": self.train != 0 or self.development > 0, "test": self.test != 0}
        wanted = {split: words for split, words in _SPLITS.items() if is_wanted[split]}
        sources = split_sources(self.source, wanted, _OPTIONAL)
        rows = {split: [_problem(row) for s in sources.get(split, ()) for row in read_records(s)] for split in _SPLITS}
        splits, notes = without_duplicates({"test": rows["test"][: self.test], "train": rows["train"]})
        if len(splits["train"]) < self.development + (self.train != 0):
            raise ConfigError(
                f"{self.source} has {len(splits['train'])} training problems, too few to draw development = "
                f"{self.development} of them; ask for fewer"
            )
        splits["development"], rest = draw_split(splits["train"], self.development, self.seed, "development")
        splits["train"] = rest[: self.train]
        if self.rationales is not None:
            splits["train"], more = self._with_rationales(splits["train"], self.rationales)
            notes += more
        return splits, notes


def _problem(row: Record) -> Problem:
    nested = row.has("question.stem")
    asked = row.text("question.stem" if nested else "question").strip()
    options = read_options(row, "question.choices" if nested else "choices")
    gold = row.plain("answerKey")
    if gold is None:
        raise row.error("answerKey is empty; name rows with answers, which the published test rows do not have")
    return Problem(
        id=digest("commonsense_qa", asked, *options.texts)[:16],
        chat=question(f"{asked}\n{options.listed}"),
        gold=options.letter(row, "answerKey", gold),
        data={"choices": list(options.texts)},
    )
