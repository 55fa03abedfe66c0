"""The keys and values of many rows of different ages, and attention over them.

Every row is left-aligned: its token t lies in column t. So a row that ended leaves a place that the next one fills
from column 0, and nothing is ever shifted. What a place holds is of use until it is overwritten: a prompt that begins
with the same tokens need not have them computed again. Which row is whose is not known here (`sampler`).

Axes: B row, T token, H head, C column, D head dimension.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AttentionInterface, DynamicCache
from transformers.integrations.sdpa_attention import sdpa_attention_forward

Spans = list[tuple[int, int, int]]  # (first row, row after the last, columns)
BAND = 16  # rows of like age side by side, in any order
SPAN = 512  # keys that may be read in vain to spare one more product

Item = TypeVar("Item")


class Move(NamedTuple):
    """Row `target` becomes a copy of row `source` in its first `width` columns; the others are of no use then."""

    source: int
    target: int
    width: int


class Slots(DynamicCache):  # type: ignore[misc]  # transformers is untyped here
    """Keys and values, [B, H, C, D] for each layer, written in place.

    A forward pass fills `columns` of `rows`, one for each of its tokens, and sees the first `width` columns: those of
    the first rows if `columns` is [B], a step of all, and those of `rows` if it is [B, T]. With no `columns` it fills
    the first `width` columns of `rows`, and sees nothing else.

    `ids_BC` are the tokens that the keys and values in a place are those of, from column 0; -1 after the last.
    """

    def __init__(self) -> None:
        super().__init__()
        self.size = (0, 0)
        self.kept: dict[int, list[Tensor]] = {}
        self.ids_BC = np.empty((0, 0), dtype=np.int64)
        self.used_B = np.empty(0, dtype=np.int64)  # at which rearrangement a place was last of the batch
        self._rearranged = 0
        self.aim(torch.empty(0), None, 0)

    def aim(self, rows: Tensor, columns: Tensor | None, width: int) -> None:
        """Says what the next forward pass fills and sees."""
        self.rows, self.columns, self.width = rows, columns, width

    def update(self, keys: Tensor, values: Tensor, layer: int, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Stores the keys and values that `layer` computed; returns all that it may attend to."""
        if layer not in self.kept:
            self.kept[layer] = [self._empty(keys), self._empty(values)]
        kept_keys, kept_values = self.kept[layer]
        return self._write(kept_keys, keys), self._write(kept_values, values)

    def _empty(self, like_BHTD: Tensor) -> Tensor:
        # Zeros: what the mask hides is still multiplied by its weight of 0, and 0 × NaN is NaN.
        return like_BHTD.new_zeros(self.size[0], like_BHTD.shape[1], self.size[1], like_BHTD.shape[3])

    def _write(self, kept_BHCD: Tensor, new_BHTD: Tensor) -> Tensor:
        if self.columns is None:
            kept_BHCD[self.rows, :, : self.width] = new_BHTD
            return new_BHTD
        if self.columns.ndim == 1:
            kept_BHCD[self.rows, :, self.columns] = new_BHTD[:, :, 0]
            return kept_BHCD[: len(new_BHTD), :, : self.width]
        kept_BHCD[self.rows[:, None], :, self.columns] = new_BHTD.transpose(1, 2)
        return kept_BHCD[self.rows, :, : self.width]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """The columns before those that are being filled."""
        return 0 if self.columns is None else self.width - 1

    # ── what lies where ─────────────────────────────────────────────────────────────────────────────────────

    def hold(self, place: int, ids: Sequence[int]) -> None:
        """Notes that the first columns of `place` are those of `ids`, and the others of nothing."""
        self.ids_BC[place] = -1
        self.ids_BC[place, : len(ids)] = ids

    @property
    def filled_B(self) -> NDArray[np.int64]:
        """How many columns of each place are of use."""
        found: NDArray[np.int64] = (self.ids_BC >= 0).sum(1)
        return found

    def longest(self, ids: Sequence[int], least: int) -> tuple[int, int]:
        """The place that holds the most of the beginning of `ids`, and how much; (0, 0) if less than `least`."""
        wanted = np.array(ids[: self.size[1]], dtype=np.int64)
        if len(wanted) < least:
            return 0, 0
        places = np.flatnonzero((self.ids_BC[:, :least] == wanted[:least]).all(1))
        if not len(places):
            return 0, 0
        differing = self.ids_BC[places, : len(wanted)] != wanted
        common = np.where(differing.any(1), differing.argmax(1), len(wanted))
        best = int(common.argmax())
        return int(places[best]), int(common[best])

    def arrange(
        self, rows: int, staying: Collection[Move], known: Collection[Move], size: tuple[int, int] | None
    ) -> None:
        """Makes the first `rows` places those of a batch, by the moves of its rows and the copies of what is `known` to
        others; what these places held else is moved out of their way, the newest first, as far as there is room."""
        going, taken = {move.source for move in staying}, {move.target for move in (*staying, *known)}
        filled_B, last = self.filled_B, (size or self.size)[0]
        worth = {place: int(self.used_B[place]) for place in np.flatnonzero(filled_B).tolist() if place not in going}
        displaced = sorted((place for place in worth if place < rows), key=lambda place: -worth[place])
        spare = sorted(range(rows, last), key=lambda place: worth.get(place, -1))
        width = (size or self.size)[1]
        away = [Move(p, to, min(int(filled_B[p]), width)) for p, to in zip(displaced, spare, strict=False)]
        moves = [*staying, *known, *away]
        self.move([move for move in moves if size or move.source != move.target], size)
        left = going - taken - {move.target for move in away}
        self.ids_BC[[place for place in left if place < last]] = -1
        self._rearranged += 1
        self.used_B[:rows] = self._rearranged

    def move(self, moves: Collection[Move], size: tuple[int, int] | None = None) -> None:
        """Copies rows, all at the same time; into a new cache of `size` (rows, columns), where the others keep their
        places, as far as there is room, if one is given."""
        if size:
            moves = [*moves, *self._staying({move.target for move in moves}, size)]
        self.size = size or self.size
        self._move_ids(moves, bool(size))
        longest_first = sorted(moves, key=lambda move: -move.width)
        bands = [longest_first[i : i + BAND] for i in range(0, len(moves), BAND)]
        parts = [([m.source for m in band], [m.target for m in band], band[0].width) for band in bands]
        for pair in self.kept.values():
            for i, old in enumerate(pair):
                rows = [old[source, :, :width] for source, _, width in parts]
                pair[i] = self._empty(old) if size else old
                for row, (_, target, width) in zip(rows, parts, strict=True):
                    pair[i][target, :, :width] = row

    def _staying(self, taken: Collection[int], size: tuple[int, int]) -> list[Move]:
        widths = np.minimum(self.filled_B, size[1])[: size[0]].tolist()
        return [Move(place, place, width) for place, width in enumerate(widths) if width and place not in taken]

    def _move_ids(self, moves: Collection[Move], anew: bool) -> None:
        sources, targets = [move.source for move in moves], [move.target for move in moves]
        ids_BC, used_B = self.ids_BC[sources], self.used_B[sources]
        ids_BC[np.arange(ids_BC.shape[1]) >= np.array([move.width for move in moves], dtype=np.int64)[:, None]] = -1
        if anew:
            self.ids_BC, self.used_B = np.full(self.size, -1, dtype=np.int64), np.zeros(self.size[0], dtype=np.int64)
        width = min(ids_BC.shape[1], self.size[1])
        self.ids_BC[targets, :width], self.used_B[targets] = ids_BC[:, :width], used_B


def settled(items: Sequence[Item], before: Mapping[Item, int]) -> list[Item]:
    """The `items`, sorted by age, so ordered within a band that as many as possible stay where they were `before`."""
    result: list[Item] = []
    for begin in range(0, len(items), BAND):
        band = items[begin : begin + BAND]
        places = range(begin, begin + len(band))
        staying = {before[item]: item for item in band if before.get(item) in places}
        coming = iter([item for item in band if before.get(item) not in places])
        result += [staying[place] if place in staying else next(coming) for place in places]
    return result


def starts(positions: NDArray[np.int64]) -> list[int]:
    """Where spans begin in rows whose age falls from band to band, so that few columns are read in vain."""
    edges = np.arange(0, len(positions), BAND)
    widths = np.maximum.reduceat(positions, edges).tolist() if len(edges) else []
    found = [0]
    for edge, width in zip(edges.tolist(), widths, strict=True):
        if (len(positions) - edge) * (widths[found[-1] // BAND] - width) > SPAN:
            found.append(edge)
    return found


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    *,
    scaling: float | None = None,
    spans: Spans | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention of one new token in each row, [B, 1, H, D], span by span, so that no row pays for the columns of a
    much older one: on a CPU, reading the cache is most of a step."""
    if spans is None or any(kwargs.get(name) is not None for name in ("softcap", "position_bias", "cache")):
        plain: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **kwargs
        )
        return plain
    (rows, heads, _, size), share = query.shape, key.shape[1]  # heads / share query heads read the same keys
    query = (query * (size**-0.5 if scaling is None else scaling)).reshape(rows * share, heads // share, size)
    result = query.new_empty(*query.shape[:2], value.shape[3])
    for begin, end, width in spans:
        part = slice(begin * share, end * share)
        scores = query[part] @ key[begin:end, :, :width].flatten(0, 1).mT
        scores.view(end - begin, share, -1, width).add_(attention_mask[begin:end, :, :, :width])
        torch.bmm(scores.softmax(-1), value[begin:end, :, :width].flatten(0, 1), out=result[part])
    return result.view(rows, 1, heads, -1), None


AttentionInterface.register("sparring", attend)


@contextmanager
def attending_by_span(config: Any) -> Iterator[None]:
    """The model of `config` attends by `attend`, and afterwards as before."""
    kind, config._attn_implementation = config._attn_implementation, "sparring"
    try:
        yield
    finally:
        config._attn_implementation = kind
