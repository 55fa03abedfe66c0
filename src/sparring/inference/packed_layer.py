"""A layer of Llama or of one of its relatives in few operations, for the few rows of a decoding step on a CPU.

With few rows much of a step passes between the products with the weights. Here those of queries, keys and values are
one product, so are those of gate and up projection, a norm takes four operations, and no module is called.

Axes: B row, T token, N row and token, I input dimension, H head, D head dimension.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from sparring.inference.packed_linear import MAX_ROWS, Linear, PackedMatrix, as_linear

LAYERS = ("LlamaDecoderLayer", "MistralDecoderLayer", "Qwen2DecoderLayer", "Qwen3DecoderLayer")


def packed_layer(layer: Any) -> PackedLayer | None:
    """Return the packed copy of `layer`; None if it is none of LAYERS or if one of its matrices cannot be packed."""
    is_known = type(layer).__name__ in LAYERS and type(layer).__module__.startswith("transformers.models.")
    if not is_known or layer.self_attn.config._attn_implementation != "sdpa":
        return None
    names = (*(f"self_attn.{name}_proj" for name in "qkvo"), *(f"mlp.{name}_proj" for name in ("gate", "up", "down")))
    linear = [as_linear(layer.get_submodule(name)) for name in names]
    found = [part for part in linear if part is not None]
    return PackedLayer(layer, found) if len(found) == len(names) else None


class PackedLayer(nn.Module):
    """A decoder layer whose matrices are packed, `linear` in the order q, k, v, o, gate, up, down.

    Many rows go to `layer` itself.
    """

    def __init__(self, layer: Any, linear: list[Linear]) -> None:
        super().__init__()
        queries, keys = linear[0].base, linear[1].base
        self.layer, self.attention, self.activation = layer, layer.self_attn, layer.mlp.act_fn
        self.size, self.head_size = queries.in_features, layer.self_attn.head_dim
        self.n_query_heads = queries.out_features // self.head_size
        self.n_key_heads = keys.out_features // self.head_size
        self.qkv, self.out = PackedMatrix(linear[:3]), PackedMatrix(linear[3:4])
        self.gate_up, self.down = PackedMatrix(linear[4:6]), PackedMatrix(linear[6:])
        self.norms = _Norm(layer.input_layernorm), _Norm(layer.post_attention_layernorm)
        self.head_norms = _head_norms(layer.self_attn, self.n_query_heads, self.n_key_heads)

    def forward(
        self, hidden_states: Tensor, *, past_key_values: Any, position_embeddings: tuple[Tensor, Tensor], **kwargs: Any
    ) -> Tensor:
        """Return the output of the layer, [B, T, I]; the arguments are those of `layer`."""
        if hidden_states.numel() > MAX_ROWS * self.size:
            output: Tensor = self.layer(
                hidden_states, past_key_values=past_key_values, position_embeddings=position_embeddings, **kwargs
            )
            return output
        before_attention, before_mlp = self.norms
        hidden_NI = hidden_states.reshape(-1, self.size)
        heads_BTHD = self.qkv(before_attention(hidden_NI)).view(*hidden_states.shape[:2], -1, self.head_size)
        hidden_NI = hidden_NI + self.out(self._attended(heads_BTHD, past_key_values, position_embeddings, **kwargs))
        gate_NO, up_NO = self.gate_up(before_mlp(hidden_NI)).chunk(2, 1)
        hidden_NI = hidden_NI + self.down(self.activation(gate_NO) * up_NO)
        return hidden_NI.view_as(hidden_states)

    def _attended(
        self, heads_BTHD: Tensor, cache: Any, cos_sin: tuple[Tensor, Tensor], *, attention_mask: Any, **kwargs: Any
    ) -> Tensor:
        """Return what each token takes from those it may see, [N, O], for the heads of queries, keys and values."""
        attention, n_queries, n_keys = self.attention, self.n_query_heads, self.n_key_heads
        turned_BTHD, values_BTHD = heads_BTHD.split_with_sizes((n_queries + n_keys, n_keys), 2)
        if self.head_norms is not None:
            turned_BTHD = self.head_norms(turned_BTHD)
        queries_BTHD, keys_BTHD = _rotated(turned_BTHD, *cos_sin).split_with_sizes((n_queries, n_keys), 2)
        keys, values = keys_BTHD.transpose(1, 2), values_BTHD.transpose(1, 2)
        if cache is not None:
            keys, values = cache.update(keys, values, attention.layer_idx)
        interface = ALL_ATTENTION_FUNCTIONS[attention.config._attn_implementation]
        queries = queries_BTHD.transpose(1, 2)
        attended, _ = interface(
            attention, queries, keys, values, attention_mask, dropout=0.0, scaling=attention.scaling, **kwargs
        )
        result: Tensor = attended.reshape(-1, n_queries * self.head_size)
        return result


class _Norm:
    """A root-mean-square norm, x · w / √(mean(x²) + ε), in four operations: x · (w √I) / √(‖x‖² + I ε).

    `counts`: how often the weights of each of `norms` are repeated, for vectors that lie one behind the other.
    """

    def __init__(self, *norms: Any, counts: tuple[int, ...] = ()) -> None:
        weights = [norm.weight.detach().float() for norm in norms]
        size = len(weights[0])
        repeated = [weight.expand(count, -1) for weight, count in zip(weights, counts, strict=True)] if counts else []
        self.scaled_I = (torch.cat(repeated) if counts else weights[0]) * math.sqrt(size)
        self.root = torch.tensor(math.sqrt(size * norms[0].variance_epsilon))

    def __call__(self, input: Tensor) -> Tensor:
        """Return the normed `input`, [..., I], in its number format."""
        values = input.float()
        norm = torch.linalg.vector_norm(values, dim=-1, keepdim=True)
        return (values * self.scaled_I / torch.hypot(norm, self.root)).to(input.dtype)


def _head_norms(attention: Any, n_query_heads: int, n_key_heads: int) -> _Norm | None:
    """Return the norm of the heads of queries and keys, if there is one."""
    if not hasattr(attention, "q_norm"):
        return None
    return _Norm(attention.q_norm, attention.k_norm, counts=(n_query_heads, n_key_heads))


def _rotated(heads_BTHD: Tensor, cos_BTD: Tensor, sin_BTD: Tensor) -> Tensor:
    """Return the heads turned by the angles of their positions (rotary embedding, Su et al. 2021)."""
    half = heads_BTHD.shape[-1] // 2
    turned_BTHD = torch.cat((-heads_BTHD[..., half:], heads_BTHD[..., :half]), -1)
    return heads_BTHD * cos_BTD.unsqueeze(2) + turned_BTHD * sin_BTD.unsqueeze(2)
