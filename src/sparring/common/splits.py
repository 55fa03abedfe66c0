"""Which rows are in which split: the files of published data sets, draws from the training rows, duplicates."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Protocol, TypeVar

from annotated_types import Ge, Interval

from sparring.common.errors import ConfigError
from sparring.common.records import Record
from sparring.common.row_files import HUB, Rows, rows_reader
from sparring.common.seeds import digest

_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+(?:/[\w.-]+)?")

# ---- published data sets


def split_sources(
    source: str,
    splits: Mapping[str, Sequence[str]],
    optional: Mapping[str, str],
    configuration: str | None = None,
) -> dict[str, list[str]]:
    """Return the sources of each of `splits` of a published data set; ConfigError names a split that has none.

    `source` is a hub id (`owner/name`, `owner/name/configuration`), a folder, or one file of the first split. `splits`
    gives the words with which the names of a split's files may begin; the first is the split's name on the hub.
    `optional` gives the settings to do without a split. `configuration` is the hub's default one.
    """
    path = Path(source)
    if path.is_dir():
        files = [file for file in sorted(path.iterdir()) if rows_reader(file)]
        found = {
            split: [str(file) for file in files if file.name.startswith(tuple(words))]
            for split, words in splits.items()
        }
    elif rows_reader(path) and not path.exists():
        raise ConfigError(f"there is no file {source}; give a file, a folder or a hub id")
    elif path.exists():
        found = {split: [source] if number == 0 else [] for number, split in enumerate(splits)}
    else:
        name = source.removeprefix(HUB)
        if not _HUB_ID.fullmatch(name):
            raise ConfigError(f"there is no file or folder {source}, and it is not a hub id; give owner/name")
        if configuration and name.count("/") == 1:
            name = f"{name}/{configuration}"
        found = {split: [f"{HUB}{name}:{words[0]}"] for split, words in splits.items()}
    for split, sources in found.items():
        if not sources:
            files_named = " and ".join(f"{words[0]}*.jsonl" for words in splits.values())
            without = f", or set {optional[split]} to do without" if split in optional else ""
            raise ConfigError(f"{source} has no {split} rows; give a folder with {files_named}{without}")
    return found


# ---- splitting


Size = Annotated[int, Ge(0)] | Annotated[float, Interval(gt=0, lt=1)]
SPLIT_SHARE = 0.1  # share of the training rows for a split without source and size


class _Identified(Protocol):
    """An item; those that have `group` in common ask the same question, and stay in one split."""

    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=_Identified)


def draw_split(items: Sequence[T], size: int, seed: int, stream: str) -> tuple[list[T], list[T]]:
    """Divide `items` into `size` randomly drawn ones and the others, each in their original order.

    The draw depends only on ids and seed, so adding or moving rows changes it little. Of a group it takes all items, so
    it may take a few more.
    """
    sizes = Counter(map(_group, items))
    taken: set[str] = set()
    count = 0
    for group in sorted(sizes, key=lambda group: digest(seed, stream, group)):
        if count >= size:
            break
        taken.add(group)
        count += sizes[group]
    return [item for item in items if _group(item) in taken], [item for item in items if _group(item) not in taken]


def without_duplicates(splits: Mapping[str, Sequence[T]]) -> tuple[dict[str, list[T]], tuple[str, ...]]:
    """Remove items whose question an earlier split asks or that come again in the same split.

    Also return notes with their numbers.
    """
    first_split: dict[str, str] = {}  # by group
    unique: dict[str, list[T]] = {}
    duplicates: Counter[tuple[str, str]] = Counter()  # by (split, the split of the first occurrence)
    for split, items in splits.items():
        unique[split] = []
        ids: set[str] = set()
        for item in items:
            first = first_split.setdefault(_group(item), split)
            if first != split or item.id in ids:
                duplicates[split, first] += 1
            else:
                ids.add(item.id)
                unique[split].append(item)
    notes = (
        f"{split}: {count} dropped ({'asked before' if split == first else f'asked in {first}, too'})"
        for (split, first), count in duplicates.items()
    )
    return unique, tuple(notes)


def _group(item: _Identified) -> str:
    group: str = getattr(item, "group", item.id)
    return group


@dataclass(frozen=True)
class Sources:
    """The sources of three splits; of the training rows only the first `train_rows` are read (None: all).

    A split without a source is drawn from the training rows by `seed`. Its size is a number of rows, or a share of them
    if below 1 (None: a tenth).
    """

    train: str
    development: str | None = None
    test: str | None = None
    development_size: Size | None = None
    test_size: Size | None = None
    seed: int = 0
    train_rows: int | None = None

    def __post_init__(self) -> None:
        for split, source, size in self._held_out():
            if source is not None and size is not None:
                raise ConfigError(
                    f"{split}_size = {size} is for a split without a source, but {split} is {source!r}; "
                    "remove one of them"
                )
            if size is not None and not (size >= 0 if isinstance(size, int) else 0 < size < 1):
                raise ConfigError(f"{split}_size = {size}: give a number of rows, or a share between 0 and 1")

    def open(self) -> dict[str, Rows]:
        """Open the sources by split, in the order in which a repeated question is kept: test, development, train."""
        held_out = {split: Rows(source) for split, source, _ in self._held_out() if source}
        return {**held_out, "train": Rows(self.train, self.train_rows)}

    def read_splits(self, item: Callable[[Record], T]) -> tuple[dict[str, list[T]], tuple[str, ...]]:
        """Convert the rows by `item` and return three disjoint splits, with notes on the duplicates removed."""
        return self.divide({split: [item(row) for row in rows] for split, rows in self.open().items()})

    def divide(self, items: Mapping[str, Sequence[T]]) -> tuple[dict[str, list[T]], tuple[str, ...]]:
        """Return three disjoint splits of `items`, which are given by the split of their source, and notes.

        ConfigError if no training row is left.
        """
        splits, notes = without_duplicates(items)
        total = len(splits["train"])
        for split, source, size in self._held_out():
            if source is None:
                share = SPLIT_SHARE if size is None else size
                count = share if isinstance(share, int) else max(1, round(share * total))
                splits[split], splits["train"] = draw_split(splits["train"], count, self.seed, split)
        if not splits["train"]:
            raise ConfigError(
                f"{self.train} has {total} questions of its own, and none is left to train on; "
                f"give more of them, or a smaller development_size or test_size"
            )
        return splits, notes

    def _held_out(self) -> tuple[tuple[str, str | None, int | float | None], ...]:
        """Return name, source and size of the splits other than train. A row in several splits stays in the first."""
        return ("test", self.test, self.test_size), ("development", self.development, self.development_size)
