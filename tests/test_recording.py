"""A partner that cannot be asked is refused before anything is begun."""

import pytest

from sparring import run
from sparring.display import Display
from sparring.errors import ConfigError
from sparring.recipe import Recipe
from sparring.run import train
from tests.reward_model import save_reward_model


def begun(partner, tmp_path, resume=False):
    recipe = Recipe.of(
        {
            "task": {"kind": "multistep_arithmetic", "range": "easy", "train": 4},
            "phase": [{"method": "response_preference", "problems": 4, "judge": partner}],
            "run": {"evaluate_problems": 0, "test_problems": 0},
        }
    )
    train(recipe, tmp_path / "run", resume=resume, display=Display(live=False))


@pytest.mark.parametrize(
    ("partner", "complaint"),
    [
        ({"by": "human"}, 'by = "human" needs a terminal'),
        ({"by": "local", "model": "./nowhere"}, r"model = '\./nowhere' cannot be loaded: there is no folder"),
        ({"by": "reward", "model": "./nowhere"}, r"model = '\./nowhere' cannot be loaded"),
        ({"by": "command", "command": ["nowhere"]}, "'nowhere' is no program that can be run"),
    ],
    ids=lambda value: value.get("by") if isinstance(value, dict) else "",
)
def test_who_cannot_be_asked_is_told_before_a_round_is_played(partner, complaint, tmp_path):
    with pytest.raises(ConfigError, match=complaint) as caught:
        begun(partner, tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_reward_model_with_two_outputs_is_told_before_a_round_is_played(tmp_path):
    model = save_reward_model(tmp_path / "model", labels=2)
    with pytest.raises(ConfigError, match="has 2 outputs, and a score is one"):
        begun({"by": "reward", "model": str(model)}, tmp_path)
    assert not (tmp_path / "run").exists()


def test_a_run_that_goes_on_is_not_asked_for_partners_whose_replies_it_may_have(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(run, "ready", asked.append)
    for resume in (False, True):
        begun({"by": "task"}, tmp_path, resume)
    assert len(asked) == 1
