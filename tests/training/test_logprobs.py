from __future__ import annotations

import copy
import math

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    Gemma2Config,
    GPT2Config,
    GraniteConfig,
    LlamaConfig,
    Qwen3Config,
)

from sparring.common.errors import ConfigError
from sparring.models.introspection import forkable, inner
from sparring.models.renderer import TrainingRow
from sparring.training.linear_logprobs import Head
from sparring.training.logprobs import TokenLogProbs
from sparring.training.prefix_sharing import Fork, shared_prefixes
from tests.small_models import GPT2, SHAPE, VOCABULARY

CONFIGS = {
    "llama": LlamaConfig(**SHAPE),
    "qwen3": Qwen3Config(**SHAPE, tie_word_embeddings=True),
    "gpt2": GPT2Config(**GPT2, attn_pdrop=0, resid_pdrop=0, embd_pdrop=0),
    "gemma2": Gemma2Config(**SHAPE, sliding_window=5, final_logit_softcapping=3.0, attn_implementation="eager"),
    "granite": GraniteConfig(**SHAPE, logits_scaling=4.0),
    "cohere": CohereConfig(**SHAPE, logit_scale=0.25),
    "lora": LlamaConfig(**SHAPE),
}


def network(name: str = "llama"):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIGS[name]).double()
    if name == "lora":
        targets = ["q_proj", "down_proj", "lm_head"]
        model = get_peft_model(model, LoraConfig(r=4, target_modules=targets, init_lora_weights=False)).double()
    return model.train()


def rows() -> tuple[Tensor, Tensor, Tensor]:
    """Ids, attention and trained positions of 5 rows, padded on the right with token 0."""
    torch.manual_seed(1)
    lengths = torch.tensor([12, 9, 2, 12, 5])[:, None]
    columns = torch.arange(12)
    ids = torch.randint(1, VOCABULARY, (5, 12)).where(columns < lengths, 0)
    trained = (torch.rand(5, 12) < 0.6) & (columns < lengths) & (columns > 0)
    trained[3] = False
    return ids, (columns < lengths).long(), trained


def row_by_row(model, ids: Tensor, attention: Tensor, trained: Tensor) -> Tensor:
    """The same, row by row without padding, by all logits of the model's own forward pass."""
    result = []
    for row, length, picked in zip(ids, attention.sum(1).tolist(), trained, strict=True):
        logprobs = model(input_ids=row[None, :length]).logits[0].log_softmax(-1)[:-1]
        trained_logprobs = logprobs.gather(-1, row[1:length, None])[:, 0] * picked[1:length]
        result.append(torch.nn.functional.pad(trained_logprobs, (1, len(row) - length)))
    return torch.stack(result)


def weights(shape: tuple[int, ...] = (5, 12)) -> Tensor:
    return torch.linspace(-1, 2, math.prod(shape), dtype=torch.float64).view(shape)


def gradients(model, logprobs: Tensor) -> dict[str, Tensor]:
    """Of a sum with unequal weights."""
    model.zero_grad()
    (logprobs * weights(logprobs.shape)).sum().backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("chunk", [2**23, 4 * VOCABULARY, 1])
@pytest.mark.parametrize("name", CONFIGS)
def test_values_and_gradients_are_those_of_all_logits(name, chunk):
    model = network(name)
    ours, expected = TokenLogProbs(model, chunk)(*rows()), row_by_row(model, *rows())
    torch.testing.assert_close(ours, expected, rtol=1e-6, atol=1e-6)
    got, wanted = gradients(model, ours), gradients(model, expected)
    assert got.keys() == wanted.keys()
    assert "lora" not in name or any("lm_head" in key for key in got)
    for key, gradient in wanted.items():
        scale = 1e-6 * float(gradient.abs().max())  # norms compute in float32 inside a float64 model
        torch.testing.assert_close(got[key], gradient, rtol=0, atol=scale, msg=lambda m, key=key: f"{key}: {m}")


def test_the_reference_pass_gives_the_same_values():
    model = network()
    with torch.inference_mode():
        few, many = TokenLogProbs(model, 1)(*rows()), TokenLogProbs(model)(*rows())
    torch.testing.assert_close(few, many)
    torch.testing.assert_close(few, TokenLogProbs(model)(*rows()).detach())


@pytest.mark.parametrize("chunk", [2**23, 1])
def test_with_nothing_trained_the_zero_is_connected(chunk):
    model, (ids, attention, trained) = network(), rows()
    logprobs = TokenLogProbs(model, chunk)(ids, attention, torch.zeros_like(trained))
    assert not logprobs.any()
    ours = gradients(model, logprobs)
    assert ours.keys() == dict(model.named_parameters()).keys()
    assert not any(gradient.any() for gradient in ours.values())


def test_rows_of_one_token_train_nothing():
    one = torch.ones(3, 1, dtype=torch.long)
    logprobs = TokenLogProbs(network())(one, one, torch.zeros(3, 1, dtype=torch.bool))
    assert logprobs.tolist() == [[0.0]] * 3
    logprobs.sum().backward()


def test_other_padding_and_order_of_rows_change_nothing():
    module, (ids, attention, trained) = TokenLogProbs(network()), rows()
    whole = module(ids, attention, trained)
    wide = [torch.nn.functional.pad(x, (0, 4), value=v) for x, v in ((ids, 7), (attention, 0), (trained, False))]
    torch.testing.assert_close(module(*wide)[:, :12], whole)
    torch.testing.assert_close(module(ids.flip(0), attention.flip(0), trained.flip(0)).flip(0), whole)
    torch.testing.assert_close(module(ids[1:2, :9], attention[1:2, :9], trained[1:2, :9]), whole[1:2, :9])


def test_padding_and_first_tokens_cannot_be_trained():
    module, (ids, attention, trained) = TokenLogProbs(network()), rows()
    for row, column in ((0, 0), (1, 9)):  # a first token; padding
        wrong = trained.clone()
        wrong[row, column] = True
        with pytest.raises(ValueError, match="nor the first token"):
            module(ids, attention, wrong)
    with pytest.raises(ValueError, match="padding must be on the right"):
        module(ids.flip(1), attention.flip(1), torch.zeros_like(trained))


def test_half_precision_is_scored_in_single():
    model = network().bfloat16()
    ours = TokenLogProbs(model)(*rows())
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, row_by_row(model.float(), *rows()), atol=0.2, rtol=0)


class Products(TorchDispatchMode):
    """The sizes of all products of two matrices that are logits."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self.largest = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        shape = getattr(result, "shape", ())
        if len(shape) > 1 and shape[-1] == VOCABULARY and shape[0] != SHAPE["hidden_size"]:
            self.largest = max(self.largest, result.numel())
            if function.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.addmm):
                self.sizes.append(result.numel())
        return result


@pytest.mark.parametrize(
    ("expected", "passes"), [(None, 2), (3 * weights(), 1), (weights().square(), 2)], ids=["unknown", "right", "wrong"]
)
def test_logits_come_in_chunks_and_once_if_the_gradient_is_known(expected, passes):
    model = network()
    module = TokenLogProbs(model, chunk=3 * VOCABULARY)
    with Products() as products:
        ours = gradients(model, module(*rows(), expected))  # of a sum weighted by `weights`
    assert products.largest == 3 * VOCABULARY
    assert sum(products.sizes) == passes * int(rows()[2].sum()) * VOCABULARY
    for key, gradient in gradients(model, row_by_row(model, *rows())).items():
        torch.testing.assert_close(ours[key], gradient, rtol=1e-6, atol=1e-6, msg=lambda m, key=key: f"{key}: {m}")


def test_logits_of_one_chunk_wait_for_the_backward_pass():
    model = network("granite")
    module = TokenLogProbs(model, chunk=60 * VOCABULARY)
    with Products() as products:
        ours = gradients(model, module(*rows()))
    assert sum(products.sizes) == int(rows()[2].sum()) * VOCABULARY
    for key, gradient in gradients(model, row_by_row(model, *rows())).items():
        torch.testing.assert_close(ours[key], gradient, rtol=1e-6, atol=1e-6, msg=lambda m, key=key: f"{key}: {m}")


def test_a_frozen_head_computes_its_logits_once():
    model = network()
    expected = gradients(model, TokenLogProbs(model)(*rows()))
    model.lm_head.weight.requires_grad_(False)
    module = TokenLogProbs(model, chunk=3 * VOCABULARY)
    with Products() as products:
        ours = gradients(model, module(*rows()))
    assert sum(products.sizes) == int(rows()[2].sum()) * VOCABULARY
    assert ours.keys() == expected.keys() - {"lm_head.weight"}
    for key, gradient in ours.items():
        torch.testing.assert_close(gradient, expected[key], rtol=1e-6, atol=1e-6, msg=lambda m, key=key: f"{key}: {m}")


def test_a_head_with_a_bias_moves_its_bias():
    torch.manual_seed(2)
    states, weight, bias = torch.randn(7, 8).double(), torch.randn(9, 8).double(), torch.randn(9).double()
    ids, by = torch.randint(9, (7,)), torch.randn(7).double()
    for tensor in (states, weight, bias):
        tensor.requires_grad_()
    ours = Head(weight, bias, 0.5, 3.0).logprobs(states, ids, 2 * 9, by)
    scores = 3.0 * ((states @ weight.t() + bias) * 0.5 / 3.0).tanh()
    expected = scores.log_softmax(-1).gather(1, ids[:, None])[:, 0]
    torch.testing.assert_close(ours, expected)
    for got, wanted in zip(*(torch.autograd.grad((x * by).sum(), (states, weight, bias)) for x in (ours, expected)),
                           strict=True):  # fmt: skip
        torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("expects", [True, False])
def test_under_autocast_weights_in_single_precision_get_gradients_in_single_precision(expects):
    torch.manual_seed(3)
    states, weight, ids = torch.randn(40, 32), torch.randn(VOCABULARY, 32, requires_grad=True), torch.arange(40)
    by = torch.rand(40)
    exact = torch.autograd.grad((Head(weight).logprobs(states, ids, 2**20) * by).sum(), weight)[0]
    with torch.autocast("cpu", torch.bfloat16):
        ours = Head(weight).logprobs(states, ids, 2**20, by if expects else None)
    assert ours.dtype == torch.float32
    gradient = torch.autograd.grad((ours * by).sum(), weight)[0]
    assert gradient.dtype == torch.float32
    assert 0 < (gradient - exact).abs().max() < 0.02 * exact.abs().max()


def test_a_head_that_changes_its_logits_is_refused():
    model = network()
    plain = type(model).forward

    class Louder(type(model)):
        def forward(self, *args, **kwargs):
            output = plain(self, *args, **kwargs)
            output.logits = output.logits * 1.5
            return output

    model = copy.copy(model)
    model.__class__ = Louder
    with pytest.raises(ConfigError, match="Louder changes its logits"):
        TokenLogProbs(model)


def forked() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Two pairs of rows of 4 and 6 common tokens, with what follows trained."""
    torch.manual_seed(4)
    lengths, common = torch.tensor([9, 12, 7, 11]), torch.tensor([4, 6])
    ids = torch.randint(1, VOCABULARY, (4, 12))
    columns = torch.arange(12)
    for pair, count in enumerate(common.tolist()):
        ids[2 * pair + 1, :count] = ids[2 * pair, :count]
    attention = (columns < lengths[:, None]).long()
    trained = (columns >= common.repeat_interleave(2)[:, None]) & attention.bool()
    return ids * attention, attention, trained, common


@pytest.mark.parametrize("name", ["llama", "qwen3", "granite", "cohere", "lora"])
def test_rows_that_share_a_prompt_become_one_row_that_forks(name):
    model = network(name)
    ids, attention, trained, common = forked()
    assert forkable(model)
    whole = TokenLogProbs(model)(ids, attention, trained)
    seen = []
    inner(model).get_decoder().register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(kwargs["input_ids"].shape), with_kwargs=True
    )
    ours = TokenLogProbs(model)(ids, attention, trained, None, common)
    assert seen[-1] == (2, 9 + 12 - 4)
    torch.testing.assert_close(ours, whole, rtol=1e-6, atol=1e-6)
    got, wanted = gradients(model, ours), gradients(model, whole)
    for key, gradient in wanted.items():
        scale = 1e-6 * float(gradient.abs().max())
        torch.testing.assert_close(got[key], gradient, rtol=0, atol=scale, msg=lambda m, key=key: f"{key}: {m}")


def test_a_forked_row_needs_no_position_beyond_its_longest_row():
    ids, attention, _, common = forked()
    fork = Fork.of(ids, attention.sum(1), common)
    assert int(fork.positions_PL.max()) == ids.shape[1] - 1  # a model may have learnt no more


def test_models_with_attention_windows_do_not_fork():
    assert not forkable(network("gemma2"))


def row(prompt: int, reply: int, last: int) -> TrainingRow:
    return TrainingRow((*range(1, prompt + 1), *[last] * reply), (0.0,) * prompt + (1.0,) * reply)


def test_only_short_rows_with_long_common_prompts_fork():
    assert shared_prefixes([row(100, 110, 7), row(100, 50, 8), row(30, 20, 7), row(30, 20, 8)]) == [100, 30]
    assert shared_prefixes([row(100, 110, 7), row(100, 110, 7)]) == [
        100,
    ]  # up to what is trained, however alike
    assert shared_prefixes([row(10, 110, 7), row(10, 110, 8)]) is None
    assert shared_prefixes([row(1000, 800, 7), row(1000, 800, 8)]) is None
    assert shared_prefixes([row(100, 10, 7), row(90, 10, 8)]) == [90]
