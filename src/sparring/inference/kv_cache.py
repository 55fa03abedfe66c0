"""The key-value cache of many replies of different lengths, and attention over it.

The keys of one layer and one head (values alike); `k3` is the key of the row's token 3:

                     column 0   1   2   3   4   5   6  ...  C-1
    row 0, running         k0  k1  k2  k3  k4  k5   0        0    its next token goes to column 6
    row 1, running         k0  k1  k2  k3   0   0   0        0    its next token goes to column 4
    row 2, ended           k0  k1  k2  k3  k4   0   0        0    cached for prompts with the same beginning
    row 3, free             0   0   0   0   0   0   0        0

All rows are left-aligned: token t lies in column t. A new reply therefore fills a free row from column 0, and nothing
is ever shifted. The batch always occupies the first rows, the longest first; ended replies lie behind it until their
rows are overwritten. `ids_BC` has the same layout with token ids in place of keys, -1 where nothing is cached.

Not here: which request a row belongs to (`engine`).

Axes: B row, T token, H head, C column, D head dimension.
"""

from __future__ import annotations

import math
import mmap
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
BAND = 16  # consecutive rows of similar length, in any order among themselves
MIN_MAPPED_BYTES = 2**20  # of a tensor of the cache, from which its memory is mapped
MAX_WASTED_KEYS = 512  # keys that a span may read needlessly before another matrix product is cheaper

Item = TypeVar("Item")


class Move(NamedTuple):
    """Copy the first `width` columns of row `source` to row `target`; the rest of `target` is no longer cached."""

    source: int
    target: int
    width: int


class KeyValueCache(DynamicCache):  # type: ignore[misc]  # transformers is untyped here
    """Keys and values, [B, H, C, D] for each layer, written in place.

    `select` names what the next forward pass writes and sees. `ids_BC` holds the token ids whose keys and values are
    cached, from column 0 of each row; -1 after the last.
    """

    def __init__(self) -> None:
        super().__init__()
        self.size = (0, 0)  # rows, columns
        self.tensors: dict[int, list[Tensor]] = {}  # layer → [keys, values]
        self.ids_BC = np.empty((0, 0), dtype=np.int64)
        self.last_used_B = np.empty(0, dtype=np.int64)  # the last rearrangement after which the row was in the batch
        self._n_rearrangements = 0
        self.select(torch.empty(0), None, 0)

    def select(self, rows: Tensor, columns: Tensor | None, width: int) -> None:
        """Set what the next forward pass writes and sees.

        `columns` [B], one decoding step: token b goes to column `columns[b]` of row b; all rows of the batch are seen.
        `columns` [B, T], a prefill that continues: token (b, t) goes to `columns[b, t]` of `rows[b]`; `rows` are seen.
        None, a prefill from the start: the tokens fill the first `width` columns of `rows` and see only each other.
        In the first two cases a token sees at most the first `width` columns.
        """
        self.rows, self.columns, self.width = rows, columns, width

    def update(self, keys: Tensor, values: Tensor, layer: int, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Store the keys and values that `layer` computed; return all that its tokens may attend to."""
        if layer not in self.tensors:
            self.tensors[layer] = [self._zeros(keys), self._zeros(values)]
        cached_keys, cached_values = self.tensors[layer]
        return self._write(cached_keys, keys), self._write(cached_values, values)

    def _zeros(self, like_BHTD: Tensor) -> Tensor:
        # Zeros, not uninitialised memory: masked columns are multiplied by a weight of 0, and 0 × NaN is NaN.
        shape = self.size[0], like_BHTD.shape[1], self.size[1], like_BHTD.shape[3]
        n_bytes = math.prod(shape) * like_BHTD.element_size()
        if like_BHTD.device.type != "cpu" or n_bytes < MIN_MAPPED_BYTES:
            return like_BHTD.new_zeros(shape)
        # A cache has room to grow. The system hands out mapped memory as zeros, page by page, once it is written.
        return torch.frombuffer(mmap.mmap(-1, n_bytes), dtype=like_BHTD.dtype).view(shape)

    def _write(self, cached_BHCD: Tensor, new_BHTD: Tensor) -> Tensor:
        if self.columns is None:
            cached_BHCD[self.rows, :, : self.width] = new_BHTD
            return new_BHTD
        if self.columns.ndim == 1:
            cached_BHCD[self.rows, :, self.columns] = new_BHTD[:, :, 0]
            return cached_BHCD[: len(new_BHTD), :, : self.width]
        cached_BHCD[self.rows[:, None], :, self.columns] = new_BHTD.transpose(1, 2)
        return cached_BHCD[self.rows, :, : self.width]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return the number of columns before those being written."""
        return 0 if self.columns is None else self.width - 1

    # ── which tokens are cached where ───────────────────────────────────────────────────────────────────────

    def record(self, row: int, ids: Sequence[int]) -> None:
        """Record that the first columns of `row` hold `ids` and that the others hold nothing."""
        self.ids_BC[row] = -1
        self.ids_BC[row, : len(ids)] = ids

    @property
    def lengths_B(self) -> NDArray[np.int64]:
        """The number of cached tokens in each row."""
        lengths_B: NDArray[np.int64] = (self.ids_BC >= 0).sum(1)
        return lengths_B

    def longest_prefix(self, ids: Sequence[int], minimum: int) -> tuple[int, int]:
        """Find the row that shares the most leading tokens with `ids`: (row, count), or (0, 0) below `minimum`."""
        wanted = np.array(ids[: self.size[1]], dtype=np.int64)
        if len(wanted) < minimum:
            return 0, 0
        # Most rows differ early: only those that share the minimum are compared in full.
        shares_minimum = (self.ids_BC[:, :minimum] == wanted[:minimum]).all(1)
        candidates = np.flatnonzero(shares_minimum)
        if not len(candidates):
            return 0, 0
        is_different = self.ids_BC[candidates, : len(wanted)] != wanted
        n_shared = np.where(is_different.any(1), is_different.argmax(1), len(wanted))  # argmax: the first difference
        best = int(n_shared.argmax())
        return int(candidates[best]), int(n_shared[best])

    def rearrange(
        self, n_rows: int, staying: Collection[Move], reused: Collection[Move], size: tuple[int, int] | None
    ) -> None:
        """Make the first `n_rows` rows those of a new batch, in a cache of `size` (rows, columns) if one is given.

        `staying` moves the rows of the old batch that go on; `reused` copies prefixes to new rows. Evicted rows move
        to free rows, the most recently used first; those for which no row is free are lost.
        """
        lengths_B, (all_rows, width) = self.lengths_B, size or self.size
        staying_sources = {move.source for move in staying}
        idle_rows = [row for row in np.flatnonzero(lengths_B).tolist() if row not in staying_sources]
        last_used = {row: int(self.last_used_B[row]) for row in idle_rows}
        evicted = sorted((row for row in last_used if row < n_rows), key=lambda row: -last_used[row])
        # Rows behind the batch, in the order in which they may be overwritten: free ones, then the least recently used.
        replaceable = sorted(range(n_rows, all_rows), key=lambda row: last_used.get(row, -1))
        evictions = [
            Move(row, target, min(int(lengths_B[row]), width))
            for row, target in zip(evicted, replaceable, strict=False)
        ]
        moves = [*staying, *reused, *evictions]
        # A new cache starts empty, so there even rows that keep their index are copied.
        self.move([move for move in moves if size or move.source != move.target], size)
        vacated = staying_sources - {move.target for move in moves}
        self.ids_BC[[row for row in vacated if row < all_rows]] = -1
        self._n_rearrangements += 1
        self.last_used_B[:n_rows] = self._n_rearrangements

    def move(self, moves: Collection[Move], size: tuple[int, int] | None = None) -> None:
        """Copy rows, all at the same time.

        Given a `size` (rows, columns), copy them into a new cache of that size; all other rows keep their index, as far
        as they fit.
        """
        if size:
            moves = [*moves, *self._unmoved({move.target for move in moves}, size)]
        self.size = size or self.size
        self._move_ids(moves, is_new=bool(size))
        # One copy for each band of rows of similar width, so that few columns are copied needlessly.
        longest_first = sorted(moves, key=lambda move: -move.width)
        bands = [longest_first[i : i + BAND] for i in range(0, len(moves), BAND)]
        copies = [([m.source for m in band], [m.target for m in band], band[0].width) for band in bands]
        for keys_and_values in self.tensors.values():
            for i, old in enumerate(keys_and_values):
                # Read every source before any target is written: a row may be both.
                contents = [old[sources, :, :width] for sources, _, width in copies]
                keys_and_values[i] = self._zeros(old) if size else old
                for content, (_, targets, width) in zip(contents, copies, strict=True):
                    keys_and_values[i][targets, :, :width] = content

    def _unmoved(self, targets: Collection[int], size: tuple[int, int]) -> list[Move]:
        """Copies of all rows that are not in `targets` to the same rows of a cache of `size`."""
        n_rows, n_columns = size
        widths = np.minimum(self.lengths_B, n_columns)[:n_rows].tolist()
        return [Move(row, row, width) for row, width in enumerate(widths) if width and row not in targets]

    def _move_ids(self, moves: Collection[Move], is_new: bool) -> None:
        sources, targets = [move.source for move in moves], [move.target for move in moves]
        ids_BC, last_used_B = self.ids_BC[sources], self.last_used_B[sources]  # copies, so a row may be both
        widths_B1 = np.array([move.width for move in moves], dtype=np.int64)[:, None]
        ids_BC[np.arange(ids_BC.shape[1]) >= widths_B1] = -1
        if is_new:
            self.ids_BC = np.full(self.size, -1, dtype=np.int64)
            self.last_used_B = np.zeros(self.size[0], dtype=np.int64)
        width = min(ids_BC.shape[1], self.size[1])
        self.ids_BC[targets, :width], self.last_used_B[targets] = ids_BC[:, :width], last_used_B


def order_in_bands(items: Sequence[Item], old_index: Mapping[Item, int]) -> list[Item]:
    """Order `items`, sorted by length, so that as many as possible keep their `old_index`.

    Items change places only within a band of BAND.
    """
    result: list[Item] = []
    for begin in range(0, len(items), BAND):
        band = items[begin : begin + BAND]
        indices = range(begin, begin + len(band))
        # Items that lie in the band already keep their index; the others fill its gaps, still sorted by length.
        unmoved = {old_index[item]: item for item in band if old_index.get(item) in indices}
        others = iter([item for item in band if old_index.get(item) not in indices])
        result += [unmoved[index] if index in unmoved else next(others) for index in indices]
    return result


def span_starts(positions: NDArray[np.int64]) -> list[int]:
    """Divide rows, whose lengths fall from band to band, into spans; return the first row of each.

    A span reads as many columns as its longest row has. A new one begins where that would waste MAX_WASTED_KEYS.
    """
    edges = np.arange(0, len(positions), BAND)
    widths = np.maximum.reduceat(positions, edges).tolist() if len(edges) else []
    result = [0]
    for edge, width in zip(edges.tolist(), widths, strict=True):
        span_width = widths[result[-1] // BAND]
        wasted_keys = (len(positions) - edge) * (span_width - width)  # if all rows from here on joined the span
        if wasted_keys > MAX_WASTED_KEYS:
            result.append(edge)
    return result


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
    """Compute the attention of one new token in each row, [B, 1, H, D], span by span.

    A short row then does not read the columns of a much longer one: on a CPU, reading the cache is most of a step.
    Without `spans`, or with an argument that is not implemented here, PyTorch's attention does it.
    """
    if spans is None or any(kwargs.get(name) is not None for name in ("softcap", "position_bias", "cache")):
        fallback: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **kwargs
        )
        return fallback
    rows, heads, _, size = query.shape
    key_heads = key.shape[1]
    # Grouped-query attention: heads / key_heads query heads read the same keys and become the rows of one product.
    query = query.reshape(rows, key_heads, heads // key_heads, size)
    scale = size**-0.5 if scaling is None else scaling
    compute = by_products if query.dtype is torch.float32 else fused
    outputs = []
    for begin, end, width in spans:
        seen, mask = (slice(begin, end), slice(None), slice(width)), attention_mask[begin:end, :, :, :width]
        outputs.append(compute(query[begin:end], key[seen], value[seen], mask, scale))
    result = outputs[0] if len(outputs) == 1 else torch.cat(outputs)
    return result.view(rows, 1, heads, -1), None


def by_products(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scale: float) -> Tensor:
    """Attention of one span by batched products, which in float32 are as fast as PyTorch's attention or faster."""
    scores = (query * scale).flatten(0, 1) @ key.flatten(0, 1).mT
    # The mask is the same for all heads of a row; the view adds it in place.
    scores.view(*query.shape[:3], -1).add_(mask)
    return torch.bmm(scores.softmax(-1), value.flatten(0, 1)).view(*query.shape[:3], -1)


def fused(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scale: float) -> Tensor:
    """Attention of one span in one operation, which in bfloat16 takes half the time of batched products."""
    return torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)


AttentionInterface.register("sparring", attend)


@contextmanager
def span_attention(config: Any) -> Iterator[None]:
    """Let the model of `config` use `attend` inside the block."""
    original, config._attn_implementation = config._attn_implementation, "sparring"
    try:
        yield
    finally:
        config._attn_implementation = original
