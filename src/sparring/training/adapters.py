"""Adapted linear layers with a hand-written gradient.

PEFT computes x Wᵀ + s · (x Aᵀ) Bᵀ as separate operations, each with an output as large as the layer's. Here the
low-rank part is added within a matrix product, forward and backward, and scaled where it is small. In bfloat16 PEFT
also converts the input to float32 and keeps that copy for the backward pass; here the input stays as it is.

Only plain adapters of frozen linear layers are computed like this; any other layer keeps PEFT's forward pass.

Axes: N token, I input dimension, O output dimension, R rank.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from sparring.models.adapters import low_rank


class _LowRankLinear(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0917 - autograd passes arguments by position
        ctx: Any,
        input_NI: Tensor,
        weight_OI: Tensor,
        bias_O: Tensor | None,
        down_RI: Tensor,
        up_OR: Tensor,
        scale: float,
    ) -> Tensor:
        cast_down_RI, cast_up_OR = down_RI.to(input_NI.dtype), up_OR.to(input_NI.dtype)
        reduced_NR = input_NI @ cast_down_RI.T
        output_NO = nn.functional.linear(input_NI, weight_OI, bias_O)
        output_NO.addmm_(reduced_NR, cast_up_OR.T, alpha=scale)
        ctx.save_for_backward(input_NI, reduced_NR, weight_OI, down_RI, up_OR)
        ctx.scale = scale
        return output_NO

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_output_NO: Tensor) -> tuple[Tensor | None, ...]:
        input_NI, reduced_NR, weight_OI, down_RI, up_OR = ctx.saved_tensors
        by_reduced_NR = (by_output_NO @ up_OR.to(by_output_NO.dtype)).mul_(ctx.scale)
        by_input_NI = None
        if ctx.needs_input_grad[0]:
            by_input_NI = by_output_NO @ weight_OI
            by_input_NI.addmm_(by_reduced_NR, down_RI.to(by_output_NO.dtype))
        by_down_RI = (by_reduced_NR.T @ input_NI).to(down_RI.dtype)
        by_up_OR = (by_output_NO.T @ reduced_NR).to(up_OR.dtype).mul_(ctx.scale)
        return by_input_NI, None, None, by_down_RI, by_up_OR, None


def hasten(network: nn.Module) -> None:
    """Let the plain adapters in `network` compute their output and their gradient in this way, for good."""
    layers: Iterable[Any] = network.modules()
    for layer in layers:
        if low_rank(layer) is not None and not layer.base_layer.weight.requires_grad:
            layer.forward = partial(_forward, layer, layer.forward)


def _forward(layer: Any, original: Callable[..., Tensor], input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    device, adapter, base = input.device.type, low_rank(layer), layer.base_layer
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else input.dtype
    if args or kwargs or adapter is None or dtype != base.weight.dtype:
        return original(input, *args, **kwargs)
    apply: Callable[..., Tensor] = _LowRankLinear.apply
    output_NO = apply(input.to(dtype).flatten(0, -2), base.weight, base.bias, *adapter)
    return output_NO.view(*input.shape[:-1], -1)
