"""The verbs, as a user types them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import sparring
from sparring.config.factory import METHODS, PARTNERS, PROTOCOLS, SPEAKERS, TASKS
from sparring.config.recipe import shipped_recipes
from tests.cli.program import refused, sparring_, tree

# ── help and lists ──────────────────────────────────────────────────────────────────────────────────────────

VERBS = (
    "demo", "train", "evaluate", "compare", "talk", "estimate", "exam", "ledger", "write", "export", "bundle", "replay",
    "list", "schema",
)  # fmt: skip


def test_help_answers_in_under_a_second():
    """Of processor time: the machine may be busy."""
    resource = pytest.importorskip("resource")

    def seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "sparring.cli.main", "--help"], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(3)) < 1


def test_help_of_the_program_names_every_verb():
    said = sparring_("--help")
    assert said.code == 0
    for verb in VERBS:
        assert verb in said.out
    assert sparring_("-h") == said


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb):
    said = sparring_(verb, "--help")
    assert said.code == 0
    assert f"sparring {verb}" in said.out
    assert said.err == ""


def test_nothing_typed_shows_the_help():
    said = sparring_()
    assert "Usage" in said.out + said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("methods", METHODS),
        ("tasks", TASKS),
        ("partners", PARTNERS),
        ("speakers", SPEAKERS),
        ("protocols", PROTOCOLS),
        ("recipes", shipped_recipes()),
    ],
)
def test_list_shows_every_name_with_a_line_about_it(kind, names):
    said = sparring_("list", kind)
    assert said.code == 0
    told = {line.split()[0]: line.split(maxsplit=1)[1] for line in said.out.splitlines()}
    assert list(told) == list(names)
    for line in told.values():
        assert line.endswith("."), f"cut in the middle of a sentence: {line!r}"


def test_list_alone_shows_everything():
    said = sparring_("list")
    assert said.code == 0
    for kind in ("methods", "tasks", "partners", "speakers", "protocols", "recipes"):
        assert f"{kind}\n" in said.out
        assert sparring_("list", kind).out.rstrip() in said.out


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("train tri", [name for name in shipped_recipes() if name.startswith("tri")]),
        ("estimate papers/saie_m", ["papers/saie_mmlu"]),
        ("evaluate --protocol ", [*PROTOCOLS]),
        ("evaluate --task ", [*TASKS]),
        ("evaluate --task gs", ["gsm8k"]),
    ],
)
def test_the_shell_completes_names_without_torch(words, names):
    more = {
        "_SPARRING_COMPLETE": "complete_bash",
        "COMP_WORDS": f"sparring {words}",
        "COMP_CWORD": str(words.count(" ") + 1),
    }
    program = (
        "import sys; sys.argv[0] = 'sparring'; from sparring.cli.main import app\n"
        "try: app()\nfinally: assert 'torch' not in sys.modules"
    )
    said = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, env=os.environ | more
    )
    assert said.stdout.split() == names


# ── train ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_train_makes_a_folder_with_a_learner_in_it(run):
    assert json.loads((run / "run.json").read_text())["status"] == "finished"
    assert (run / "checkpoints" / "best" / "model.safetensors").exists()


def test_set_reaches_tables_phases_by_number_and_by_method_and_words_numbers_and_lists(recipe, tmp_path):
    said = sparring_(
        "train", recipe(), "--run", tmp_path / "run",
        "--set", "phase.1.epochs=2", "--set", "phase.sft.max_tokens=20", "--set", "trainer.lr_schedule=linear",
        "--set", 'task.range="easy"', "--set", "task.train=16", "--set", "trainer.adam_betas=[0.9, 0.95]",
        "--set", "run.test_problems = 2", "--set", "phase.1.trainer.batch_size=4",
    )  # fmt: skip
    assert said.code == 0, said
    told = sparring.Recipe.read(str(tmp_path / "run" / "recipe.toml")).table()
    assert (told["phase"][0]["epochs"], told["phase"][0]["max_tokens"]) == (2, 20)
    assert (told["trainer"]["lr_schedule"], told["trainer"]["adam_betas"]) == ("linear", [0.9, 0.95])
    assert (told["task"]["train"], told["run"]["test_problems"]) == (16, 2)
    assert (told["trainer"]["batch_size"], told["phase"][0]["trainer"]["batch_size"]) == (8, 4)
    assert json.loads((tmp_path / "run" / "evaluation.json").read_text())["problems"] == 2


def test_a_shipped_recipe_is_trained_by_its_name(tmp_path):
    small = ("task.train=16", "task.development=4", "task.test=4", "phase.1.epochs=1", "phase.2.rounds=1")
    said = sparring_(
        "train", "sft", "--run", tmp_path / "run", *(word for setting in small for word in ("--set", setting))
    )
    assert said.code == 0, said


def test_resume_leaves_a_finished_run_as_it_is(run):
    before = tree(run / "checkpoints")
    said = sparring_("train", run.parent / "recipe.toml", "--run", run, "--resume")
    assert said.code == 0, said
    assert tree(run / "checkpoints") == before


def test_a_run_can_be_resumed_from_its_own_recipe(run):
    assert sparring_("train", run / "recipe.toml", "--run", run, "--resume").code == 0


# ── evaluate ────────────────────────────────────────────────────────────────────────────────────────────────


def results(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())


def outcomes(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "problems.jsonl").read_text().splitlines()]


def test_evaluate_measures_a_run_on_its_own_test_problems_as_the_run_did(run, tmp_path):
    said = sparring_("evaluate", run, "--run", tmp_path / "e")
    assert said.code == 0, said
    figures, during = results(tmp_path / "e"), json.loads((run / "evaluation.json").read_text())
    assert figures["problems"] == len(outcomes(tmp_path / "e")) == 8
    assert {key: figures[key] for key in ("measures", "bins")} == {key: during[key] for key in ("measures", "bins")}
    assert f"{figures['measures']['accuracy']['value']:.1%}" in said.out
    for name in (*figures["bins"], "accuracy", "95 % interval", "macro average"):
        assert name in said.out
    answered = [outcome for outcome in outcomes(tmp_path / "e") if outcome["transcripts"]]
    assert [message["author"] for message in answered[0]["transcripts"][0]] == ["user", "learner"]


def test_an_evaluation_resumes_without_asking_again(run, tmp_path):
    folder = tmp_path / "e"
    assert sparring_("evaluate", run, "--run", folder, "--problems", 6).code == 0
    whole, figures = (folder / "problems.jsonl").read_bytes(), results(folder)
    lines = whole.splitlines(keepends=True)
    changed = lines[0].replace(b'"response": "', b'"response": "kept: ')
    (folder / "problems.jsonl").write_bytes(changed + lines[3] + lines[4][:40])  # killed while it wrote a line
    refused("evaluate", run, "--run", folder, "--problems", 6, says=("already contains", "--resume"))
    said = sparring_("evaluate", run, "--run", folder, "--problems", 6, "--resume")
    assert said.code == 0, said
    assert (folder / "problems.jsonl").read_bytes() == changed + b"".join(lines[1:])
    assert results(folder) == figures
    refused("evaluate", run, "--run", folder, "--problems", 5, "--resume", says=("another recipe", "problems: 6 → 5"))
    (folder / "problems.jsonl").write_text('{"problem": "p"}\n')
    refused("evaluate", run, "--run", folder, "--problems", 6, "--resume", says=("problems.jsonl is damaged", "remove"))


def test_an_evaluation_is_repeated_from_its_own_recipe(run, tmp_path):
    assert sparring_("evaluate", run, "--run", tmp_path / "a", "--problems", 3).code == 0
    assert sparring_("evaluate", "--recipe", tmp_path / "a" / "recipe.toml", "--run", tmp_path / "b").code == 0
    assert outcomes(tmp_path / "a") == outcomes(tmp_path / "b")


def test_evaluate_measures_on_another_task_with_settings(run, tmp_path):
    said = sparring_(
        "evaluate", run, "--task", "word_sorting", "--set", "task.range=easy", "--problems", 5, "--run", tmp_path / "e"
    )
    assert said.code == 0, said
    assert results(tmp_path / "e")["problems"] == 5


def test_evaluate_measures_another_split_of_the_runs_changed_task(run, tmp_path):
    said = sparring_(
        "evaluate", run, "--split", "development", "--set", "task.development=3", "--plain", "--run", tmp_path / "e"
    )
    assert said.code == 0, said
    figures = results(tmp_path / "e")
    assert (figures["problems"], figures["evaluation"]["plain"], figures["task"]["range"]) == (3, True, "easy")


def test_several_samples_give_pass_at_k_and_a_vote(run, tmp_path):
    said = sparring_(
        "evaluate", run, "--problems", 4, "--set", "protocol.samples=3", "--set", "protocol.k=[1,3]",
        "--run", tmp_path / "e",
    )  # fmt: skip
    assert said.code == 0, said
    means = {name: mean["value"] for name, mean in results(tmp_path / "e")["measures"].items()}
    assert means["pass@1"] == pytest.approx(means["accuracy"])
    assert means["pass@3"] >= max(means["majority"], means["pass@1"])
    sampled = outcomes(tmp_path / "e")[0]["transcripts"]
    assert len({chat[-1]["text"] for chat in sampled}) > 1  # an untrained learner's samples differ


def test_evaluate_refuses_a_task_without_answers_before_it_asks(run, tmp_path):
    (tmp_path / "open.jsonl").write_text("".join(f'{{"instruction": "Write {n} words."}}\n' for n in range(40)))
    source = ("--task", "instructions", "--set", f"task.train={tmp_path / 'open.jsonl'}")
    said = sparring_("evaluate", run, *source)
    assert said.code == 2
    assert "solo needs gold answers, which the task instructions does not have" in said.err


def test_evaluate_measures_a_model_that_no_run_has_trained(tmp_path):
    said = sparring_("evaluate", "tiny", "--task", "word_sorting", "--problems", 2, "--run", tmp_path / "e")
    assert said.code == 0, said
    assert results(tmp_path / "e")["problems"] == 2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), ("names no learner", "give a run")),
        (("--task", "word_sorting", "--set", "learner.device=cpu"), ("names no learner", "give a run")),
        (
            ("--task", "word_sorting", "--set", "learner.by=endpoint", "--set", "learner.model=m"),
            ("in learner 1: the key base_url is missing",),
        ),
        (("tiny",), ("tiny is not a run", "--task")),
        (("nowhere", "--task", "word_sorting"), ("nowhere",)),
        (("tiny", "--task", "word_sorting", "--protocol", "sola"), ("unknown protocol 'sola'", "'solo'")),
        (("tiny", "--task", "word_sorting", "--set", "protocol.kk=1"), ("unknown key 'kk'", "'k'")),
        (("tiny", "--task", "word_sorting", "--set", "protocol.k=[2]"), ("k is larger than samples (got 2 and 1)",)),
        (("tiny", "tiny", "--task", "word_sorting"), ("needs 1 learners (got 2)",)),
        (("tiny", "--task", "word_sorting", "--set", "evaluation.sed=1"), ("'sed'", "'seed'")),
        (("tiny", "--task", "word_sorting", "--set", "judge.by=task"), ("table of an evaluation 'judge'",)),
        (("m", "--task", "word_sorting", "--set", "learner.by=endpont"), ("unknown speaker 'endpont'", "endpoint")),
        (
            (
                "m",
                "--task",
                "word_sorting",
                "--set",
                "learner.by=endpoint",
                "--set",
                "learner.base_url=http://127.0.0.1:9/v1",
            ),
            ("behind an API", "--run"),
        ),
    ],
)
def test_a_wrong_evaluation_is_refused_in_one_line(words, says):
    refused("evaluate", *words, says=says)


# ── export ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_export_folds_adapters_in_so_that_plain_transformers_gives_the_same_logits(adapted, tmp_path):
    from peft import AutoPeftModelForCausalLM

    best = adapted / "checkpoints" / "best"
    assert (best / "adapter_config.json").exists()
    assert not (best / "model.safetensors").exists()
    said = sparring_("export", adapted, tmp_path / "merged")
    assert said.code == 0, said
    merged, tokenizer = (kind.from_pretrained(tmp_path / "merged") for kind in (AutoModelForCausalLM, AutoTokenizer))
    with_adapters = AutoPeftModelForCausalLM.from_pretrained(best)
    base = AutoModelForCausalLM.from_pretrained(
        json.loads((best / "adapter_config.json").read_text())["base_model_name_or_path"]
    )
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": "(1+(2+3))="}], add_generation_prompt=True, return_tensors="pt"
    )["input_ids"]
    with torch.no_grad():
        logits, expected, before = (model(asked).logits for model in (merged, with_adapters, base))
    assert torch.allclose(logits, expected, atol=1e-4)
    assert not torch.allclose(logits, before, atol=1e-3)
    assert not hasattr(merged, "peft_config")


def test_an_exported_model_answers_as_the_run_does(adapted, tmp_path):
    assert sparring_("export", adapted / "checkpoints" / "best", tmp_path / "merged").code == 0
    told = []
    for place in (adapted, tmp_path / "merged"):
        folder = tmp_path / f"e{len(told)}"
        said = sparring_("evaluate", place, "--task", "multistep_arithmetic", "--problems", 6, "--run", folder)
        assert said.code == 0, said
        told.append((folder / "problems.jsonl").read_text())
    assert told[0] == told[1]


def test_an_export_refuses_a_folder_that_exists(adapted, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").write_text("precious")
    refused("export", adapted, tmp_path / "there", says=(f"{tmp_path / 'there'} exists", "choose a folder"))
    assert tree(tmp_path / "there") == {"file": b"precious"}


def test_the_version_is_that_of_the_package():
    said = sparring_("--version")
    assert (said.code, said.out) == (0, f"sparring {version('sparring')}\n")
