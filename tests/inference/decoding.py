"""Shared by the tests of the engine: small models, prompts, and replies sampled all at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    Qwen3Config,
)

from sparring.inference.engine import Engine
from sparring.inference.sequence import Completion, Request
from tests.small_models import GPT2, SHAPE, VOCABULARY

STOP = 1
CONFIGS = {
    "llama": LlamaConfig(**SHAPE),
    "qwen3": Qwen3Config(**SHAPE),
    "gpt2": GPT2Config(**GPT2),
    # Soft caps need eager attention; every other layer sees 9 tokens back.
    "gemma2": Gemma2Config(**SHAPE, sliding_window=9, query_pre_attn_scalar=8, attn_implementation="eager"),
    "mistral": MistralConfig(**SHAPE, sliding_window=7),
}


def network(name: str = "llama"):
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(CONFIGS[name]).eval()


def exact(name: str = "llama"):
    """A network in double precision: where its replies differ in other company, rounding is no excuse."""
    return network(name).double()


def letters(ids: Sequence[int]) -> str:
    """Token 2 is 'a', 3 'b', ...; token 30 is 'xy', 31 'zx', so that a text may begin inside a token."""
    return "".join({30: "xy", 31: "zx"}.get(i, chr(ord("a") + i - 2)) for i in ids)


def prompts(count: int, seed: int = 0, longest: int = 30) -> list[tuple[int, ...]]:
    torch.manual_seed(seed)
    return [tuple(torch.randint(2, VOCABULARY, (1 + 7 * i % longest,)).tolist()) for i in range(count)]


def replies(model, requests: Sequence[Request], stop_ids=(STOP,), **settings) -> list[Completion]:
    """The replies to `requests`, all submitted at once, in their order."""
    engine = Engine(model, stop_ids, letters, **settings)
    tickets = [engine.submit(request) for request in requests]
    ended: dict[int, Completion] = {}
    while engine.busy:
        ended |= dict(engine.step())
    return [ended[ticket] for ticket in tickets]


def recomputed(model, request: Request, sampled: Completion) -> torch.Tensor:
    """The log-probabilities of the sampled tokens by one pass over prompt and reply."""
    ids = torch.tensor([[*request.ids, *sampled.ids]])
    with torch.no_grad():
        logprobs = model(ids).logits[0, len(request.ids) - 1 : -1].log_softmax(-1)
    return logprobs.gather(1, torch.tensor(sampled.ids)[:, None])[:, 0]
