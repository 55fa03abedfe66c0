"""Two rows that begin alike as one row that forks: what they share is computed once.

A pair of replies to one prompt is laid out as prompt, first reply, second reply; the second goes on at the prompt's
positions and does not attend to the first. It pays where the prompt is a good part of both and the row is not so long
that attention over a mask costs more than it saves (`docs/log.md` has the figures).

Axes: B row (the two of a pair in turn), P pair, T token of a row, L token of a forked row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sparring.models.renderer import TrainingRow

SAVED = 0.2  # of all tokens, at least
MAX_SHARED_TOKENS = 2048  # tokens of a forked row


@dataclass(frozen=True)
class Fork:
    """What a body is given, [P, L] and [P, 1, L, L], and where in its flattened result the state of each token is."""

    ids_PL: Tensor
    positions_PL: Tensor
    mask_P1LL: Tensor
    places_BT: Tensor

    @classmethod
    def of(cls, ids_BT: Tensor, lengths_B: Tensor, shared_P: Tensor) -> Fork:
        """Rows of these lengths, each two of which have their first `shared_P` tokens in common."""
        first_P1, second_P1, shared_P1 = lengths_B[0::2, None], lengths_B[1::2, None], shared_P[:, None]
        pairs, longest = len(shared_P), int((first_P1 + second_P1 - shared_P1).max())
        columns_1L = torch.arange(longest, device=ids_BT.device)[None]
        in_first_PL = columns_1L < first_P1
        positions_PL = torch.where(in_first_PL, columns_1L, columns_1L - first_P1 + shared_P1)
        last = ids_BT.shape[1] - 1
        one_PL, other_PL = (ids_BT[row::2].gather(1, positions_PL.clamp(max=last)) for row in (0, 1))
        past_PL = ~in_first_PL  # the second reply sees nothing of the first's own
        hidden_PLL = past_PL[:, :, None] & (in_first_PL & (columns_1L >= shared_P1))[:, None, :]
        causal_LL = columns_1L <= columns_1L.T
        tokens_1T = torch.arange(ids_BT.shape[1], device=ids_BT.device)[None]
        second_PT = torch.where(tokens_1T < shared_P1, tokens_1T, first_P1 + tokens_1T - shared_P1)
        places_P2T = torch.stack((tokens_1T.expand_as(second_PT), second_PT), dim=1).clamp(max=longest - 1)
        offsets_P11 = torch.arange(pairs, device=ids_BT.device)[:, None, None] * longest
        return cls(
            torch.where(in_first_PL, one_PL, other_PL),
            positions_PL,
            (causal_LL & ~hidden_PLL)[:, None],
            (places_P2T + offsets_P11).flatten(0, 1),
        )


def shared(rows: Sequence[TrainingRow]) -> list[int] | None:
    """How many tokens each two of `rows` have in common before the first trained one; None where forking does not
    pay."""
    found = [_common(rows[place], rows[place + 1]) for place in range(0, len(rows), 2)]
    longest = max(len(rows[2 * pair].ids) + len(rows[2 * pair + 1].ids) - same for pair, same in enumerate(found))
    pays = sum(found) >= SAVED * sum(len(row.ids) for row in rows) and longest <= MAX_SHARED_TOKENS
    return found if pays and all(found) else None


def _common(one: TrainingRow, other: TrainingRow) -> int:
    count = 0
    for token, (mine, theirs) in enumerate(zip(one.ids, other.ids, strict=False)):
        if mine != theirs or one.weights[token] or other.weights[token]:
            break
        count += 1
    return count
