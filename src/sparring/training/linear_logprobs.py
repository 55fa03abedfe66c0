"""The head of a language model over some hidden states at a time: log-probabilities, and their gradient by hand.

A chunk's logits are used up at once. The library would keep them for the backward pass, or compute them again there.
Here the gradient of a log-probability by its hidden state is taken while the logits are there ([N, D], whatever it is
to be multiplied with), and so is the gradient by the head's own weights where the loss foretells, up to a factor, what
that will be. Where it cannot, a single chunk waits for the backward pass, and more than one are computed once more.

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
    """A linear map to logits, which are then multiplied by `scale` and capped softly at `cap`."""

    weight_VD: Tensor
    bias_V: Tensor | None = None
    scale: float = 1.0
    cap: float | None = None

    def logprobs(self, states_ND: Tensor, ids_N: Tensor, chunk: int, expected_N: Tensor | None = None) -> Tensor:
        """log p(ids[n] | states[n]), [N], in float32 or better, with `chunk` logits at a time.

        `expected_N` is the gradient that the result will get, up to a factor. If it gets another, that is right too,
        and costs one pass more.
        """
        device = states_ND.device.type
        if torch.is_autocast_enabled(device):
            states_ND = states_ND.to(torch.get_autocast_dtype(device))
        plan = _Plan(self.scale, self.cap, max(1, chunk // len(self.weight_VD)), torch.is_grad_enabled())
        apply: Callable[..., Tensor] = _LogProbs.apply
        return apply(states_ND, self.weight_VD, self.bias_V, ids_N, expected_N, plan)


@dataclass(frozen=True)
class _Plan:
    scale: float
    cap: float | None
    rows: int
    learning: bool

    def chunks(self, count: int) -> Iterator[slice]:
        for start in range(0, count, self.rows):
            yield slice(start, start + self.rows)

    def logits(self, states_ND: Tensor, weight_VD: Tensor, bias_V: Tensor | None) -> Tensor:
        """[N, V], in float32 or better."""
        scores_NV = nn.functional.linear(states_ND, weight_VD, bias_V)
        scores_NV = scores_NV.to(torch.promote_types(scores_NV.dtype, torch.float32))
        if self.scale != 1:
            scores_NV *= self.scale
        return scores_NV if self.cap is None else scores_NV.div_(self.cap).tanh_().mul_(self.cap)

    def bent(self, logits_NV: Tensor) -> Tensor | None:
        """The gradient of the cap where it gave `logits_NV`."""
        return None if self.cap is None else 1 - (logits_NV / self.cap).square()


@dataclass
class _HeadGradient:
    """By weights and bias, adding up over tokens, each of which counts `factor_N`."""

    weight_VD: Tensor
    bias_V: Tensor | None
    factor_N: Tensor

    @classmethod
    def zero(cls, weight_VD: Tensor, bias_V: Tensor | None, factor_N: Tensor) -> _HeadGradient:
        return cls(torch.zeros_like(weight_VD), None if bias_V is None else torch.zeros_like(bias_V), factor_N)

    def add(self, some: slice, slopes_NV: Tensor, states_ND: Tensor) -> None:
        slopes_NV *= self.factor_N[some, None]
        if self.bias_V is not None:
            self.bias_V += slopes_NV.sum(dim=0)
        slopes_VN = slopes_NV.to(states_ND.dtype).t()
        if self.weight_VD.dtype == states_ND.dtype:
            self.weight_VD.addmm_(slopes_VN, states_ND[some])
        else:
            self.weight_VD += slopes_VN @ states_ND[some]

    def times(self, factor: Tensor) -> _HeadGradient:
        bias_V = None if self.bias_V is None else self.bias_V * factor
        return _HeadGradient(self.weight_VD.mul_(factor), bias_V, self.factor_N)


@dataclass
class _Soft:
    """A chunk's logits as a softmax wants them: exp(logits − shift), [N, V], what these sum up to, and the gradient of
    the cap; and the log-probabilities of the chosen tokens."""

    shifted_NV: Tensor
    sum_N: Tensor
    bent_NV: Tensor | None
    logprobs_N: Tensor


class _Projection:
    """A head over some hidden states."""

    def __init__(self, plan: _Plan, states_ND: Tensor, weight_VD: Tensor, bias_V: Tensor | None, ids_N: Tensor) -> None:
        self.plan, self.states_ND, self.ids_N = plan, states_ND, ids_N
        self.weight_VD = weight_VD.to(states_ND.dtype)
        self.bias_V = None if bias_V is None else bias_V.to(states_ND.dtype)

    def soft(self, some: slice) -> _Soft:
        """What the head makes of one chunk."""
        logits_NV = self.plan.logits(self.states_ND[some], self.weight_VD, self.bias_V)
        bent_NV = self.plan.bent(logits_NV) if self.plan.learning else None
        chosen_N, shift_N = logits_NV.gather(1, self.ids_N[some, None])[:, 0], logits_NV.amax(dim=1)
        shifted_NV = logits_NV.sub_(shift_N[:, None]).exp_()
        sum_N = shifted_NV.sum(dim=1)
        return _Soft(shifted_NV, sum_N, bent_NV, chosen_N - shift_N - sum_N.log())

    def pull(self, some: slice, soft: _Soft, gradient: _HeadGradient | None) -> Tensor:
        """The gradient of the log-probabilities by hidden state, [N, D]; that by the head is added to `gradient`. Uses
        `soft` up."""
        slopes_NV = soft.shifted_NV.mul_(-1 / soft.sum_N[:, None])
        slopes_NV.scatter_add_(1, self.ids_N[some, None], torch.ones_like(soft.sum_N)[:, None])
        if soft.bent_NV is not None:
            slopes_NV *= soft.bent_NV
        if self.plan.scale != 1:
            slopes_NV *= self.plan.scale
        pull_ND = slopes_NV.to(self.states_ND.dtype) @ self.weight_VD
        if gradient is not None:
            gradient.add(some, slopes_NV, self.states_ND)
        return pull_ND


class _LogProbs(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0917 - the library hands them on by place
        ctx: Any,
        states_ND: Tensor,
        weight_VD: Tensor,
        bias_V: Tensor | None,
        ids_N: Tensor,
        expected_N: Tensor | None,
        plan: _Plan,
    ) -> Tensor:
        moves = plan.learning and weight_VD.requires_grad
        gradient = None if not moves or expected_N is None else _HeadGradient.zero(weight_VD, bias_V, expected_N)
        at_once = plan.learning and (gradient is not None or not moves)
        projection, kept = _Projection(plan, states_ND, weight_VD, bias_V, ids_N), None
        logprobs_N = states_ND.new_empty(len(ids_N), dtype=torch.promote_types(states_ND.dtype, torch.float32))
        pull_ND = torch.empty_like(states_ND) if at_once else None
        for some in plan.chunks(len(ids_N)):
            soft = projection.soft(some)
            logprobs_N[some] = soft.logprobs_N
            if pull_ND is not None:
                pull_ND[some] = projection.pull(some, soft, gradient)
            elif plan.learning and len(ids_N) <= plan.rows:
                kept = soft
        ctx.save_for_backward(states_ND, weight_VD, bias_V, ids_N, pull_ND)
        ctx.plan, ctx.gradient, ctx.kept = plan, gradient, kept
        return logprobs_N

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_N: Tensor) -> tuple[Tensor | None, ...]:
        states_ND, weight_VD, bias_V, ids_N, pull_ND = ctx.saved_tensors
        gradient, kept, ctx.gradient, ctx.kept = ctx.gradient, ctx.kept, None, None  # both are used up
        factor = None if gradient is None else _factor(by_N, gradient.factor_N)
        if factor is not None:
            gradient = gradient.times(factor)
        elif weight_VD.requires_grad:
            gradient, pull_ND = _HeadGradient.zero(weight_VD, bias_V, by_N), torch.empty_like(states_ND)
            projection = _Projection(ctx.plan, states_ND, weight_VD, bias_V, ids_N)
            for some in ctx.plan.chunks(len(ids_N)):
                pull_ND[some] = projection.pull(some, kept or projection.soft(some), gradient)
        by_states_ND = (by_N[:, None] * pull_ND).to(states_ND.dtype)
        if gradient is None:
            return by_states_ND, None, None, None, None, None
        return by_states_ND, gradient.weight_VD, gradient.bias_V, None, None, None


def _factor(by_N: Tensor, expected_N: Tensor) -> Tensor | None:
    """The number that `by_N` is `expected_N` times, to rounding; None if there is none."""
    if not len(by_N):
        return None
    most = expected_N.abs().argmax()
    factor = by_N[most] / expected_N[most]
    same = (by_N - factor * expected_N).abs() <= 8 * torch.finfo(by_N.dtype).eps * by_N.abs()
    return factor if bool(same.all()) else None
