"""Rows as padded tensors, those of like length together, under a budget of tokens.

Axes: `B` row, `T` token. Padding is on the right and never attended to; what is in a batch changes the loss by no more
than rounding.
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
    """`rows` side by side, padded on the right to the longest."""
    longest = max(len(row.ids) for row in rows)
    ids = [[*row.ids, *[pad_id] * (longest - len(row.ids))] for row in rows]
    attention = [[1] * len(row.ids) + [0] * (longest - len(row.ids)) for row in rows]
    weights = [[*row.weights, *[0.0] * (longest - len(row.ids))] for row in rows]
    return PaddedBatch(
        torch.tensor(ids, device=device),
        torch.tensor(attention, device=device),
        torch.tensor(weights, dtype=torch.float32, device=device),
    )


def bucketed(lengths: Sequence[int], rows_each: Sequence[int], budget: int) -> Iterator[list[int]]:
    """The places of `lengths` in groups of like length, longest first; a group's padded size, counting `rows_each`
    rows for each place, stays within `budget` tokens, or the group has one place."""
    group: list[int] = []
    rows = 0
    for place in sorted(range(len(lengths)), key=lambda place: (-lengths[place], place)):
        if group and lengths[group[0]] * (rows + rows_each[place]) > budget:
            yield group
            group, rows = [], 0
        group.append(place)
        rows += rows_each[place]
    if group:
        yield group
