"""The losses by hand, and against an independent implementation (TRL's) on the same batch."""

from __future__ import annotations

import math

import pytest
import torch
from transformers import PreTrainedModel

from sparring.core.objective import DPO, Likelihood
from sparring.models.renderer import TrainingRow
from sparring.models.tiny import tiny_model, tiny_tokenizer
from sparring.training.collate import pad
from sparring.training.logprobs import TokenLogProbs
from sparring.training.losses.dpo import DPOLoss
from sparring.training.losses.likelihood import LikelihoodLoss

# ── by hand ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_weighted_likelihood_by_hand():
    # two rows; log p = −1, −2 | −3 at weights 1, 1.5 | 0.5: (1 + 3 + 1.5) / (1 + 1.5 + 0.5)
    logprob_BT = torch.tensor([[0.0, -1.0, -2.0], [0.0, -3.0, 0.0]])
    weight_BT = torch.tensor([[0.0, 1.0, 1.5], [0.0, 0.5, 0.0]])
    loss = LikelihoodLoss(Likelihood())
    undivided, _ = loss(logprob_BT, weight_BT, None)
    size = loss.size([TrainingRow((1, 2, 3), (0.0, 1.0, 1.5)), TrainingRow((1, 2), (0.0, 0.5))])
    assert undivided.item() / size == pytest.approx(5.5 / 3)


def test_dpo_by_hand():
    # margins: (−1 + 2) − (−4 + 3) = 2 at beta 0.5, so −log σ(1); second pair (0 − 0) − (0 − 0): ln 2
    logprob_BT = torch.tensor([[0.0, -1.0], [0.0, -4.0], [0.0, -5.0], [0.0, -6.0]])
    weight_BT = torch.tensor([[0.0, 1.0]] * 4)
    reference_B = torch.tensor([-2.0, -3.0, -5.0, -6.0])
    loss = DPOLoss(DPO(beta=0.5))
    undivided, told = loss(logprob_BT, weight_BT, reference_B)
    assert undivided.item() == pytest.approx(math.log1p(math.exp(-1)) + math.log(2))
    assert (float(told["ranked"]), float(told["margin"])) == (1, pytest.approx(1.0))
    assert loss.size([TrainingRow((), ())] * 4) == 2


def test_the_likelihood_term_of_dpo_is_per_token_of_the_chosen_side():
    logprob_BT = torch.tensor([[0.0, -1.0, -3.0], [0.0, -4.0, 0.0]])
    weight_BT = torch.tensor([[0.0, 1.0, 1.0], [0.0, 1.0, 0.0]])
    reference_B = torch.tensor([-4.0, -4.0])
    plain, _ = DPOLoss(DPO(beta=0.1))(logprob_BT, weight_BT, reference_B)
    with_nll, _ = DPOLoss(DPO(beta=0.1, nll_weight=0.5))(logprob_BT, weight_BT, reference_B)
    assert float(plain) == pytest.approx(math.log(2))
    assert float(with_nll - plain) == pytest.approx(0.5 * 2.0)


def test_dpo_at_the_reference_is_ln_2():
    model, rows = (
        tiny_model(0),
        [TrainingRow((1, 5, 9, 2), (0, 0, 1, 1)), TrainingRow((1, 5, 8, 7, 2), (0, 0, 1, 1, 1))],
    )
    batch = pad(rows)
    logprob_BT = TokenLogProbs(model)(batch.ids_BT, batch.attention_BT, batch.weight_BT != 0)
    undivided, _ = DPOLoss(DPO())(logprob_BT, batch.weight_BT, logprob_BT.sum(dim=1).detach())
    assert undivided.item() == pytest.approx(math.log(2), abs=1e-6)


# ── against TRL ─────────────────────────────────────────────────────────────────────────────────────────────

PAIRS = [
    {"prompt": "((3+4)*2)=", "chosen": "3+4=7\n7*2=14\n14", "rejected": "3+4=8\n8*2=16\n16"},
    {"prompt": "(1-(2*3))=", "chosen": "-5", "rejected": "2*3=6\n1-6=5\n5"},
    {"prompt": "a longer question, to make the padding differ: ((9-9)*1)=", "chosen": "0", "rejected": "1"},
]


@pytest.fixture
def policy() -> PreTrainedModel:
    """A tiny model moved off the one it started as, so that no margin is zero."""
    model = tiny_model(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return model


def ours(
    model: PreTrainedModel, ids_BT: torch.Tensor, attention_BT: torch.Tensor, mask_BT: torch.Tensor
) -> torch.Tensor:
    model.eval()
    return TokenLogProbs(model)(ids_BT, attention_BT, mask_BT.bool())


def test_dpo_equals_trl(policy, tmp_path):
    trl, datasets = pytest.importorskip("trl"), pytest.importorskip("datasets")
    settings = trl.DPOConfig(
        output_dir=str(tmp_path), beta=0.3, per_device_train_batch_size=3, report_to=[], use_cpu=True, bf16=False,
        gradient_checkpointing=False,
    )  # fmt: skip
    trainer = trl.DPOTrainer(
        model=policy, ref_model=tiny_model(0), args=settings,
        train_dataset=datasets.Dataset.from_list(PAIRS), processing_class=tiny_tokenizer(),
    )  # fmt: skip
    batch = next(iter(trainer.get_train_dataloader()))
    trainer.model.eval()
    with torch.no_grad():
        theirs = float(trainer.compute_loss(trainer.model, batch))
        order = torch.tensor([0, 3, 1, 4, 2, 5])  # theirs: all chosen, then all rejected; ours: in turn
        ids, attention, mask = (batch[key][order] for key in ("input_ids", "attention_mask", "completion_mask"))
        logprob_BT = ours(policy, ids, attention, mask)
        reference_B = ours(tiny_model(0), ids, attention, mask).sum(dim=1)
        undivided, _ = DPOLoss(DPO(beta=0.3))(logprob_BT, mask.float(), reference_B)
    assert abs(theirs - math.log(2)) > 1e-3
    assert undivided.item() / 3 == pytest.approx(theirs, abs=1e-5)


def test_unweighted_likelihood_equals_trl(policy, tmp_path):
    trl, datasets = pytest.importorskip("trl"), pytest.importorskip("datasets")
    settings = trl.SFTConfig(
        output_dir=str(tmp_path), per_device_train_batch_size=3, report_to=[], use_cpu=True, bf16=False,
        gradient_checkpointing=False, completion_only_loss=True, max_length=None,
    )  # fmt: skip
    rows = [{"prompt": pair["prompt"], "completion": pair["chosen"]} for pair in PAIRS]
    trainer = trl.SFTTrainer(
        model=policy, args=settings, train_dataset=datasets.Dataset.from_list(rows), processing_class=tiny_tokenizer()
    )
    batch = next(iter(trainer.get_train_dataloader()))
    trainer.model.eval()
    with torch.no_grad():
        theirs = float(trainer.compute_loss(trainer.model, batch))
        mask_BT = batch["labels"] != -100
        mask_BT[:, 0] = False
        logprob_BT = ours(policy, batch["input_ids"], batch["attention_mask"], mask_BT)
        undivided, _ = LikelihoodLoss(Likelihood())(logprob_BT, mask_BT.float(), None)
    assert undivided.item() / float(mask_BT.sum()) == pytest.approx(theirs, abs=1e-5)
