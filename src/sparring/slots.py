"""The keys and values of many rows of different ages, and attention over them.

Every row is left-aligned: its token t lies in column t. So a row that ended leaves a place that the next one fills
from column 0, and nothing is ever shifted. Which row is whose is not known here (`sampler`).

Axes: B row, T token, H head, C column, D head dimension.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AttentionInterface, DynamicCache
from transformers.integrations.sdpa_attention import sdpa_attention_forward

Spans = list[tuple[int, int, int]]  # (first row, row after the last, columns)
BAND = 16  # rows of like age side by side, in any order
SPAN = 512  # keys that may be read in vain to spare one more product


class Move(NamedTuple):
    """Row `target` becomes a copy of row `source` in its first `width` columns; the others are of no use then."""

    source: int
    target: int
    width: int


class Slots(DynamicCache):  # type: ignore[misc]  # transformers is untyped here
    """Keys and values, [B, H, C, D] for each layer, written in place.

    A forward pass fills column `columns[i]` of each row i, and sees the first `width` columns; or, with no `columns`,
    it fills the first `width` columns of `rows`, and sees nothing else.
    """

    def __init__(self) -> None:
        super().__init__()
        self.size = (0, 0)
        self.kept: dict[int, list[Tensor]] = {}

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
        kept_BHCD[self.rows, :, self.columns] = new_BHTD[:, :, 0]
        return kept_BHCD[: len(new_BHTD), :, : self.width]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """The columns before those that are being filled."""
        return 0 if self.columns is None else self.width - 1

    def move(self, moves: Collection[Move], size: tuple[int, int] | None = None) -> None:
        """Copies rows, all at the same time; into a new cache of `size` (rows, columns), where nothing else is, if one
        is given."""
        self.size = size or self.size
        longest_first = sorted(moves, key=lambda move: -move.width)
        bands = [longest_first[i : i + BAND] for i in range(0, len(moves), BAND)]
        parts = [([m.source for m in band], [m.target for m in band], band[0].width) for band in bands]
        for pair in self.kept.values():
            for i, old in enumerate(pair):
                rows = [old[source, :, :width] for source, _, width in parts]
                pair[i] = self._empty(old) if size else old
                for row, (_, target, width) in zip(rows, parts, strict=True):
                    pair[i][target, :, :width] = row


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
