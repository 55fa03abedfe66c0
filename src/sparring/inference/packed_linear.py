"""Weight matrices packed for the few rows of a decoding step, on a CPU.

PyTorch's layout of a matrix suits many rows. oneDNN reorders a matrix once and then takes 0.4 to 0.9 times as long.
Adapters join the matrix in float32; in bfloat16 a small update would be rounded away, so there they stay beside it.

Axes: N row, I input dimension, O output dimension, R rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sparring.models.adapters import LowRank, low_rank

MAX_ROWS = 64  # rows up to which the reordered matrix is faster


class Linear(NamedTuple):
    """A linear layer and its plain adapter, if it has one."""

    base: nn.Linear
    adapter: LowRank | None


def as_linear(layer: Any) -> Linear | None:
    """Return the parts of `layer` if it can be packed."""
    adapter = low_rank(layer)
    if adapter is not None:
        return Linear(layer.base_layer, adapter)
    return Linear(layer, None) if type(layer) is nn.Linear else None


class PackedMatrix:
    """The matrices of layers that read the same input, one below the other, reordered for few rows."""

    def __init__(self, layers: Sequence[Linear]) -> None:
        self.up_OR: Tensor | None = None
        self.n_outputs = sum(base.out_features for base, _ in layers)
        dtype = layers[0].base.weight.dtype
        if dtype is torch.float32:
            matrices = [_merged(layer) for layer in layers]
        else:  # one product gives the layers' outputs and, behind them, the adapters' reduced inputs
            adapters = [layer.adapter for layer in layers if layer.adapter]
            matrices = [layer.base.weight for layer in layers] + [adapter.down_RI.to(dtype) for adapter in adapters]
            if adapters:
                up_OR: Tensor = torch.block_diag(*map(_scaled_up, layers))  # type: ignore[no-untyped-call]
                self.up_OR = up_OR.to(dtype)
        joined_OI = (torch.cat(matrices) if len(matrices) > 1 else matrices[0].contiguous()).detach()
        self.bias_O = _joined_bias(layers, len(joined_OI))
        self.packed = torch.ops.mkldnn._reorder_linear_weight(joined_OI, MAX_ROWS)

    def __call__(self, input_NI: Tensor) -> Tensor:
        """Return the outputs of the layers, one beside the other, [N, O]."""
        output_NO: Tensor = torch.ops.mkldnn._linear_pointwise(input_NI, self.packed, self.bias_O, "none", [], "")
        if self.up_OR is None:
            return output_NO
        return torch.addmm(output_NO[:, : self.n_outputs], output_NO[:, self.n_outputs :], self.up_OR.T)


def _merged(layer: Linear) -> Tensor:
    weight_OI, adapter = layer.base.weight, layer.adapter
    return weight_OI if adapter is None else torch.addmm(weight_OI, adapter.up_OR, adapter.down_RI, alpha=adapter.scale)


def _scaled_up(layer: Linear) -> Tensor:
    """The second matrix of the adapter times its scale, [O, R]; R is 0 without an adapter."""
    base, adapter = layer
    return base.weight.new_empty(base.out_features, 0).float() if adapter is None else adapter.up_OR * adapter.scale


def _joined_bias(layers: Sequence[Linear], size: int) -> Tensor | None:
    """Return the biases of `layers` one behind the other, followed by zeros up to `size`; None if none has a bias."""
    if all(base.bias is None for base, _ in layers):
        return None
    biases: list[Tensor] = [
        base.weight.new_zeros(base.out_features) if base.bias is None else base.bias for base, _ in layers
    ]
    joined_O = torch.cat(biases).detach()
    return nn.functional.pad(joined_O, (0, size - len(joined_O)))


class PackedLinear(nn.Module):
    """A linear layer, with or without an adapter, whose matrix is packed; many rows go to `layer` itself."""

    def __init__(self, layer: nn.Module, linear: Linear) -> None:
        super().__init__()
        self.layer, self.in_features, self.out_features = layer, linear.base.in_features, linear.base.out_features
        self.matrix = PackedMatrix([linear])

    @property
    def weight(self) -> Any:
        """The matrix of `layer`, without its adapter."""
        return self.layer.weight

    def forward(self, input: Tensor) -> Tensor:
        """Return the output of the layer, [..., O], for an `input` [..., I]."""
        if input.numel() > MAX_ROWS * self.in_features:
            output: Tensor = self.layer(input)
            return output
        return self.matrix(input.reshape(-1, self.in_features)).view(*input.shape[:-1], self.out_features)
