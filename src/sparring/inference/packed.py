"""A copy of a model for sampling on a CPU, which is faster for the few rows of a decoding step.

Layers of known models are packed as a whole (`packed_layer`), of others the linear layers (`packed_linear`). The copy
shares all other tensors with the model, and must be made again when weights have changed.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from sparring.inference.packed_layer import packed_layer
from sparring.inference.packed_linear import Linear, PackedLinear, as_linear

MIN_WEIGHTS = 2**24  # of all linear layers; smaller models stay in the processor's cache, whatever their layout
MAX_BYTES = 2**31  # of all linear layers; larger models are not copied


def packed(network: Any) -> Any:
    """Return a packed copy of `network`, ready for evaluation; `network` itself where that does not help."""
    layers = [linear.base for linear in _linear_layers(network).values()]
    n_bytes = sum(layer.weight.nbytes for layer in layers)
    if not _is_supported(network) or sum(layer.weight.numel() for layer in layers) < MIN_WEIGHTS or n_bytes > MAX_BYTES:
        return network
    # `deepcopy` takes these as copies made already, so the copy shares its tensors with the model.
    shared = [*network.parameters(), *network.buffers()]
    copied = copy.deepcopy(network, {id(tensor): tensor for tensor in shared})
    with torch.no_grad():
        whole = {name: new for name, layer in copied.named_modules() if (new := packed_layer(layer)) is not None}
        prefixes = tuple(f"{name}." for name in whole)
        for name, linear in _linear_layers(copied).items():
            if not name.startswith(prefixes):
                copied.set_submodule(name, PackedLinear(copied.get_submodule(name), linear))
        for name, layer in whole.items():
            copied.set_submodule(name, layer)
    return copied.eval()


def _linear_layers(network: nn.Module) -> dict[str, Linear]:
    """Return the layers that can be packed, by name."""
    found: dict[str, Linear] = {}
    last = None
    for name, layer in network.named_modules():  # what is inside a layer follows it
        linear = None if last and name.startswith(f"{last}.") else as_linear(layer)
        if linear is not None:
            found[name], last = linear, name
    return found


def _is_supported(network: Any) -> bool:
    mkldnn: Any = torch.backends.mkldnn
    if network.device.type != "cpu" or not mkldnn.is_available():
        return False
    if network.dtype is torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return network.dtype is torch.float32
