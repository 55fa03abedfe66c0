"""Every shipped recipe is whole: it can be built, told and built again, and begins with what it is for.

Not here: those at scale are built and run by `tests/runs/test_shipped_recipes.py`.
"""

from __future__ import annotations

import tomllib

import pytest

from sparring.common.schema import flat
from sparring.config.factory import METHODS, TASKS, name_of
from sparring.config.recipe import Recipe, load_table, shipped_recipes
from sparring.runs.demo import ARMS
from sparring.runs.problem_order import ProblemOrder

TINY = [
    "curriculum", "dpo", "flan_t5", "lmsi", "response_preference", "saie", "sft", "thought_preference", "tripost"
]  # fmt: skip
LAPTOP = ["saie_gsm8k", "thought_preference_writing", "tripost_word_sorting"]
ONE_GPU = [
    "response_preference", "saie_commonsense_qa", "saie_gsm8k", "thought_preference", "thought_preference_pairs",
    "tripost_logical_deduction", "tripost_multistep_arithmetic",
]  # fmt: skip
PAPERS = [
    "response_preference", "saie_commonsense_qa", "saie_gsm8k", "saie_mmlu", "thought_preference",
    "thought_preference_self_taught", "tripost_date_understanding", "tripost_logical_deduction",
    "tripost_multistep_arithmetic", "tripost_word_sorting",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _hub(hub_rows):
    """The rows of `dpo` are on the hub."""


@pytest.fixture(params=list(shipped_recipes()))
def name(request) -> str:
    return request.param


@pytest.fixture(params=TINY)
def tiny(request) -> str:
    return request.param


def test_there_is_a_recipe_for_each_method_a_curriculum_and_one_for_an_encoder_decoder():
    folders = {"laptop": LAPTOP, "one_gpu": ONE_GPU, "papers": PAPERS}
    in_folders = [f"{folder}/{name}" for folder, names in folders.items() for name in names]
    assert list(shipped_recipes()) == [*TINY, *in_folders]
    assert set(METHODS) | {"curriculum", "flan_t5"} == set(TINY)
    assert set(ARMS) <= set(TINY)


def test_it_begins_with_a_comment_that_says_what_it_does_and_how_to_run_it(name):
    first, second, *_ = shipped_recipes()[name].splitlines()
    assert first.startswith("# ")
    assert first.endswith(".")
    assert len(first) <= 120
    assert second.split() == ["#", "sparring", "train", name, "--run", f"runs/{name}"]


def test_it_builds_and_trains_the_method_of_its_name_at_last(tiny):
    recipe = Recipe.read(tiny)
    methods = [name_of(phase.method) for phase in recipe.phases]
    assert set(methods) <= set(METHODS)
    assert name_of(recipe.task) in TASKS
    assert methods[0] == "sft"
    if tiny == "curriculum":
        assert {"saie", "tripost", "thought_preference"} <= set(methods)
    else:
        assert methods[-1] == {"flan_t5": "saie"}.get(tiny, tiny)


def test_it_is_told_as_a_table_and_as_toml_and_made_again(tiny):
    recipe = Recipe.read(tiny)
    assert Recipe.of(recipe.table()) == recipe
    assert tomllib.loads(recipe.toml()) == recipe.table()
    assert Recipe.of(tomllib.loads(recipe.toml())).table() == recipe.table()


def test_what_it_says_is_what_is_meant(tiny):
    said, meant = flat(load_table(tiny)), flat(Recipe.read(tiny).table())
    for key, setting in said.items():
        assert meant[key] == setting, key


def test_its_rounds_can_be_asked(tiny):
    recipe = Recipe.read(tiny)
    order = ProblemOrder(recipe)
    for number, phase in enumerate(recipe.phases):
        for round_ in {0, phase.rounds - 1}:
            assert len(order.round(phase, order.total(number), round_)) == order.count(phase)
