"""A copy of a model for sampling on a CPU: its linear layers lie in memory in the order in which they are read.

A decoding step multiplies each weight matrix by a few rows, and PyTorch's layout suits many rows. oneDNN reorders a
matrix once and then takes 0.4 to 0.9 times as long. Adapters join the matrix in float32; in bfloat16 a small update
would be rounded away, so there they stay beside it. The copy shares all other tensors with the model, and must be made
again when weights have changed.

Axes: N row, I input dimension, O output dimension, R rank.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from sparring.models.adapters import LowRank, low_rank

MAX_ROWS = 64  # rows up to which the reordered matrix is faster
MIN_WEIGHTS = 2**24  # of all linear layers; smaller models stay in the processor's cache, whatever their layout
MAX_BYTES = 2**31  # of all linear layers; larger models are not copied


class PackedLinear(nn.Module):
    """A linear layer, with or without an adapter, whose matrix is reordered for few rows; more rows go to `layer`."""

    def __init__(self, layer: nn.Module, base: nn.Linear, adapter: LowRank | None) -> None:
        super().__init__()
        self.layer, self.in_features, self.out_features = layer, base.in_features, base.out_features
        weight_OI, bias_O = base.weight.detach(), None if base.bias is None else base.bias.detach()
        self.up_OR, self.scale = None, 1.0
        if adapter is not None and weight_OI.dtype is torch.float32:
            weight_OI = torch.addmm(weight_OI, adapter.up_OR, adapter.down_RI, alpha=adapter.scale)
        elif adapter is not None:  # one product gives the layer's output and, behind it, the adapter's reduced input
            down_RI, up_OR, self.scale = adapter
            self.up_OR = up_OR.detach().to(weight_OI.dtype)
            weight_OI = torch.cat((weight_OI, down_RI.detach().to(weight_OI.dtype)))
            bias_O = None if bias_O is None else torch.cat((bias_O, bias_O.new_zeros(len(down_RI))))
        self.bias_O = bias_O
        self.packed = torch.ops.mkldnn._reorder_linear_weight(weight_OI.contiguous(), MAX_ROWS)

    @property
    def weight(self) -> Any:
        """The matrix of `layer`, without its adapter."""
        return self.layer.weight

    def forward(self, input: Tensor) -> Tensor:
        """Return the output of the layer, [..., O], for an `input` [..., I]."""
        if input.numel() > MAX_ROWS * self.in_features:
            output: Tensor = self.layer(input)
            return output
        input_NI = input.reshape(-1, self.in_features)
        output_NO: Tensor = torch.ops.mkldnn._linear_pointwise(input_NI, self.packed, self.bias_O, "none", [], "")
        if self.up_OR is not None:
            whole_NO, reduced_NR = output_NO[:, : self.out_features], output_NO[:, self.out_features :]
            output_NO = torch.addmm(whole_NO, reduced_NR, self.up_OR.T, alpha=self.scale)
        return output_NO.view(*input.shape[:-1], self.out_features)


def packed(network: Any) -> Any:
    """Return a copy of `network` with its linear layers packed; `network` itself where that does not help."""
    layers = dict(_linear_layers(network))
    sizes = [base.weight.numel() for base, _ in layers.values()]
    n_bytes = sum(base.weight.nbytes for base, _ in layers.values())
    if not _is_supported(network) or sum(sizes) < MIN_WEIGHTS or n_bytes > MAX_BYTES:
        return network
    # `deepcopy` takes these as copies made already, so the copy shares its tensors with the model.
    shared = [*network.parameters(), *network.buffers()]
    copied = copy.deepcopy(network, {id(tensor): tensor for tensor in shared})
    with torch.no_grad():
        for name, (base, adapter) in dict(_linear_layers(copied)).items():
            copied.set_submodule(name, PackedLinear(copied.get_submodule(name), base, adapter))
    return copied


def _linear_layers(network: nn.Module) -> Any:
    """Yield the name, the linear layer and the plain adapter, if any, of each layer that can be packed."""
    within: set[str] = set()
    for name, layer in network.named_modules():
        adapter = low_rank(layer)
        if adapter is not None:
            within.add(f"{name}.")
            yield name, (layer.base_layer, adapter)
        elif type(layer) is nn.Linear and not name.startswith(tuple(within)):
            yield name, (layer, None)


def _is_supported(network: Any) -> bool:
    mkldnn: Any = torch.backends.mkldnn
    if network.device.type != "cpu" or not mkldnn.is_available():
        return False
    if network.dtype is torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return network.dtype is torch.float32
