"""One token for each row of a batch: by the row's own settings, from the row's own stream of random numbers.

A token is found by inverting the cumulative distribution at a number that depends on nothing but the stream and on
how many tokens were drawn from it, so a row draws the same in any company.

Axes: B row, V vocabulary, W the best of the vocabulary, in falling order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparring.core.speaker import Sampling


def uniform(streams: NDArray[np.uint64], counts: NDArray[np.uint64]) -> NDArray[np.float32]:
    """Number `counts[i]` of the stream `streams[i]`, in [0, 1): splitmix64 (Steele, Lea and Flood 2014), which needs
    no state but the count. A float32 holds the upper 24 bits."""
    z = streams + (counts + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    u: NDArray[np.float32] = np.ldexp((z >> np.uint64(40)).astype(np.float32), -24)
    return u


def least_kept(scores_BV: Tensor, top_k_B1: Tensor, top_p_B1: Tensor) -> Tensor:
    """The least score that stays, [B, 1]: of the `top_k` best, the fewest best that hold `top_p` of their mass.

    Scores that tie with it stay too. A `top_k` of the vocabulary or more, and a `top_p` of 1, filter nothing.
    """
    size = scores_BV.shape[1]
    whole_B1 = scores_BV.logsumexp(-1, keepdim=True)
    top_k_B1 = top_k_B1.clamp(max=size)
    for width in (256, 4096, size):  # to sort all of a large vocabulary is slow, and seldom needed
        best_BW = scores_BV.topk(min(width, size)).values
        held_BW = (best_BW - whole_B1).exp().cumsum(-1)
        found_B1 = (top_k_B1 <= width) | ((top_k_B1 == size) & (held_BW[:, -1:] >= top_p_B1))
        if width >= size or bool(found_B1.all()):
            break
    last_B1 = top_k_B1.clamp(max=best_BW.shape[1]) - 1
    mass_B1 = torch.where(top_k_B1 < size, held_BW.gather(1, last_B1), 1.0)
    enough_BW = held_BW >= top_p_B1 * mass_B1
    first_B1 = torch.where(enough_BW.any(-1, keepdim=True), enough_BW.int().argmax(-1, keepdim=True), last_B1)
    return best_BW.gather(1, torch.minimum(first_B1, last_B1))


class Draw:
    """Draws again and again for the same rows; `counts` tokens were drawn from the `streams` before."""

    def __init__(
        self, samplings: Sequence[Sampling], streams: Sequence[int], counts: Sequence[int], device: torch.device
    ) -> None:
        self._device = device
        self._streams = np.array(streams, dtype=np.uint64)
        self._counts = np.array(counts, dtype=np.uint64)
        greedy = [sampling.temperature == 0 for sampling in samplings]
        self._all_greedy, self._any_greedy = all(greedy), any(greedy)
        self._greedy_B = torch.tensor(greedy, device=device)
        self._tempered = any(sampling.temperature not in (0, 1) for sampling in samplings)
        self._heat_B1 = self._column(sampling.temperature or 1.0 for sampling in samplings)
        filtered = {i: s for i, s in enumerate(samplings) if s.temperature and (s.top_k or s.top_p < 1)}
        self._filtered = torch.tensor(list(filtered), dtype=torch.long, device=device)
        self._top_k_B1 = self._column(s.top_k or 2**24 for s in filtered.values()).long()
        self._top_p_B1 = self._column(s.top_p for s in filtered.values())

    def _column(self, values: Iterable[float]) -> Tensor:
        return torch.tensor(list(values), dtype=torch.float, device=self._device)[:, None]

    def __call__(self, logits_BV: Tensor) -> tuple[Tensor, Tensor]:
        """The tokens drawn, and the log-probability of each at temperature 1, unfiltered; both [B]."""
        logprobs_BV = logits_BV.float().log_softmax(-1)
        if self._all_greedy:
            logprobs_B, ids_B = logprobs_BV.max(-1)
        else:
            ids_B = self._sampled(logprobs_BV)
            logprobs_B = logprobs_BV.gather(1, ids_B[:, None])[:, 0]
        self._counts += np.uint64(1)
        return ids_B, logprobs_B

    def _sampled(self, logprobs_BV: Tensor) -> Tensor:
        scores_BV = logprobs_BV / self._heat_B1 if self._tempered else logprobs_BV
        if len(self._filtered):
            some_BV = scores_BV[self._filtered]
            some_BV = some_BV.masked_fill(some_BV < least_kept(some_BV, self._top_k_B1, self._top_p_B1), -torch.inf)
            scores_BV = scores_BV.index_copy(0, self._filtered, some_BV)
        mass_BV = scores_BV.softmax(-1).cumsum(-1)
        u_B = torch.from_numpy(uniform(self._streams, self._counts)).to(self._device)
        # u ≤ 1 - 2⁻²⁴ keeps the product below the last sum: the token found has mass. Only NaN finds none at all.
        ids_B = torch.searchsorted(mass_BV, u_B[:, None] * mass_BV[:, -1:], right=True)[:, 0]
        ids_B = ids_B.clamp(max=mass_BV.shape[1] - 1)
        return torch.where(self._greedy_B, logprobs_BV.argmax(-1), ids_B) if self._any_greedy else ids_B
