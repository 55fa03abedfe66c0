"""Words of other tools in a recipe: each is answered by one line, and what the line says to write is read."""

from __future__ import annotations

import re

import pytest

from sparring.common.aliases import ADVICE, PLACES
from sparring.common.errors import ConfigError, nearest
from sparring.common.schema import keys
from sparring.config.evaluation import EvaluationRecipe
from sparring.config.factory import METHODS, PARTNERS, SPEAKERS, TASKS
from sparring.config.recipe import Recipe, RunSettings
from tests.cli.program import refused

NAMES = {*METHODS, *TASKS, *PARTNERS, *SPEAKERS, "task"}
RECIPE = {
    "learner": {"model": "owner/model"},
    "task": {"kind": "multistep_arithmetic"},
    "phase": [{"method": "thought_preference", "judge": {"by": "task"}}],
}
VALUES = {
    "model": '"owner/other"', "rank": "4", "alpha": "8.0", "dropout": "0.1", "targets": '["q_proj"]',
    "dtype": '"bfloat16"', "quantization": "", "thinking": '"hidden"', "lora": "{rank = 4}", "learning_rate": "1e-4",
    "lr_schedule": '"cosine"', "optimizer": '"adamw"', "adam_betas": "[0.9, 0.99]", "max_grad_norm": "0.5",
    "beta": "0.2", "train": "", "development": "", "trackers": '["tensorboard"]', "method": '"response_preference"',
}  # fmt: skip
BY_ENDPOINT = {"by": "endpoint", "model": "m", "base_url": "http://localhost:8000/v1"}


def line(where: str, word: str) -> str:
    """Return the error for `word` as a key of the table `where` of RECIPE."""
    with pytest.raises(ConfigError) as caught:
        Recipe.read(RECIPE, [f"{where}.{word}=1" if where else f"{word}=1"])
    text = str(caught.value)
    assert "\n" not in text
    return text


KEYS = sorted(word for word, place in PLACES.items() if "." in place)


@pytest.mark.parametrize("word", KEYS)
def test_a_key_of_another_tool_names_ours_and_its_place_and_the_recipe_with_it_is_read(word):
    table, _, key = PLACES[word].partition(".")
    name = key.rpartition(".")[2]
    said = line("", word)
    if word in ADVICE:
        assert said.endswith(f"; {ADVICE[word]}")
        assert re.search(rf"\b{name}\b", said), "the advice names another key"
    else:
        assert re.search(rf"write .*\b{name}\b.* under \[+{table}\]+$", said), said
    if name == "trackers" and "trackers" not in keys(RunSettings):
        pytest.skip("the key trackers is not in this version")
    value = VALUES.get(name, "2")
    if value:
        place = PLACES[word].replace("phase.", "phase.1.")
        Recipe.read(RECIPE, [f"{place}={value}"])
        assert word == name or f"did you mean {name!r}" in line(place.rpartition(".")[0], word)


@pytest.mark.parametrize("word", sorted(word for word, place in PLACES.items() if "." not in place))
def test_a_name_of_another_tool_leads_to_one_of_ours(word):
    ours = PLACES[word]
    if ours in ("trainer", "phase"):
        assert f"did you mean {ours!r}" in line("", word)
    elif ours == "base_url":
        with pytest.raises(ConfigError, match="did you mean 'base_url'"):
            Recipe.read(RECIPE | {"phase": [{"method": "saie", "discussant": BY_ENDPOINT | {word: "x"}}]})
    else:
        kind, known = next((k, c) for k, c in (("method", METHODS), ("task", TASKS), ("partner", NAMES)) if ours in c)
        assert f"did you mean {ours!r}" in str(nearest(kind, word, known))


@pytest.mark.parametrize(
    "word", [word for word, text in ADVICE.items() if 'by = "endpoint"' in text and word not in PLACES]
)
def test_a_provider_leads_to_an_endpoint_that_is_read(word):
    with pytest.raises(ConfigError) as caught:
        Recipe.read(RECIPE | {"phase": [{"method": "thought_preference", "judge": {"by": word}}]})
    said = str(caught.value)
    url, variable = re.search(r'base_url = "(.*?)"', said), re.search(r'key_variable = "(.*?)"', said)
    judge = {"by": "endpoint", "model": "m", "base_url": url[1]} | ({"key_variable": variable[1]} if variable else {})
    recipe = Recipe.read(RECIPE | {"phase": [{"method": "thought_preference", "judge": judge}]})
    assert recipe.phases[0].method.judge.speaker.urls == (url[1],)


MENDED = {  # what each other piece of advice says to write
    "reward_funcs": ["phase.1.judge.by=task"],
    "max_steps": ["phase.1.max_gradient_tokens=1000", "phase.1.max_seconds=5"],
    "warmup_steps": ["trainer.warmup=10"],
    "bf16": ["learner.dtype=bfloat16"],
    "fp16": ["learner.dtype=float16"],
    "gradient_accumulation_steps": ["trainer.batch_size=64"],
    "max_seq_length": ["trainer.max_dropped=0.1"],
    "grpo": ["phase.1.method=response_preference"],
    "judge": ["phase.1.judge={by = 'task'}"],
}


@pytest.mark.parametrize("word", MENDED)
def test_what_the_advice_says_is_read(word):
    for setting in MENDED[word]:
        key, _, value = setting.partition("=")
        assert any(part in ADVICE[word] for part in (key.rpartition(".")[2], value, key.replace(".1", "")))
        Recipe.read(RECIPE, [setting])
    where = {"grpo": None, "judge": ""}.get(word, "trainer")
    if where is not None:
        assert line(where, word).endswith(f"; {ADVICE[word]}")


def test_a_method_of_another_tool_that_is_asked_for_as_a_recipe_leads_to_one_of_ours():
    with pytest.raises(ConfigError, match="unknown recipe 'grpo'; choose response_preference"):
        Recipe.read("grpo")
    with pytest.raises(ConfigError, match=r"unknown recipe 'tpo' .did you mean 'thought_preference'"):
        Recipe.read("tpo")


def test_a_key_of_ours_is_not_sent_away_from_the_tables_that_may_have_it():
    with pytest.raises(ConfigError, match=r"unknown key .model. \(did you mean .mode."):
        Recipe.read(RECIPE, ["phase.1.judge.model=x"])
    assert str(nearest("column", "dataset", ["a"])) == "unknown column 'dataset'; choose from a"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--learning_rate", "1e-4"), "unknown option '--learning_rate'; write --set trainer.learning_rate=…"),
        (("--num-train-epochs", "2"), "write --set phase.1.epochs=…"),
        (("--output_dir", "x"), "name the folder of the run on the command line: --run FOLDER"),
        (("--foo",), "No such option: --foo (see sparring --help)"),
    ],
)
def test_an_option_of_another_tool_leads_home(words, says):
    refused("train", "tripost", *words, says=(says,))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("evaluate", "--max_tokens", "5"), "write --set evaluation.max_tokens=…"),
        (("evaluate", "--max-tokens=5"), "write --set evaluation.max_tokens=…"),
        (("evaluate", "--n", "3"), "write --set protocol.samples=…"),
        (("evaluate", "--batch-size", "3"), "write --set evaluation.at_once=…"),
        (("evaluate", "--seed", "3"), "write --set evaluation.seed=…"),
        (("evaluate", "--torch_dtype", "x"), "write --set learner.dtype=…"),
        (("evaluate", "--output_dir", "x"), "--run FOLDER"),
        (("evaluate", "--lr", "1"), "No such option: --lr"),
        (("talk", "--max_new_tokens", "5"), "write --max-tokens"),
        (("talk", "--output_dir", "x"), "No such option: --output_dir"),
        (("write", "rationales", "--model", "x"), "write --set speaker.model=…"),
        (("compare", "--n", "3"), "No such option: --n"),
    ],
)
def test_what_to_write_instead_of_an_option_depends_on_the_verb(words, says):
    refused(*words, says=(says,))


def test_what_an_evaluation_is_told_to_set_is_read():
    settings = ["evaluation.max_tokens=5", "protocol.samples=3", "evaluation.at_once=2", "evaluation.seed=1"]
    table = {"task": {"kind": "multistep_arithmetic"}, "protocol": {"kind": "solo", "temperature": 1.0}}
    EvaluationRecipe.read(table, ["tiny"], settings)


def test_a_secret_that_is_written_into_a_recipe_is_not_repeated():
    with pytest.raises(ConfigError, match="put the key into the environment variable OPENAI_API_KEY") as caught:
        Recipe.read(RECIPE | {"phase": [{"method": "saie", "discussant": BY_ENDPOINT | {"api_key": "sk-secret"}}]})
    assert "sk-secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["recipe.yaml", "recipe.YML", "recipe.json"])
def test_a_yaml_or_json_file_is_told_the_form(name, tmp_path):
    (tmp_path / name).write_text("task:\n  kind: writing\n")
    refused(
        "train", tmp_path / name, "--run", tmp_path / "run", says=("a recipe is TOML (got", "write `key: value` as")
    )
