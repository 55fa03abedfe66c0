"""Two rows with the same beginning as one forked row, so that the shared prefix is computed once.

A pair of replies to one prompt becomes prompt, first reply, second reply. The second reply takes the positions after
the prompt and does not attend to the first:

    token      p0 p1 p2 | a0 a1 a2 | b0 b1
    position    0  1  2 |  3  4  5 |  3  4
    b1 sees     ✓  ✓  ✓ |          |  ✓  ✓

This pays if the prompt is a good part of both rows and the forked row is not so long that attention with a mask costs
more than it saves (`docs/log.md` has the figures).

Axes: B row (the two of a pair in turn), P pair, T token of a row, L token of a forked row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sparring.models.renderer import TrainingRow

MIN_SAVED = 0.2  # share of all tokens that forking must save
MAX_FORKED_TOKENS = 2048  # tokens of a forked row


@dataclass(frozen=True)
class Fork:
    """The inputs of a model's body for forked rows, [P, L] and [P, 1, L, L].

    `indices_BT`: where in its flattened output, [P · L], the state of each token of the original rows is.
    """

    ids_PL: Tensor
    positions_PL: Tensor
    mask_P1LL: Tensor
    indices_BT: Tensor

    @classmethod
    def of(cls, ids_BT: Tensor, lengths_B: Tensor, shared_P: Tensor) -> Fork:
        """Fork pairs of rows of lengths `lengths_B`, of which each shares its first `shared_P` tokens."""
        first_P1, second_P1, shared_P1 = lengths_B[0::2, None], lengths_B[1::2, None], shared_P[:, None]
        forked_P1 = first_P1 + second_P1 - shared_P1  # lengths of the forked rows
        pairs, longest = len(shared_P), int(forked_P1.max())
        columns_1L = torch.arange(longest, device=ids_BT.device)[None]
        in_first_PL = columns_1L < first_P1  # the prompt and the first reply; the second reply follows
        positions_PL = torch.where(in_first_PL, columns_1L, columns_1L - first_P1 + shared_P1)
        # Later positions are padding of the forked row, where any token will do; the model may have none so late.
        positions_PL = positions_PL.clamp(max=ids_BT.shape[1] - 1)
        first_ids_PL, second_ids_PL = (ids_BT[row::2].gather(1, positions_PL) for row in (0, 1))
        # The second reply sees nothing of the first.
        in_first_reply_PL = in_first_PL & (columns_1L >= shared_P1)
        hidden_PLL = ~in_first_PL[:, :, None] & in_first_reply_PL[:, None, :]
        causal_LL = columns_1L <= columns_1L.T
        return cls(
            torch.where(in_first_PL, first_ids_PL, second_ids_PL),
            positions_PL,
            (causal_LL & ~hidden_PLL)[:, None],
            _indices_BT(ids_BT, first_P1, shared_P1, pairs, longest),
        )


def _indices_BT(ids_BT: Tensor, first_P1: Tensor, shared_P1: Tensor, pairs: int, longest: int) -> Tensor:
    """Where token t of row b lies in forked rows of `longest` tokens, one after the other."""
    tokens_1T = torch.arange(ids_BT.shape[1], device=ids_BT.device)[None]
    second_PT = torch.where(tokens_1T < shared_P1, tokens_1T, first_P1 + tokens_1T - shared_P1)
    # The first row of a pair lies unchanged at the beginning. Padding of either row may point past the end.
    in_pair_P2T = torch.stack((tokens_1T.expand_as(second_PT), second_PT), dim=1).clamp(max=longest - 1)
    offsets_P11 = torch.arange(pairs, device=ids_BT.device)[:, None, None] * longest
    return (in_pair_P2T + offsets_P11).flatten(0, 1)


def shared_prefixes(rows: Sequence[TrainingRow]) -> list[int] | None:
    """Count the leading untrained tokens that the two rows of each pair share; None if forking does not pay."""
    shared = [_common_prefix(rows[first], rows[first + 1]) for first in range(0, len(rows), 2)]
    lengths = [len(row.ids) for row in rows]
    forked = [first + second - count for first, second, count in zip(lengths[0::2], lengths[1::2], shared, strict=True)]
    all_tokens = sum(lengths)
    pays = sum(shared) >= MIN_SAVED * all_tokens and max(forked) <= MAX_FORKED_TOKENS
    return shared if pays and all(shared) else None


def _common_prefix(row: TrainingRow, other: TrainingRow) -> int:
    count = 0
    for index, (token, other_token) in enumerate(zip(row.ids, other.ids, strict=False)):
        is_trained = row.weights[index] or other.weights[index]  # its log-probability is needed in each row
        if token != other_token or is_trained:
            break
        count += 1
    return count
