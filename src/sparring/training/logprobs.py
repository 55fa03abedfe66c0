"""Log-probabilities at the trained positions only, in chunks: a tensor of all logits never exists.

The head is most of the memory of a model with a large vocabulary, and prompts and padding need none of it. So the body
runs over whole rows, the hidden states before trained tokens are picked, and the head is applied to some of them at a
time (`projection`). A head that is more than a linear map, such as one with adapters, is left to the library: a chunk's
logits are then computed again in the backward pass rather than kept.

It is a module that wraps the model, so that DDP, FSDP and hooks see the forward pass that is trained.

Axes: B row, T token, N trained token, D hidden dimension, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sparring.models.introspection import check_head, hidden, inner, logit_scaling, logits
from sparring.training.linear_logprobs import Head
from sparring.training.prefix_sharing import Fork

CHUNKS = {"cpu": 2**24}  # logits at a time: here the cache counts, on a GPU that its weights are read seldom
CHUNK = 2**26


class TokenLogProbs(nn.Module):
    """The log-probabilities that `model` gives to chosen tokens; `chunk` logits exist at a time (None: as suits the
    device)."""

    def __init__(self, model: Any, chunk: int | None = None) -> None:
        super().__init__()
        self.model = model
        self.chunk = chunk
        check_head(model)

    def forward(
        self,
        ids_BT: Tensor,
        attention_BT: Tensor,
        trained_BT: Tensor,
        expected_BT: Tensor | None = None,
        shared_P: Tensor | None = None,
    ) -> Tensor:
        """log p(ids[b, t] | ids[b, :t]), [B, T], in float32 (float64 for a model in float64), where `trained_BT`
        is true; 0 elsewhere. `attention_BT` is 1 for tokens and 0 for padding, which must be on the right.

        `expected_BT` is what the result's gradient will be, up to a factor, where a loss knows: it saves a pass.
        `shared_P` is how many tokens each two rows have in common at their start, to be computed once (`forks`).
        """
        trained_BT, attention_BT = trained_BT.bool(), attention_BT.long()
        if bool(trained_BT[:, 0].any() | (attention_BT.diff(dim=1) > 0).any() | (trained_BT > attention_BT).any()):
            raise ValueError("padding must be on the right, and neither it nor the first token of a row be trained")
        chosen_BT = trained_BT[:, 1:]
        if shared_P is not None:
            fork = Fork.of(ids_BT, attention_BT.sum(dim=1), shared_P)
            states_PLD = hidden(self.model, fork.ids_PL, fork.positions_PL, fork.mask_P1LL)
            states_ND = states_PLD.flatten(0, 1)[fork.places_BT[:, :-1][chosen_BT]]
        else:
            # Padding on the right needs no mask: no token sees what comes after it. The last column predicts nothing.
            states_BTD = hidden(self.model, ids_BT[:, : max(1, ids_BT.shape[1] - 1)])
            states_ND = states_BTD[:, : chosen_BT.shape[1]][chosen_BT]
        expected_N = None if expected_BT is None else expected_BT[:, 1:][chosen_BT]
        logprobs_N = self._picked(states_ND, ids_BT[:, 1:][chosen_BT], expected_N)
        return logprobs_N.new_zeros(ids_BT.shape).masked_scatter(trained_BT, logprobs_N)

    def _picked(self, states_ND: Tensor, ids_N: Tensor, expected_N: Tensor | None) -> Tensor:
        chunk = self.chunk or CHUNKS.get(states_ND.device.type, CHUNK)
        map_ = inner(self.model).get_output_embeddings()
        if type(map_) is nn.Linear:
            head = Head(map_.weight, map_.bias, *logit_scaling(self.model))
            return head.logprobs(states_ND, ids_N, chunk, expected_N)
        size = max(1, chunk // self.model.config.get_text_config(decoder=True).vocab_size)
        pairs = list(zip(torch.split(states_ND, size), torch.split(ids_N, size), strict=True))
        if len(pairs) == 1 or not torch.is_grad_enabled():
            return torch.cat([self._scored(*pair) for pair in pairs])
        return torch.cat([checkpoint(self._scored, *pair, use_reentrant=False) for pair in pairs])

    def _scored(self, states_ND: Tensor, ids_N: Tensor) -> Tensor:
        scores_NV = logits(self.model, states_ND)
        scores_NV = scores_NV.to(torch.promote_types(scores_NV.dtype, torch.float32))
        return -nn.functional.cross_entropy(scores_NV, ids_N, reduction="none")
