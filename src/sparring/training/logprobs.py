"""Log-probabilities at the trained positions only, in chunks: the tensor of all logits never exists.

With a large vocabulary, the logits take most of the memory, and prompts and padding need none. So the body runs over
whole rows, and the head only over the hidden states before trained tokens, a chunk at a time (`linear_logprobs`). For a
head that is more than a linear map, such as one with adapters, PyTorch computes the gradient; a chunk's logits are then
recomputed in the backward pass rather than kept.

`TokenLogProbs` is a module that wraps the model, so that DDP, FSDP and hooks see the forward pass that is trained.

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

CHUNKS = {"cpu": 2**24}  # logits at a time on a CPU, whose caches are small
CHUNK = 2**26  # on a GPU larger chunks read the head's weights less often


class TokenLogProbs(nn.Module):
    """Computes the log-probabilities that `model` gives to chosen tokens.

    At most `chunk` logits exist at a time (None: as suits the device).
    """

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
        """Return log p(ids[b, t] | ids[b, :t]), [B, T], where `trained_BT` is true, and 0 elsewhere.

        The result is in float32, or float64 for a model in float64. `attention_BT` is 1 for tokens and 0 for padding,
        which must be on the right. `expected_BT` is the expected gradient of the result, up to a factor, if the loss
        knows it: that saves a pass. `shared_P` is the number of leading tokens that the two rows of each pair share, to
        be computed only once (`prefix_sharing`).
        """
        trained_BT, attention_BT = trained_BT.bool(), attention_BT.long()
        trains_first, pads_left = trained_BT[:, 0].any(), (attention_BT.diff(dim=1) > 0).any()
        trains_padding = (trained_BT > attention_BT).any()
        if bool(trains_first | pads_left | trains_padding):
            raise ValueError("padding must be on the right, and neither it nor the first token of a row be trained")
        chosen_BT = trained_BT[:, 1:]  # at the position that predicts the trained token
        if shared_P is not None:
            fork = Fork.of(ids_BT, attention_BT.sum(dim=1), shared_P)
            states_PLD = hidden(self.model, fork.ids_PL, fork.positions_PL, fork.mask_P1LL)
            states_ND = states_PLD.flatten(0, 1)[fork.indices_BT[:, :-1][chosen_BT]]
        else:
            # Padding on the right needs no mask: no token sees later ones. The last column predicts nothing.
            states_BTD = hidden(self.model, ids_BT[:, : max(1, ids_BT.shape[1] - 1)])
            states_ND = states_BTD[:, : chosen_BT.shape[1]][chosen_BT]
        expected_N = None if expected_BT is None else expected_BT[:, 1:][chosen_BT]
        logprobs_N = self._logprobs(states_ND, ids_BT[:, 1:][chosen_BT], expected_N)
        return logprobs_N.new_zeros(ids_BT.shape).masked_scatter(trained_BT, logprobs_N)

    def _logprobs(self, states_ND: Tensor, ids_N: Tensor, expected_N: Tensor | None) -> Tensor:
        chunk = self.chunk or CHUNKS.get(states_ND.device.type, CHUNK)
        output_layer = inner(self.model).get_output_embeddings()
        if type(output_layer) is nn.Linear:
            head = Head(output_layer.weight, output_layer.bias, *logit_scaling(self.model))
            return head.logprobs(states_ND, ids_N, chunk, expected_N)
        chunk_tokens = max(1, chunk // self.model.config.get_text_config(decoder=True).vocab_size)
        chunks = list(zip(torch.split(states_ND, chunk_tokens), torch.split(ids_N, chunk_tokens), strict=True))
        if len(chunks) == 1 or not torch.is_grad_enabled():
            return torch.cat([self._chunk_logprobs(*chunk) for chunk in chunks])
        return torch.cat([checkpoint(self._chunk_logprobs, *chunk, use_reentrant=False) for chunk in chunks])

    def _chunk_logprobs(self, states_ND: Tensor, ids_N: Tensor) -> Tensor:
        scores_NV = logits(self.model, states_ND)
        scores_NV = scores_NV.to(torch.promote_types(scores_NV.dtype, torch.float32))
        return -nn.functional.cross_entropy(scores_NV, ids_N, reduction="none")
