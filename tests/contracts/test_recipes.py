"""Every shipped recipe is whole: it can be built, told and built again, and begins with what it is for."""

from __future__ import annotations

import tomllib

import pytest

from sparring.common.schema import flat
from sparring.config.factory import METHODS, TASKS, name_of
from sparring.config.recipe import Recipe, load_table, shipped_recipes
from sparring.runs.demo import ARMS
from sparring.runs.problem_order import ProblemOrder

NAMES = [
    "curriculum", "flan_t5", "lmsi", "response_preference", "saie", "sft", "thought_preference", "tripost"
]  # fmt: skip


@pytest.fixture(params=list(shipped_recipes()))
def name(request) -> str:
    return request.param


def test_there_is_a_recipe_for_each_method_a_curriculum_and_one_for_an_encoder_decoder():
    assert list(shipped_recipes()) == NAMES
    assert set(METHODS) | {"curriculum", "flan_t5"} == set(NAMES)
    assert set(ARMS) <= set(NAMES)


def test_it_begins_with_a_comment_that_says_what_it_does_and_how_to_run_it(name):
    first, second, *_ = shipped_recipes()[name].splitlines()
    assert first.startswith("# ")
    assert first.endswith(".")
    assert len(first) <= 120
    assert second.split() == ["#", "sparring", "train", name, "--run", f"runs/{name}"]


def test_it_builds_and_trains_the_method_of_its_name_at_last(name):
    recipe = Recipe.read(name)
    methods = [name_of(phase.method) for phase in recipe.phases]
    assert set(methods) <= set(METHODS)
    assert name_of(recipe.task) in TASKS
    assert methods[0] == "sft"
    if name == "curriculum":
        assert {"saie", "tripost", "thought_preference"} <= set(methods)
    else:
        assert methods[-1] == {"flan_t5": "saie"}.get(name, name)


def test_it_is_told_as_a_table_and_as_toml_and_made_again(name):
    recipe = Recipe.read(name)
    assert Recipe.of(recipe.table()) == recipe
    assert tomllib.loads(recipe.toml()) == recipe.table()
    assert Recipe.of(tomllib.loads(recipe.toml())).table() == recipe.table()


def test_what_it_says_is_what_is_meant(name):
    said, meant = flat(load_table(name)), flat(Recipe.read(name).table())
    for key, setting in said.items():
        assert meant[key] == setting, key


def test_its_rounds_can_be_asked(name):
    recipe = Recipe.read(name)
    order = ProblemOrder(recipe)
    for number, phase in enumerate(recipe.phases):
        for round_ in {0, phase.rounds - 1}:
            assert len(order.round(phase, order.total(number), round_)) == order.count(phase)
