"""Sampling one token for each row of a batch, with the row's own settings and its own stream of random numbers.

A token is found by inverting the cumulative distribution at a uniform number. That number depends only on the stream
and on how many tokens were sampled from it, so a row samples the same tokens in any batch.

Axes: B row, V vocabulary, W the most likely tokens, in falling order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparring.core.speaker import Sampling

_NO_TOP_K = 2**24  # at least any vocabulary; float32 represents it exactly


def uniform(streams: NDArray[np.uint64], counts: NDArray[np.uint64]) -> NDArray[np.float32]:
    """Return number `counts[i]` of the stream `streams[i]`, in [0, 1), by splitmix64 (Steele, Lea and Flood 2014).

    The generator needs no state besides the count. A float32 holds the upper 24 bits of its output.
    """
    z = streams + (counts + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)  # the state; unsigned numbers wrap around
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    upper_bits = (z >> np.uint64(40)).astype(np.float32)
    uniform_numbers: NDArray[np.float32] = np.ldexp(upper_bits, -24)
    return uniform_numbers


def score_threshold(scores_BV: Tensor, top_k_B1: Tensor, top_p_B1: Tensor) -> Tensor:
    """Return the lowest score that passes the filters, [B, 1].

    Top-k keeps the `top_k` best tokens; top-p then keeps the fewest best that hold `top_p` of their probability mass.
    Tokens that tie with the lowest score pass, too. A `top_k` of at least the vocabulary and a `top_p` of 1 filter
    nothing.
    """
    size = scores_BV.shape[1]
    log_total_B1 = scores_BV.logsumexp(-1, keepdim=True)
    top_k_B1 = top_k_B1.clamp(max=size)
    for width in (256, 4096, size):  # sorting a whole large vocabulary is slow and seldom needed
        best_BW = scores_BV.topk(min(width, size)).values
        cumulative_BW = (best_BW - log_total_B1).exp().cumsum(-1)
        has_only_top_p_B1 = top_k_B1 == size
        holds_top_p_B1 = cumulative_BW[:, -1:] >= top_p_B1
        is_wide_enough_B1 = (top_k_B1 <= width) | (has_only_top_p_B1 & holds_top_p_B1)
        if width >= size or bool(is_wide_enough_B1.all()):
            break
    last_B1 = top_k_B1.clamp(max=best_BW.shape[1]) - 1  # index of the last token that top-k keeps
    # Top-p is a share of what top-k keeps: of everything, if there is no top-k.
    top_k_mass_B1 = torch.where(top_k_B1 < size, cumulative_BW.gather(1, last_B1), 1.0)
    is_enough_BW = cumulative_BW >= top_p_B1 * top_k_mass_B1
    # argmax of a boolean finds the first true one. Rounding can leave none; then all that top-k keeps pass.
    any_enough_B1, first_B1 = is_enough_BW.any(-1, keepdim=True), is_enough_BW.int().argmax(-1, keepdim=True)
    top_p_last_B1 = torch.where(any_enough_B1, first_B1, last_B1)
    return best_BW.gather(1, torch.minimum(top_p_last_B1, last_B1))


class TokenSampler:
    """Samples the next token of the same rows again and again.

    `counts[i]` tokens were sampled from the random stream `streams[i]` before.
    """

    def __init__(
        self, samplings: Sequence[Sampling], streams: Sequence[int], counts: Sequence[int], device: torch.device
    ) -> None:
        self._device = device
        self._streams = np.array(streams, dtype=np.uint64)
        self._counts = np.array(counts, dtype=np.uint64)
        is_greedy = [sampling.temperature == 0 for sampling in samplings]
        self._all_greedy, self._any_greedy = all(is_greedy), any(is_greedy)
        self._is_greedy_B = torch.tensor(is_greedy, device=device)
        self._has_temperature = any(sampling.temperature not in (0, 1) for sampling in samplings)
        self._temperature_B1 = self._column(sampling.temperature or 1.0 for sampling in samplings)
        filtered = {row: s for row, s in enumerate(samplings) if s.temperature and (s.top_k or s.top_p < 1)}
        self._filtered_rows = torch.tensor(list(filtered), dtype=torch.long, device=device)
        self._top_k_B1 = self._column(s.top_k or _NO_TOP_K for s in filtered.values()).long()
        self._top_p_B1 = self._column(s.top_p for s in filtered.values())

    def _column(self, values: Iterable[float]) -> Tensor:
        return torch.tensor(list(values), dtype=torch.float, device=self._device)[:, None]

    def __call__(self, logits_BV: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sampled tokens and the log-probability of each at temperature 1, unfiltered; both [B]."""
        logprobs_BV = logits_BV.float().log_softmax(-1)
        if self._all_greedy:
            logprobs_B, ids_B = logprobs_BV.max(-1)
        else:
            ids_B = self._sample(logprobs_BV)
            logprobs_B = logprobs_BV.gather(1, ids_B[:, None])[:, 0]
        self._counts += np.uint64(1)
        return ids_B, logprobs_B

    def _sample(self, logprobs_BV: Tensor) -> Tensor:
        scores_BV = logprobs_BV / self._temperature_B1 if self._has_temperature else logprobs_BV
        if len(self._filtered_rows):
            filtered_BV = scores_BV[self._filtered_rows]
            threshold_B1 = score_threshold(filtered_BV, self._top_k_B1, self._top_p_B1)
            filtered_BV = filtered_BV.masked_fill(filtered_BV < threshold_B1, -torch.inf)
            scores_BV = scores_BV.index_copy(0, self._filtered_rows, filtered_BV)  # not in place: it may be logprobs_BV
        cumulative_BV = scores_BV.softmax(-1).cumsum(-1)
        u_B = torch.from_numpy(uniform(self._streams, self._counts)).to(self._device)
        # u ≤ 1 - 2⁻²⁴ keeps the product below the last sum, so the token found has mass. Only NaN finds no token.
        target_B1 = u_B[:, None] * cumulative_BV[:, -1:]
        ids_B = torch.searchsorted(cumulative_BV, target_B1, right=True)[:, 0]
        ids_B = ids_B.clamp(max=cumulative_BV.shape[1] - 1)
        return torch.where(self._is_greedy_B, logprobs_BV.argmax(-1), ids_B) if self._any_greedy else ids_B
