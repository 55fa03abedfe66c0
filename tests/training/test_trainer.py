from __future__ import annotations

import copy
import math
from dataclasses import replace
from itertools import accumulate

import pytest
import torch

from sparring.common.errors import RunStopped
from sparring.core.chat import LEARNER, Message, Part, message, question
from sparring.core.experience import Demonstration, Preference
from sparring.core.objective import DPO, Likelihood
from sparring.inference.model import LanguageModel, load_model
from sparring.models.source import Lora, ModelSource
from sparring.models.tiny import tiny_model, tiny_tokenizer
from sparring.training.learner import Learner
from sparring.training.settings import TrainerSettings
from sparring.training.trainer import Trainer


def demonstration(number: int, weight: float = 1.0) -> Demonstration:
    words = "+".join("1" * (number % 5 + 1))
    return Demonstration(
        f"p{number}", question(f"{words}=").then(message(LEARNER, f"{number % 5 + 1}" * 3, weight=weight))
    )


def preference(number: int) -> Preference:
    chosen, rejected = message(LEARNER, f"{number}"), message(LEARNER, f"wrong {number}" * (number % 3 + 1))
    return Preference(f"p{number}", question(f"{number}+0="), chosen, rejected)


DEMONSTRATIONS = [demonstration(n) for n in range(12)]
PREFERENCES = [preference(n) for n in range(12)]


def learner(dtype: torch.dtype = torch.float64) -> Learner:
    return Learner(LanguageModel(tiny_model(0, hidden=32).to(dtype), tiny_tokenizer(), ModelSource()))


def trainer(**settings) -> Trainer:
    return Trainer(learner(), TrainerSettings(**{"learning_rate": 1e-2, "batch_size": 12, **settings}))


def gradient(experience, objective, **settings) -> torch.Tensor:
    """The gradient of one step over all of `experience`, before clipping."""
    trainer_ = trainer(max_grad_norm=1e9, **settings)
    training_set = trainer_.training_set(experience, objective, len(experience), 1, (0,))
    training_set = replace(training_set, reference=trainer_.reference(training_set))
    gradients = []
    trainer_.optimizer.step = lambda: gradients.append(
        torch.cat([p.grad.flatten() for p in trainer_.module.parameters()])
    )
    list(trainer_.learn(training_set))
    return gradients[0]


def close(one: torch.Tensor, other: torch.Tensor) -> bool:
    return float((one - other).norm() / one.norm()) < 1e-6


@pytest.mark.parametrize(("updates", "epochs", "sizes"), [
    (1, 1, [12]), (2, 1, [6, 6]), (4, 1, [3, 3, 3, 3]), (2, 2, [12, 12]), (4, 2, [6, 6, 6, 6]), ("batch", 1, [5, 5, 2]),
])  # fmt: skip
def test_a_round_takes_as_many_updates_as_it_is_told_whatever_the_batch(updates, epochs, sizes):
    trainer_ = trainer(batch_size=5)
    training_set = trainer_.training_set(DEMONSTRATIONS, Likelihood(), 12, epochs, (0,), updates=updates)
    rows = []
    trainer_.module.register_forward_pre_hook(lambda module, args: rows.append(len(args[0])))
    assert training_set.steps == len(sizes)
    assert [sum(rows) for _ in trainer_.learn(training_set)] == list(accumulate(sizes))


@pytest.mark.parametrize(
    ("experience", "objective"), [(DEMONSTRATIONS, Likelihood()), (PREFERENCES, DPO(nll_weight=0.5))]
)
def test_how_a_step_is_split_padded_and_ordered_changes_nothing(experience, objective):
    whole = gradient(experience, objective)
    assert float(whole.norm()) > 0
    assert close(whole, gradient(experience, objective, batch_tokens=20))  # micro-batches of a row or two
    assert close(whole, gradient(experience[::-1], objective))


def test_weight_0_gives_no_gradient():
    silent = replace(
        DEMONSTRATIONS[0],
        chat=DEMONSTRATIONS[0].chat.then(message("discussant", "hm"), message(LEARNER, "xyz", weight=0.0)),
    )
    assert close(gradient(DEMONSTRATIONS[:3], Likelihood()), gradient([silent, *DEMONSTRATIONS[1:3]], Likelihood()))


def test_twice_the_weight_of_a_part_is_twice_its_share():
    single = gradient([demonstration(1)], Likelihood())
    assert close(single, gradient([demonstration(1, weight=7.0)], Likelihood()))  # divided by the trained weight
    mixed = gradient([demonstration(1, 3.0), demonstration(2, 1.0)], Likelihood())
    expected = (3 * 4 * single + 4 * gradient([demonstration(2)], Likelihood())) / 16  # four tokens each, stop included
    assert close(mixed, expected)


def test_what_cannot_be_trained_is_counted_and_too_much_of_it_stops_the_run():
    too_long = Demonstration("long", question("x" * 600).then(message(LEARNER, "1", weight=1.0)))
    untrained = Demonstration("none", question("x").then(message(LEARNER, "1")))
    trainer_ = trainer(max_dropped=0.5)
    assert trainer_.training_set([*DEMONSTRATIONS, too_long, untrained], Likelihood(), 1, 1, (0,)).dropped == 2
    with pytest.raises(RunStopped, match=r"2 of 3 pieces .* longer than the model's 512 tokens"):
        trainer_.training_set([DEMONSTRATIONS[0], too_long, untrained], Likelihood(), 1, 1, (0,))


def test_the_reference_is_the_rounds_start_and_does_not_move():
    trainer_ = trainer(batch_size=4)
    training_set = trainer_.training_set(PREFERENCES, DPO(), 12, 2, (0,))
    training_set = replace(training_set, reference=trainer_.reference(training_set))
    steps = list(trainer_.learn(training_set))
    assert steps[0].loss == pytest.approx(math.log(2), abs=1e-6)
    assert len(steps) == 6
    assert steps[-1].loss < 0.6
    assert steps[-1].measures["ranked"] == 1.0


def test_a_loss_that_is_no_number_stops_and_names_the_rows():
    trainer_ = trainer()
    with torch.no_grad():
        next(trainer_.module.parameters()).fill_(float("nan"))
    training_set = trainer_.training_set(DEMONSTRATIONS, Likelihood(), 12, 1, (0,))
    with pytest.raises(RunStopped, match=r"the loss is nan in step 1, rows \d+"):
        list(trainer_.learn(training_set))


def test_the_schedule_is_counted_in_problems():
    trainer_ = trainer(learning_rate=1.0, warmup=10, lr_schedule="linear")
    trainer_.begin(110, trainer_.settings)
    rates = []
    for seen in (0, 5, 10, 60, 110, 200):
        trainer_.seen = seen
        rates.append(trainer_.learning_rate())
    assert rates == pytest.approx([1 / 11, 6 / 11, 1.0, 0.5, 0.0, 0.0])
    trainer_.begin(100, TrainerSettings(learning_rate=1.0, lr_schedule="cosine"))
    trainer_.seen = 50
    assert trainer_.learning_rate() == pytest.approx(0.5)


def test_a_step_reports_the_learning_rate_it_used_and_the_norm_before_clipping():
    expected = float(gradient(DEMONSTRATIONS, Likelihood()).norm())
    trainer_ = trainer(max_grad_norm=1e-3, lr_schedule="linear")
    trainer_.begin(24, trainer_.settings)
    steps = []
    for step in trainer_.learn(trainer_.training_set(DEMONSTRATIONS, Likelihood(), 12, 2, (0,))):
        assert step.learning_rate == trainer_.optimizer.param_groups[0]["lr"]
        steps.append(step)
    assert [step.learning_rate for step in steps] == pytest.approx([1e-2, 1e-2 * 0.75])  # each stands for 6 of 24
    assert steps[0].gradient_norm == pytest.approx(expected)
    assert all(step.seconds > 0 for step in steps)


def test_going_on_in_the_middle_of_a_lesson_ends_with_the_same_weights():
    whole = trainer(batch_size=4)
    training_set = whole.training_set(DEMONSTRATIONS, Likelihood(), 12, 2, (0,))
    for step in whole.learn(training_set):
        if step.number == 2:
            state = {k: v.clone() for k, v in whole.module.state_dict().items()}
            training = copy.deepcopy(whole.state())
            weights = whole.learner.weights
    resumed = trainer(batch_size=4)
    resumed.module.load_state_dict(state)
    resumed.restore(training, resumed.settings)
    resumed.learner.weights = weights
    list(resumed.learn(resumed.training_set(DEMONSTRATIONS, Likelihood(), 12, 2, (0,)), done=2))
    pairs = zip(whole.module.parameters(), resumed.module.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    assert whole.learner.weights == resumed.learner.weights


def test_lora_moves_adapters_alone_and_its_reference_is_the_adapted_start(tmp_path):
    tiny_model(0, hidden=32).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    source = ModelSource(model=str(tmp_path), lora=Lora(rank=2))
    trainer_ = Trainer(Learner(load_model(source)), TrainerSettings(learning_rate=1e-2, batch_size=6))
    before = {name: p.clone() for name, p in trainer_.module.named_parameters() if not p.requires_grad}
    for _ in range(2):  # the second round's reference is not the first's
        training_set = trainer_.training_set(PREFERENCES, DPO(), 12, 1, (0,))
        training_set = replace(training_set, reference=trainer_.reference(training_set))
        assert next(iter(trainer_.learn(training_set))).loss == pytest.approx(math.log(2), abs=1e-5)
    assert all(torch.equal(p, before[name]) for name, p in trainer_.module.named_parameters() if name in before)


def test_sampled_tokens_are_trained_tokens():
    odd = (*tiny_tokenizer().encode("4", add_special_tokens=False), 40, 41)
    piece = Demonstration("p", question("2+2=").then(Message(LEARNER, (Part("4??", LEARNER, odd, 1.0),))))
    trainer_ = trainer()
    [[row]] = trainer_.training_set([piece], Likelihood(), 1, 1, (0,)).pieces
    assert row.ids[-4:] == (*odd, tiny_tokenizer().eos_token_id)
    assert row.weights[-4:] == (1.0,) * 4
