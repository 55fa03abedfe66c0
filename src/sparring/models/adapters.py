"""Low-rank adapters of PEFT, as far as their product can be computed without PEFT.

Axes: I input dimension, O output dimension, R rank.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor, nn


class LowRank(NamedTuple):
    """What a plain adapter adds to the weight of its layer: `scale` · up · down. No tensor has been copied."""

    down_RI: Tensor
    up_OR: Tensor
    scale: float


def low_rank(layer: Any) -> LowRank | None:
    """Return the adapter of `layer`, a linear layer with one plain adapter in use; None for any other layer.

    An adapter with dropout, a bias or another formula is not plain.
    """
    if not type(layer).__module__.startswith("peft."):
        return None
    from peft.tuners.lora import Linear  # noqa: PLC0415 - a second to import, and few runs need it

    if type(layer) is not Linear or type(layer.base_layer) is not nn.Linear or layer.merged or layer.disable_adapters:
        return None
    names = list(layer.active_adapters)
    if layer.lora_variant or list(layer.lora_A) != names or len(names) != 1:
        return None
    down, up, dropout = layer.lora_A[names[0]], layer.lora_B[names[0]], layer.lora_dropout[names[0]]
    if down.bias is not None or up.bias is not None or not isinstance(dropout, nn.Identity):
        return None
    return LowRank(down.weight, up.weight, float(layer.scaling[names[0]]))
