"""Adapted linear layers with a hand-written gradient.

PEFT computes x Wᵀ + s · (x Aᵀ) Bᵀ as separate operations, each with an output as large as the layer's. Here the
low-rank part is added within a matrix product, forward and backward, and scaled where it is small. In bfloat16 PEFT
also converts the input to float32 and keeps that copy for the backward pass; here the input stays as it is.

Only plain adapters of frozen linear layers are computed like this; any other layer keeps PEFT's forward pass.

Axes: N token, I input dimension, O output dimension, R rank.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class _LowRankLinear(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0917 - autograd passes arguments by position
        ctx: Any, input_NI: Tensor, weight_OI: Tensor, bias_O: Tensor | None, a_RI: Tensor, b_OR: Tensor, scale: float
    ) -> Tensor:
        low_RI, up_OR = a_RI.to(input_NI.dtype), b_OR.to(input_NI.dtype)
        reduced_NR = input_NI @ low_RI.T
        output_NO = nn.functional.linear(input_NI, weight_OI, bias_O)
        output_NO.addmm_(reduced_NR, up_OR.T, alpha=scale)
        ctx.save_for_backward(input_NI, reduced_NR, weight_OI, a_RI, b_OR)
        ctx.scale = scale
        return output_NO

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_output_NO: Tensor) -> tuple[Tensor | None, ...]:
        input_NI, reduced_NR, weight_OI, a_RI, b_OR = ctx.saved_tensors
        by_reduced_NR = (by_output_NO @ b_OR.to(by_output_NO.dtype)).mul_(ctx.scale)
        by_input_NI = None
        if ctx.needs_input_grad[0]:
            by_input_NI = by_output_NO @ weight_OI
            by_input_NI.addmm_(by_reduced_NR, a_RI.to(by_output_NO.dtype))
        by_a_RI = (by_reduced_NR.T @ input_NI).to(a_RI.dtype)
        by_b_OR = (by_output_NO.T @ reduced_NR).to(b_OR.dtype).mul_(ctx.scale)
        return by_input_NI, None, None, by_a_RI, by_b_OR, None


def hasten(network: nn.Module) -> None:
    """Let the plain adapters in `network` compute their output and their gradient in this way, for good."""
    for layer in network.modules():
        if is_plain(layer):
            layer.forward = partial(_forward, layer, layer.forward)


def is_plain(layer: Any) -> bool:
    """Whether `layer` is a frozen linear layer with one plain adapter, without dropout or a bias of its own."""
    from peft.tuners.lora import Linear  # noqa: PLC0415 - a second to import, and few runs need it

    if type(layer) is not Linear or type(layer.base_layer) is not nn.Linear or layer.base_layer.weight.requires_grad:
        return False
    if layer.lora_variant or list(layer.lora_A) != layer.active_adapters or len(layer.active_adapters) != 1:
        return False
    name = layer.active_adapters[0]
    has_bias = layer.lora_A[name].bias is not None or layer.lora_B[name].bias is not None
    return not has_bias and isinstance(layer.lora_dropout[name], nn.Identity)


def _forward(layer: Any, original: Callable[..., Tensor], input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    weight_OI, name = layer.base_layer.weight, layer.active_adapters[0]
    device = input.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else input.dtype
    if args or kwargs or layer.disable_adapters or layer.merged or dtype != weight_OI.dtype:
        return original(input, *args, **kwargs)
    a_RI, b_OR = layer.lora_A[name].weight, layer.lora_B[name].weight
    apply: Callable[..., Tensor] = _LowRankLinear.apply
    input_NI = input.to(dtype).flatten(0, -2)
    output_NO = apply(input_NI, weight_OI, layer.base_layer.bias, a_RI, b_OR, layer.scaling[name])
    return output_NO.view(*input.shape[:-1], -1)
