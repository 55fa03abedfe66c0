"""Odd folders of models, each refused in one line; and code that comes with a model, which never runs."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path

import pytest
from peft import LoraConfig, get_peft_model
from transformers import BertConfig, BertForMaskedLM, BertModel, T5Config, T5ForConditionalGeneration

from sparring.models.tiny import tiny_model, tiny_tokenizer
from tests.cli.program import refused, sparring_


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "good"
    tiny_model(0, hidden=16).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def odd(good, tmp_path) -> Path:
    """A copy of a good model to be spoilt."""
    return Path(shutil.copytree(good, tmp_path / "odd"))


@pytest.fixture
def adapters(good, tmp_path) -> Path:
    """Adapters of the good model."""
    network = get_peft_model(tiny_model(0, hidden=16), LoraConfig(r=2, target_modules="all-linear"))
    network.save_pretrained(tmp_path / "adapters")
    tiny_tokenizer().save_pretrained(tmp_path / "adapters")
    return change(tmp_path / "adapters", "adapter_config.json", base_model_name_or_path=str(good))


def change(folder: Path, file: str, **more) -> Path:
    told = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps({**told, **more}))
    return folder


def each_verb_refuses(folder: Path, *says: str, train: bool = True) -> None:
    refused("talk", folder, says=says, stdin="y\n")
    refused("evaluate", folder, "--task", "word_sorting", "--problems", 1, says=says, stdin="y\n")
    if train:
        settings = ("--set", f"learner.model={folder}", "--set", "task.train=8", "--set", "task.development=0")
        refused("train", "sft", "--run", folder.parent / "run", *settings, says=says, stdin="y\n")
        assert not (folder.parent / "run").exists()


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.json", b"\xff\x00garbage{"),
        ("config.json", b"[]"),
        ("config.json", b"null"),
        ("config.json", b'{"model_type": "martian"}'),
        ("config.json", b'{"model_type": "llama", "num_attention_heads": 0}'),
        ("config.json", b'{"model_type": "llama", "hidden_size": "big"}'),
        ("model.safetensors", None),
        ("model.safetensors", b""),
        ("model.safetensors", b"\xff" * 1000),
        ("tokenizer.json", b'{"a":'),
        ("tokenizer_config.json", b"["),
    ],
)
def test_a_damaged_file_is_one_line(odd, file, content):
    if content is None:
        (odd / file).unlink()
    else:
        (odd / file).write_bytes(content)
    refused("talk", odd, says=("cannot be loaded", str(odd)))


def test_weights_that_are_cut_or_lacking_are_one_line_in_every_verb(odd):
    whole = (odd / "model.safetensors").read_bytes()
    (odd / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    each_verb_refuses(odd, "cannot be loaded", str(odd))
    (odd / "model.safetensors").write_bytes(whole)
    change(odd, "config.json", num_hidden_layers=3)
    refused("talk", odd, says=("lacks the weights model.layers.2.", str(odd)))


def test_a_folder_without_a_tokenizer_and_a_file_are_one_line(odd, tmp_path):
    for path in odd.glob("*token*"):
        path.unlink()
    refused("talk", odd, says=("cannot be loaded", str(odd)))
    (tmp_path / "file").write_text("x")
    for verb in (("talk",), ("evaluate", "--task", "word_sorting"), ("export",)):
        place = [tmp_path / "file", tmp_path / "out"] if verb == ("export",) else [tmp_path / "file"]
        refused(verb[0], *place, *verb[1:], says=("holds no model", "file"))
    refused(
        "train", "sft", "--run", tmp_path / "run", "--set", f"learner.model={tmp_path / 'file'}", says=("is a file",)
    )


@pytest.mark.parametrize(
    "template", ["{% for m in messages %}", "{{ raise_exception('no') }}", "{{ messages + 1 }}", "{{ 1 // 0 }}", "hi"]
)
def test_a_broken_chat_template_is_one_line(odd, template):
    (odd / "chat_template.jinja").write_text(template)
    refused("talk", odd, says=("chat template", str(odd), "give one with chat_template ="))


@pytest.mark.parametrize("kind", [BertForMaskedLM, BertModel, T5ForConditionalGeneration])  # the last without a start
def test_what_writes_no_text_is_one_line(kind, tmp_path):
    size = len(tiny_tokenizer())
    config = (
        T5Config(vocab_size=size, d_model=32, d_kv=16, d_ff=64, num_layers=2, num_heads=2)
        if kind is T5ForConditionalGeneration
        else BertConfig(
            vocab_size=size, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
        )
    )
    kind(config).save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    each_verb_refuses(tmp_path / "model", train=False)


# ── adapters ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("base", ["/nowhere/base", "owner/base", None])
def test_adapters_whose_base_is_missing_are_one_line_in_every_verb(adapters, base, tmp_path):
    change(adapters, "adapter_config.json", base_model_name_or_path=base)
    each_verb_refuses(adapters, "adapters", base or "does not name the base model")
    refused("export", adapters, tmp_path / "out", says=("adapters", base or "does not name the base model"))


def test_damaged_adapters_are_one_line(adapters, tmp_path):
    (adapters / "adapter_model.safetensors").write_bytes(b"\xff" * 100)
    refused("talk", adapters, says=("cannot be loaded", str(adapters)))
    refused("export", adapters, tmp_path / "out", says=("cannot be loaded", str(adapters)))
    (adapters / "adapter_model.safetensors").unlink()
    refused("export", adapters, tmp_path / "out", says=("cannot be loaded", str(adapters)))
    assert not (tmp_path / "out").exists()


def test_adapters_alone_are_not_trained_further(adapters, tmp_path):
    settings = ("--set", f"learner.model={adapters}", "--set", "task.train=8")
    refused("train", "sft", "--run", tmp_path / "run", *settings, says=("only adapters", f"sparring export {adapters}"))


# ── code that comes with a model ────────────────────────────────────────────────────────────────────────────

OWN = """open({ran!r}, "w").write("x")
from transformers import LlamaConfig, LlamaForCausalLM
class C(LlamaConfig): model_type = "own"
class M(LlamaForCausalLM): config_class = C
def generate(*args, **more): pass
"""


def test_code_that_comes_with_a_model_never_runs_and_nobody_is_asked(odd, adapters, tmp_path):
    ran = tmp_path / "ran"
    (odd / "own.py").write_text(OWN.format(ran=str(ran)))
    (odd / "custom_generate").mkdir()
    (odd / "custom_generate" / "generate.py").write_text(OWN.format(ran=str(ran)))
    assert sparring_("talk", odd, stdin="hi\n").code == 0  # code that nothing needs is left alone
    change(odd, "config.json", model_type="own", auto_map={"AutoConfig": "own.C", "AutoModelForCausalLM": "own.M"})
    each_verb_refuses(odd, "its own code", "never run")
    change(adapters, "adapter_config.json", base_model_name_or_path=str(odd))
    each_verb_refuses(adapters, "its own code", train=False)
    refused("export", adapters, tmp_path / "out", says=("its own code",), stdin="y\n")
    for by in ("local", "reward"):
        table = (
            f'phase.2.discussant={{by="{by}", model="{odd}"}}'
            if by == "local"
            else f'phase.2.judge={{by="reward", model="{odd}"}}'
        )
        recipe = "saie" if by == "local" else "thought_preference"
        small = (
            "--set",
            "task.train=8",
            "--set",
            "task.development=0",
            "--set",
            "phase.1.epochs=1",
            "--set",
            "phase.1.problems=8",
        )
        said = sparring_("train", recipe, "--run", tmp_path / by, "--set", table, *small, "--set", "task.test=1",
                         "--set", "phase.2.problems=8", "--set", "run.max_learner_failures=1", stdin="y\n")  # fmt: skip
        assert said.code == 2, said
        assert "its own code" in said.err.splitlines()[-1]
    assert not ran.exists()


def test_a_tokenizer_with_code_of_its_own_is_refused(odd, tmp_path):
    (odd / "own.py").write_text(OWN.format(ran=str(tmp_path / "ran")))
    change(odd, "tokenizer_config.json", tokenizer_class="Own", auto_map={"AutoTokenizer": ["own.T", None]})
    sparring_("talk", odd, stdin="y\n")
    assert not (tmp_path / "ran").exists()


def test_a_runs_folder_stands_for_its_best_learner(run, recipe, tmp_path):
    best = run / "checkpoints" / "best"
    words = ("train", recipe(), "--run", tmp_path / "more", "--set", f"learner.model={run}")
    said = sparring_(*words)
    assert said.code == 0, said
    table = tomllib.loads((tmp_path / "more" / "recipe.toml").read_text())
    assert table["learner"]["model"] == str(best)
    assert sparring_(*words, "--resume").code == 0
    assert sparring_("train", tmp_path / "more" / "recipe.toml", "--run", tmp_path / "more", "--resume").code == 0
    partner = f'\n[phase.discussant]\nby = "local"\nmodel = "{run}"\n\n[trainer]'
    discussed = recipe(('method = "sft"', 'method = "saie"'), ("[trainer]", partner), name="discussed.toml")
    refused("train", discussed, "--run", tmp_path / "run", says=("is a run's folder", str(best)))


def test_a_model_that_no_run_has_trained_is_not_exported(good, tmp_path):
    refused("export", good, tmp_path / "out", says=(f"{good} is no checkpoint of sparring", "give a run"))
