"""Padded batches of rows of similar length, under a budget of tokens.

Padding is on the right and never attended to, so the composition of a batch changes the loss only by rounding.

Axes: `B` row, `T` token.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from sparring.models.renderer import TrainingRow


@dataclass(frozen=True)
class PaddedBatch:
    """`ids_BT` (int64), `attention_BT` (int64, 1 where there is a token), `weight_BT` (float32, 0 for context)."""

    ids_BT: torch.Tensor
    attention_BT: torch.Tensor
    weight_BT: torch.Tensor


def pad(rows: Sequence[TrainingRow], device: torch.device | str = "cpu", pad_id: int = 0) -> PaddedBatch:
    """Stack `rows`, padded on the right to the longest."""
    longest = max(len(row.ids) for row in rows)
    padding = [longest - len(row.ids) for row in rows]
    ids = [[*row.ids, *[pad_id] * n] for row, n in zip(rows, padding, strict=True)]
    attention = [[1] * len(row.ids) + [0] * n for row, n in zip(rows, padding, strict=True)]
    weights = [[*row.weights, *[0.0] * n] for row, n in zip(rows, padding, strict=True)]
    return PaddedBatch(
        torch.tensor(ids, device=device),
        torch.tensor(attention, device=device),
        torch.tensor(weights, dtype=torch.float32, device=device),
    )


def bucketed(lengths: Sequence[int], rows_each: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Group pieces of similar length, the longest first; yield the indices of each group.

    Piece i has `rows_each[i]` rows of at most `lengths[i]` tokens. A group's padded size stays within `budget` tokens,
    unless it has only one piece.
    """
    group: list[int] = []
    n_rows = 0
    for index in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        longest = lengths[group[0]] if group else 0  # the first piece of a group is its longest
        padded_tokens = longest * (n_rows + rows_each[index])
        if group and padded_tokens > budget:
            yield group
            group, n_rows = [], 0
        group.append(index)
        n_rows += rows_each[index]
    if group:
        yield group
