"""The JSON schema of recipes: what it accepts is what recipes look like, and what it refuses is a mistake."""

from __future__ import annotations

import json
import tomllib

import pytest

from sparring.common.errors import ConfigError
from sparring.common.schema import keys
from sparring.config.factory import METHODS, PARTNERS, ROLES, SPEAKERS, TASKS, optional_roles, role_fields
from sparring.config.json_schema import recipe_schema
from sparring.config.recipe import Recipe, shipped_recipes, with_settings
from tests.cli.program import sparring_

jsonschema = pytest.importorskip("jsonschema")

SCHEMA = recipe_schema()
OFFLINE = ["saie", "tripost", "sft", "lmsi", "thought_preference", "response_preference", "flan_t5", "curriculum"]


def mistakes(table):
    return list(jsonschema.Draft7Validator(SCHEMA).iter_errors(table))


def test_it_is_a_schema_and_the_verb_prints_it():
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    said = sparring_("schema")
    assert said.code == 0
    assert json.loads(said.out) == SCHEMA


def test_it_has_no_reference_to_nowhere():
    text = json.dumps(SCHEMA)
    for name in {part.split('"')[0] for part in text.split('"$ref": "#/definitions/')[1:]}:
        assert name in SCHEMA["definitions"]


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_shipped_recipe_fits(name):
    assert mistakes(tomllib.loads(shipped_recipes()[name])) == []


@pytest.mark.parametrize("name", OFFLINE)
def test_a_recipe_with_every_key_set_fits(name):
    assert mistakes(json.loads(json.dumps(Recipe.read(name).table()))) == []


@pytest.mark.parametrize(
    "setting",
    [
        "trainer.lerning_rate=1e-4", "trainer.learning_rate=fast", "trainer.learning_rate=0", "trainer.lr_schedule=cos",
        "run.sed=1", "run.keep=0", "learner.lora={rnk = 4}", "learner.device=1", "task.rnge=easy", "task.kind=words",
        "task.range=1", "task.problems=new", "phase.1.method=stf", "phase.1.epochs=0", "phase.2.editor.by=tsk",
        "phase.2.editor={}", "phase.2.critic={by = 'endpoint', model = 'm'}", "phase.2.critic.rong=0.1",
        "phase.2.critic={by = 'scripted', replies = ['a'], retries = 2}", "phase.2.trainer.bach_size=2",
        "phase.2.judge.by=task", "budget.run={cals = 3}", "ledger.mode=of", "tasks.kind=writing",
        "phase.2.critic={by = 'reward', model = 'm'}",
    ],
)  # fmt: skip
def test_a_recipe_with_a_mistake_does_not_fit(setting):
    table = tomllib.loads(shipped_recipes()["tripost"])
    assert mistakes(table) == []
    assert mistakes(with_settings(table, [setting])) != []
    with pytest.raises(ConfigError):
        Recipe.read(table, [setting])


@pytest.mark.parametrize(
    "setting",
    [
        "phase.2.critic={by = 'endpoint', model = 'm', base_url = 'http://h/v1', temperature = 0.3, in_flight = 3}",
        "phase.2.critic={by = 'my_package.Critic', anything = 1}", "task={kind = 'my_package.Task', size = 3}",
        "phase=[{method = 'my_package.Method', depth = 2}]", "learner.lora={rank = 4}", "budget.run={calls = 3}",
        "phase.2.trainer={learning_rate = 1e-4}", "trainer.learning_rate=1",
    ],
)  # fmt: skip
def test_partners_and_classes_of_ones_own_fit(setting):
    assert mistakes(with_settings(tomllib.loads(shipped_recipes()["tripost"]), [setting])) == []


def test_every_name_and_key_of_the_package_is_in_it():
    defined = SCHEMA["definitions"]
    rules = {r["if"]["properties"]["method"]["const"]: r for r in SCHEMA["properties"]["phase"]["items"]["allOf"]}
    for name in TASKS:
        assert set(defined[f"task.{name}"]["properties"]) == {"kind", "problems", *keys(TASKS[name])}
    for name in METHODS:
        assert set(keys(METHODS[name])) < set(defined[f"method.{name}"]["properties"])
        rule = rules[name]["then"]
        assert set(rule["required"]) == {"method"} | set(role_fields(METHODS[name])) - optional_roles(METHODS[name])
    roles = [defined[role]["properties"]["by"]["anyOf"][0]["enum"] for role in ROLES.values()]
    assert {*SPEAKERS, *PARTNERS, "task"} == set().union(*roles)
    trainer = defined["trainer"]["properties"]
    assert trainer["batch_size"]["description"] == "`batch_size`: pieces of experience per step."
    assert trainer["batch_size"]["default"] == 32


def test_a_wrong_key_is_named_where_it_stands():
    table = with_settings(tomllib.loads(shipped_recipes()["tripost"]), ["phase.2.rouds=2"])
    [mistake] = mistakes(table)
    assert list(mistake.path) == ["phase", 1]
    assert "'rouds' is not one of" in mistake.message
