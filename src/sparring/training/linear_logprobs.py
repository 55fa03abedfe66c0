"""Log-probabilities from hidden states, a chunk of tokens at a time, with a hand-written gradient.

The logits of a chunk, [N, V], are used up at once. PyTorch would keep them for the backward pass or compute them again
there. Here the forward pass already computes two gradients while it has the logits:

1. by the hidden states, ∂ log p[n] / ∂ states[n], [N, D]; the backward pass multiplies it by ∂ loss / ∂ log p[n];
2. by the head's weights, Σₙ ∂ loss / ∂ log p[n] · ∂ log p[n] / ∂ weight. The first factor must be known beforehand, up
   to a constant: `expected_N`, which a linear loss knows.

Without `expected_N`, a single chunk keeps its softmax for the backward pass; more than one chunk are computed again.

Axes: N trained token, D hidden dimension, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


@dataclass(frozen=True)
class Head:
    """A linear map to logits, which are then multiplied by `scale` and softly capped at `cap`."""

    weight_VD: Tensor
    bias_V: Tensor | None = None
    scale: float = 1.0
    cap: float | None = None

    def logprobs(self, states_ND: Tensor, ids_N: Tensor, chunk: int, expected_N: Tensor | None = None) -> Tensor:
        """Return log p(ids[n] | states[n]), [N], in float32 or better, with at most `chunk` logits at a time.

        `expected_N` is the expected gradient of the result, up to a factor. If the actual gradient differs, the result
        is still right, at the cost of another pass.
        """
        device = states_ND.device.type
        if torch.is_autocast_enabled(device):
            states_ND = states_ND.to(torch.get_autocast_dtype(device))
        chunk_tokens = max(1, chunk // len(self.weight_VD))
        # Inside `forward` gradients are always off, so whether they are needed is noted here.
        plan = _Plan(self.scale, self.cap, chunk_tokens, torch.is_grad_enabled())
        apply: Callable[..., Tensor] = _LogProbs.apply
        return apply(states_ND, self.weight_VD, self.bias_V, ids_N, expected_N, plan)


@dataclass(frozen=True)
class _Plan:
    """How logits are computed: scale and cap, `chunk_tokens` at a time, and whether gradients are needed."""

    scale: float
    cap: float | None
    chunk_tokens: int
    needs_gradient: bool

    def chunks(self, count: int) -> Iterator[slice]:
        for start in range(0, count, self.chunk_tokens):
            yield slice(start, start + self.chunk_tokens)

    def logits(self, states_ND: Tensor, weight_VD: Tensor, bias_V: Tensor | None) -> Tensor:
        """[N, V], in float32 or better."""
        scores_NV = nn.functional.linear(states_ND, weight_VD, bias_V)
        scores_NV = scores_NV.to(torch.promote_types(scores_NV.dtype, torch.float32))
        if self.scale != 1:
            scores_NV *= self.scale
        return scores_NV if self.cap is None else scores_NV.div_(self.cap).tanh_().mul_(self.cap)

    def cap_slope(self, logits_NV: Tensor) -> Tensor | None:
        """The derivative of the soft cap, cap · tanh(x / cap), where it gave `logits_NV`; None without a cap."""
        return None if self.cap is None else 1 - (logits_NV / self.cap).square()


@dataclass
class _HeadGradient:
    """The gradient by the head's weights and bias, accumulated over tokens, of which each has the weight `factor_N`."""

    weight_VD: Tensor
    bias_V: Tensor | None
    factor_N: Tensor

    @classmethod
    def zero(cls, weight_VD: Tensor, bias_V: Tensor | None, factor_N: Tensor) -> _HeadGradient:
        return cls(torch.zeros_like(weight_VD), None if bias_V is None else torch.zeros_like(bias_V), factor_N)

    def add(self, chunk: slice, slopes_NV: Tensor, states_ND: Tensor) -> None:
        """Add a chunk, of which `slopes_NV` is ∂ log p / ∂ logits; overwrites `slopes_NV`."""
        slopes_NV *= self.factor_N[chunk, None]
        if self.bias_V is not None:
            self.bias_V += slopes_NV.sum(dim=0)
        slopes_VN = slopes_NV.to(states_ND.dtype).t()
        if self.weight_VD.dtype == states_ND.dtype:  # then the product needs no memory of its own
            self.weight_VD.addmm_(slopes_VN, states_ND[chunk])
        else:
            self.weight_VD += slopes_VN @ states_ND[chunk]

    def times(self, factor: Tensor) -> _HeadGradient:
        bias_V = None if self.bias_V is None else self.bias_V * factor
        return _HeadGradient(self.weight_VD.mul_(factor), bias_V, self.factor_N)


@dataclass
class _Softmax:
    """The softmax of a chunk, not yet normalised: exp(logits − maximum), [N, V], and its sum, [N].

    With them the slope of the cap, and the log-probabilities of the chosen tokens.
    """

    exp_NV: Tensor
    sum_N: Tensor
    cap_slope_NV: Tensor | None
    logprobs_N: Tensor


class _Projection:
    """A head applied to hidden states, chunk by chunk."""

    def __init__(self, plan: _Plan, states_ND: Tensor, weight_VD: Tensor, bias_V: Tensor | None, ids_N: Tensor) -> None:
        self.plan, self.states_ND, self.ids_N = plan, states_ND, ids_N
        self.weight_VD = weight_VD.to(states_ND.dtype)
        self.bias_V = None if bias_V is None else bias_V.to(states_ND.dtype)

    def softmax(self, chunk: slice) -> _Softmax:
        """Compute the softmax of one chunk."""
        logits_NV = self.plan.logits(self.states_ND[chunk], self.weight_VD, self.bias_V)
        cap_slope_NV = self.plan.cap_slope(logits_NV) if self.plan.needs_gradient else None
        chosen_N = logits_NV.gather(1, self.ids_N[chunk, None])[:, 0]
        max_N = logits_NV.amax(dim=1)  # subtracted, so that exp cannot overflow
        exp_NV = logits_NV.sub_(max_N[:, None]).exp_()  # in place, the logits are not needed any more
        sum_N = exp_NV.sum(dim=1)
        return _Softmax(exp_NV, sum_N, cap_slope_NV, chosen_N - max_N - sum_N.log())

    def state_gradient(self, chunk: slice, softmax: _Softmax, head_gradient: _HeadGradient | None) -> Tensor:
        """Return ∂ log p[n] / ∂ states[n], [N, D], and add the gradient by the head to `head_gradient`.

        Overwrites `softmax`.
        """
        # ∂ log p / ∂ logits = (1 for the chosen token, 0 for others) − softmax
        slopes_NV = softmax.exp_NV.mul_(-1 / softmax.sum_N[:, None])
        slopes_NV.scatter_add_(1, self.ids_N[chunk, None], torch.ones_like(softmax.sum_N)[:, None])
        if softmax.cap_slope_NV is not None:
            slopes_NV *= softmax.cap_slope_NV
        if self.plan.scale != 1:
            slopes_NV *= self.plan.scale
        gradient_ND = slopes_NV.to(self.states_ND.dtype) @ self.weight_VD
        if head_gradient is not None:
            head_gradient.add(chunk, slopes_NV, self.states_ND)
        return gradient_ND


class _LogProbs(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0917 - autograd passes arguments by position
        ctx: Any,
        states_ND: Tensor,
        weight_VD: Tensor,
        bias_V: Tensor | None,
        ids_N: Tensor,
        expected_N: Tensor | None,
        plan: _Plan,
    ) -> Tensor:
        trains_head = plan.needs_gradient and weight_VD.requires_grad
        head_gradient = None
        if trains_head and expected_N is not None:
            head_gradient = _HeadGradient.zero(weight_VD, bias_V, expected_N)
        # Gradients are computed now unless the head's gradient has to wait for the backward pass.
        is_immediate = plan.needs_gradient and (head_gradient is not None or not trains_head)
        projection, kept_softmax = _Projection(plan, states_ND, weight_VD, bias_V, ids_N), None
        logprobs_N = states_ND.new_empty(len(ids_N), dtype=torch.promote_types(states_ND.dtype, torch.float32))
        gradient_ND = torch.empty_like(states_ND) if is_immediate else None
        for chunk in plan.chunks(len(ids_N)):
            softmax = projection.softmax(chunk)
            logprobs_N[chunk] = softmax.logprobs_N
            if gradient_ND is not None:
                gradient_ND[chunk] = projection.state_gradient(chunk, softmax, head_gradient)
            elif plan.needs_gradient and len(ids_N) <= plan.chunk_tokens:  # the only chunk
                kept_softmax = softmax
        ctx.save_for_backward(states_ND, weight_VD, bias_V, ids_N, gradient_ND)
        ctx.plan, ctx.head_gradient, ctx.kept_softmax = plan, head_gradient, kept_softmax
        return logprobs_N

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_logprobs_N: Tensor) -> tuple[Tensor | None, ...]:
        states_ND, weight_VD, bias_V, ids_N, gradient_ND = ctx.saved_tensors
        head_gradient, kept_softmax = ctx.head_gradient, ctx.kept_softmax
        ctx.head_gradient = ctx.kept_softmax = None  # both are overwritten below
        factor = None if head_gradient is None else _common_factor(by_logprobs_N, head_gradient.factor_N)
        if factor is not None:
            head_gradient = head_gradient.times(factor)
        elif weight_VD.requires_grad:  # nothing was expected, or something else
            head_gradient = _HeadGradient.zero(weight_VD, bias_V, by_logprobs_N)
            gradient_ND = torch.empty_like(states_ND)
            projection = _Projection(ctx.plan, states_ND, weight_VD, bias_V, ids_N)
            for chunk in ctx.plan.chunks(len(ids_N)):
                # No name for the softmax: it would keep the chunk's memory while the next is computed.
                gradient_ND[chunk] = projection.state_gradient(
                    chunk, kept_softmax or projection.softmax(chunk), head_gradient
                )
        by_states_ND = (by_logprobs_N[:, None] * gradient_ND).to(states_ND.dtype)
        if head_gradient is None:
            return by_states_ND, None, None, None, None, None
        return by_states_ND, head_gradient.weight_VD, head_gradient.bias_V, None, None, None


def _common_factor(actual_N: Tensor, expected_N: Tensor) -> Tensor | None:
    """Return the factor by which `actual_N` is `expected_N`, up to rounding; None if there is none."""
    if not len(actual_N):
        return None
    largest = expected_N.abs().argmax()  # where rounding matters least
    factor = actual_N[largest] / expected_N[largest]
    rounding_N = 8 * torch.finfo(actual_N.dtype).eps * actual_N.abs()
    is_equal = (actual_N - factor * expected_N).abs() <= rounding_N  # False for NaN: all expected were 0
    return factor if bool(is_equal.all()) else None
