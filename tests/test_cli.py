"""The verbs, as a user types them; and every mistake a user can make, each with one clear line."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import huggingface_hub.constants
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import sparring
from sparring import cli
from sparring.assembly import METHODS, PARTNERS, SPEAKERS, TASKS
from sparring.errors import CutOff
from sparring.recipe import shipped_recipes
from sparring.tiny import tiny_model, tiny_tokenizer
from sparring.use import PROTOCOLS

RECIPE = """# Small sums.
[learner]
model = "tiny"

[task]
kind = "multistep_arithmetic"
range = "easy"
train = 32
development = 8
test = 8

[[phase]]
method = "sft"
max_tokens = 24

[trainer]
learning_rate = 1e-3
batch = 8

[run]
threads = 1
"""


class Said(NamedTuple):
    """What a call of the program came to."""

    code: int
    out: str
    err: str


def sparring_(*words: object, stdin: str = "") -> Said:
    """Runs the program in this process, as its entry point does."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    before = sys.argv, sys.stdin
    sys.argv, sys.stdin = ["sparring", *map(str, words)], io.StringIO(stdin)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            cli.main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        sys.argv, sys.stdin = before
    return Said(code, out.getvalue(), err.getvalue())


def refused(*words: object, says: tuple[str, ...], stdin: str = "") -> str:
    """The one line that the program says to a mistake; `says` are what it must name."""
    said = sparring_(*words, stdin=stdin)
    assert said.code == 2, said
    assert "Traceback" not in said.err
    lines = [line for line in said.err.splitlines() if line.strip()]
    assert len(lines) == 1, said.err
    assert lines[0].startswith("error: ")
    for part in says:
        assert part in lines[0], f"{part!r} is not in {lines[0]!r}"
    return lines[0]


@pytest.fixture(autouse=True, scope="module")
def _no_hub():
    """The hub is not asked: what is not here is not found, and at once."""
    before = huggingface_hub.constants.HF_HUB_OFFLINE
    huggingface_hub.constants.HF_HUB_OFFLINE = True
    yield
    huggingface_hub.constants.HF_HUB_OFFLINE = before


@pytest.fixture
def recipe(tmp_path) -> Callable[..., Path]:
    """Writes RECIPE, with replacements, to a file."""

    def write(*changes: tuple[str, str], name: str = "recipe.toml") -> Path:
        text = RECIPE
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


@pytest.fixture
def mistaken(recipe, tmp_path) -> Callable[..., str]:
    """Trains by a recipe with `sets` over it, sees that it is refused and that no folder of a run is left behind."""

    def train(*sets: str, says: tuple[str, ...], path: Path | None = None) -> str:
        options = [word for setting in sets for word in ("--set", setting)]
        line = refused("train", path or recipe(), "--run", tmp_path / "run", *options, says=says)
        assert not (tmp_path / "run").exists(), "a folder is left behind, so the mended recipe is refused"
        return line

    return train


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A finished run of RECIPE."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "recipe.toml").write_text(RECIPE)
    said = sparring_("train", folder / "recipe.toml", "--run", folder / "run")
    assert said.code == 0, said
    assert f"sparring talk {folder / 'run'}" in said.out
    return folder / "run"


@pytest.fixture(scope="module")
def adapted(run, tmp_path_factory) -> Path:
    """A run that trains LoRA adapters on the learner of `run`."""
    folder = tmp_path_factory.mktemp("lora")
    (folder / "recipe.toml").write_text(RECIPE)
    base = run / "checkpoints" / "final"
    said = sparring_(
        "train", folder / "recipe.toml", "--run", folder / "run", "--set", f"learner.model={base}",
        "--set", "learner.lora.rank=4", "--set", "trainer.learning_rate=1e-2",
    )  # fmt: skip
    assert said.code == 0, said
    return folder / "run"


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# ── help and lists ──────────────────────────────────────────────────────────────────────────────────────────

VERBS = (
    "demo", "train", "estimate", "evaluate", "talk", "merge", "ledger", "bundle", "replay", "write", "list"
)  # fmt: skip


def test_help_answers_in_under_a_second():
    def seconds() -> float:
        begun = time.monotonic()
        subprocess.run([sys.executable, "-m", "sparring.cli", "--help"], check=True, capture_output=True)
        return time.monotonic() - begun

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


# ── train ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_train_makes_a_folder_with_a_learner_in_it(run):
    assert json.loads((run / "run.json").read_text())["status"] == "finished"
    assert (run / "checkpoints" / "best" / "model.safetensors").exists()


def test_set_reaches_tables_phases_by_number_and_by_method_and_words_numbers_and_lists(recipe, tmp_path):
    said = sparring_(
        "train", recipe(), "--run", tmp_path / "run",
        "--set", "phase.1.epochs=2", "--set", "phase.sft.max_tokens=20", "--set", "trainer.schedule=linear",
        "--set", 'task.range="easy"', "--set", "task.train=16", "--set", "trainer.adam_betas=[0.9, 0.95]",
        "--set", "run.test_problems = 2", "--set", "phase.1.trainer.batch=4",
    )  # fmt: skip
    assert said.code == 0, said
    told = sparring.Recipe.read(str(tmp_path / "run" / "recipe.toml")).table()
    assert (told["phase"][0]["epochs"], told["phase"][0]["max_tokens"]) == (2, 20)
    assert (told["trainer"]["schedule"], told["trainer"]["adam_betas"]) == ("linear", [0.9, 0.95])
    assert (told["task"]["train"], told["run"]["test_problems"]) == (16, 2)
    assert (told["trainer"]["batch"], told["phase"][0]["trainer"]["batch"]) == (8, 4)
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


def test_evaluate_asks_a_run_its_own_test_problems_and_writes_the_figures(run, tmp_path):
    said = sparring_("evaluate", run, "--output", tmp_path / "figures.json")
    assert said.code == 0, said
    told = json.loads((tmp_path / "figures.json").read_text())
    assert told["problems"] == len(told["outcomes"]) == 8
    assert 0 <= told["low"] <= told["accuracy"] <= told["high"] <= 1
    assert set(told["bins"]) == {outcome["bin"] for outcome in told["outcomes"]}
    during = json.loads((run / "evaluation.json").read_text())
    assert {key: told[key] for key in ("accuracy", "low", "high", "bins")} == {
        key: during[key] for key in ("accuracy", "low", "high", "bins")
    }
    assert f"{told['accuracy']:.1%}" in said.out
    for name in (*told["bins"], "all", "95 % interval"):
        assert name in said.out


def test_evaluate_asks_another_task_with_settings(run, tmp_path):
    said = sparring_(
        "evaluate", run, "--task", "word_sorting", "--set", "range=easy", "--problems", 5, "--output", tmp_path / "f"
    )
    assert said.code == 0, said
    assert json.loads((tmp_path / "f").read_text())["problems"] == 5


def test_evaluate_asks_another_split_and_changes_the_runs_own_task(run, tmp_path):
    said = sparring_(
        "evaluate", run, "--split", "development", "--set", "development=3", "--protocol", "solo",
        "--output", tmp_path / "f",
    )  # fmt: skip
    assert said.code == 0, said
    assert json.loads((tmp_path / "f").read_text())["problems"] == 3


def test_evaluate_refuses_a_task_without_answers_before_it_asks(run, tmp_path):
    (tmp_path / "open.jsonl").write_text("".join(f'{{"instruction": "Write {n} words."}}\n' for n in range(40)))
    said = sparring_("evaluate", run, "--task", "instructions", "--set", f"train={tmp_path / 'open.jsonl'}")
    assert said.code == 2
    assert "the task instructions has no right answers" in said.err
    refused = sparring_("evaluate", "nowhere", "--task", "instructions", "--set", f"train={tmp_path / 'open.jsonl'}")
    assert refused == said  # no learner was loaded


def test_evaluate_asks_a_model_that_no_run_has_trained(tmp_path):
    said = sparring_("evaluate", "tiny", "--task", "word_sorting", "--problems", 2, "--output", tmp_path / "f")
    assert said.code == 0, said
    assert json.loads((tmp_path / "f").read_text())["problems"] == 2


# ── talk ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("end", ["\n", ""])
def test_talk_answers_each_line_until_there_is_none(run, end):
    said = sparring_("talk", run, stdin=f"(1+(2+3))=\n(4-(2*3))=\n{end}")
    assert said.code == 0, said
    assert said.out.count("learner:") + said.out.count("no answer:") == 2
    assert "Traceback" not in said.err


def test_talk_says_what_open_learner_answers(run):
    learner = sparring.open_learner(run)
    try:
        answer = learner.answer("(1+(2+3))=")
    except sparring.SparringError:
        answer = "no answer"
    said = sparring_("talk", run, stdin="(1+(2+3))=\n")
    assert " ".join(answer.split()) in " ".join(said.out.split())


def test_talk_shows_words_that_look_like_markup_as_they_are(run, monkeypatch):
    async def reply(self, chat):
        return sparring.Answered(chat, "[bold]x[/bold] [/nothing] :smile:", ("x",))

    monkeypatch.setattr(sparring.Used, "reply", reply)
    said = sparring_("talk", run, stdin="[/red] :smile:\n")
    assert said.code == 0, said
    assert "[bold]x[/bold] [/nothing] :smile:" in said.out


def test_talk_goes_on_after_a_line_to_which_there_is_no_answer(run, monkeypatch):
    calls = []

    async def reply(self, chat):
        calls.append(chat.text)
        raise CutOff("the reply was cut at its limit after 24 tokens")

    monkeypatch.setattr(sparring.Used, "reply", reply)
    said = sparring_("talk", run, stdin="one\ntwo\n")
    assert said.code == 0, said
    assert calls == ["one", "two"]
    assert said.out.count("no answer: the reply was cut at its limit") == 2


# ── merge ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_merge_folds_adapters_in_so_that_plain_transformers_gives_the_same_logits(adapted, tmp_path):
    from peft import AutoPeftModelForCausalLM

    best = adapted / "checkpoints" / "best"
    assert (best / "adapter_config.json").exists()
    assert not (best / "model.safetensors").exists()
    said = sparring_("merge", adapted, tmp_path / "merged")
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


def test_a_merged_model_answers_as_the_run_does(adapted, tmp_path):
    assert sparring_("merge", adapted / "checkpoints" / "best", tmp_path / "merged").code == 0
    told = []
    for place in (adapted, tmp_path / "merged"):
        output = tmp_path / "figures.json"
        said = sparring_("evaluate", place, "--task", "multistep_arithmetic", "--problems", 6, "--output", output)
        assert said.code == 0, said
        told.append(json.loads(output.read_text()))
    assert told[0] == told[1]


def test_merge_refuses_what_has_no_adapters_and_a_folder_that_exists(run, adapted, tmp_path):
    refused("merge", run, tmp_path / "out", says=("has no LoRA adapters", str(run)))
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").write_text("precious")
    refused("merge", adapted, tmp_path / "there", says=(f"{tmp_path / 'there'} exists", "choose a folder"))
    assert tree(tmp_path / "there") == {"file": b"precious"}
    assert not (tmp_path / "out").exists()


# ── mistakes: names ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("phase.1.method=sfft", ("no method is called 'sfft'", "did you mean 'sft'", "tripost")),
        ("task.kind=word_sort", ("no task is called 'word_sort'", "did you mean 'word_sorting'", "gsm8k")),
        ("task.rnge=easy", ("[task] (multistep_arithmetic)", "'rnge'", "did you mean 'range'", "development")),
        ("phase.1.lern=answer", ("phase 1 (sft)", "'lern'", "did you mean 'learn'", "max_tokens")),
        ("phase.1.round=2", ("phase 1 (sft)", "'round'", "did you mean 'rounds'")),
        ("phase.1.trainer.bath=2", ("phase 1 (sft)", "'bath'", "did you mean 'batch'")),
        ("learner.modle=tiny", ("[learner]", "'modle'", "did you mean 'model'")),
        ("learner.lora.rnk=4", ("[learner]", "'rnk'", "did you mean 'rank'", "alpha")),
        ("trainer.learning_rat=1", ("[trainer]", "'learning_rat'", "did you mean 'learning_rate'")),
        ("run.sead=1", ("[run]", "'sead'", "did you mean 'seed'")),
        ("lerner.model=tiny", ("'lerner'", "did you mean 'learner'", "phase")),
        ("phase.1.thought_format=thinkk", ("'thinkk'", "did you mean 'think'", "generic")),
        ("phase.1.method=my_package.Nothing", ("my_package.Nothing", "module.Class")),
    ],
)
def test_an_unknown_name_is_named_with_the_nearest(mistaken, setting, says):
    line = mistaken(setting, says=says)
    assert "in in" not in line


DISCUSSED = ('method = "sft"', 'method = "saie"')


def discussant(table: str) -> tuple[tuple[str, str], ...]:
    return DISCUSSED, ("[trainer]", f"[phase.discussant]\n{table}\n\n[trainer]")


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ('by = "taks"', ("phase 1 (saie): discussant", "'taks'", "did you mean 'task'", "local", "task_discussant")),
        ('by = "scriptd"', ("'scriptd'", "did you mean 'scripted'")),
        ('by = "scripted"\nreplie = ["a"]', ("'replie'", "did you mean 'replies'", "told_gold")),
        ('by = "scripted"', ("the key replies is missing",)),
        ('model = "x"', ("the key by is missing", "endpoint", "scripted")),
        ('by = "task_judge"', ("'task_judge' cannot be a discussant", "remark")),
        ('by = "task"\nwrong = 2', ("wrong = 2", "less than or equal to 1")),
        ('by = "scripted"\nreplies = []', ("replies = []", "at least one line")),
        ('by = "scripted"\nreplies = ["a"]\nsupportive_prompt = "{foo}"', ("{foo}", "{answer}, {gold}, {question}")),
        ('by = "model_discussant"\nspeaker = "local"', ("phase 1 (saie): discussant", "speaker", "local")),
        ('by = "model_discussant"\n[phase.discussant.speaker]\nmodel = "x"', ("speaker", "by", "endpoint")),
        ('by = "local"\nmodel = "tiny"', ("model = 'tiny'", "give a trained one")),
        ('by = "endpoint"\nmodel = "m"\nbase_url = "localhost:80"', ("localhost:80", "http")),
    ],
)
def test_a_mistaken_partner_is_named(recipe, mistaken, table, says):
    mistaken(path=recipe(*discussant(table)), says=says)


def test_a_role_that_nobody_fills_is_named(recipe, mistaken):
    mistaken(path=recipe(DISCUSSED), says=("phase 1 (saie)", "the role discussant is empty", "[phase.discussant]"))
    as_word = recipe(('method = "sft"', 'method = "saie"\ndiscussant = "task"'))
    mistaken(path=as_word, says=("phase 1 (saie)", "discussant = 'task'", "[phase.discussant]"))


def test_an_unknown_recipe_is_named_with_the_nearest(tmp_path):
    refused("train", "tripos", "--run", tmp_path / "run", says=("'tripos'", "did you mean 'tripost'", "curriculum"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("evaluate", "tiny", "--task", "word_sort"), ("'word_sort'", "did you mean 'word_sorting'")),
        (("evaluate", "tiny", "--task", "word_sorting", "--set", "rang=easy"), ("'rang'", "did you mean 'range'")),
        (("evaluate", "tiny", "--task", "word_sorting", "--protocol", "sole"), ("'sole'", "did you mean 'solo'")),
        (("talk", "tiny", "--protocol", "sole"), ("'sole'", "did you mean 'solo'")),
        (("demo", "--methods", "sft,sai"), ("'sai'", "did you mean 'saie'")),
        (("demo", "--methods", ","), ("names no arm", "sft, saie")),
        (("list", "method"), ("'method'", "'methods'")),
        (("evaluate", "tiny", "--task", "word_sorting", "--split", "tst"), ("'tst'", "test")),
        (("trian", "sft"), ("'trian'", "train")),
        (("train", "sft", "--rum", "x"), ("--rum", "--run")),
        (("train", "sft"), ("--run",)),
        (("train", "--run", "x"), ("recipe",)),
        (
            ("evaluate", "tiny", "--task", "word_sorting", "--problems", "0"),
            ("--problems", "greater than or equal to 1"),
        ),
        (("demo", "--seed", "x"), ("--seed", "integer")),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line(words, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(*words, says=says)
    assert not list(tmp_path.iterdir())


# ── mistakes: values ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("trainer.learning_rate=fast", ("[trainer]: learning_rate = 'fast'", "number")),
        ("trainer.learning_rate=0", ("learning_rate = 0", "greater than 0")),
        ("trainer.batch=0", ("batch = 0", "greater than 0")),
        ("trainer.schedule=steps", ("schedule = 'steps'", "'constant', 'linear' or 'cosine'")),
        ("trainer.adam_betas=[0.9]", ("adam_betas = [0.9]", "2")),
        ("task.range=hard", ("range = 'hard'", "'easy' or 'paper'")),
        ("task.train=0", ("train = 0", "1")),
        ("task.train=many", ("train = 'many'", "integer")),
        ("task.train=100000", ("100016", "18000", "ask for fewer")),
        ("task.problems=new", ("problems = 'new'", "'fixed' or 'fresh'")),
        ("run.seed=1.5", ("[run]: seed = 1.5", "integer")),
        ("run.max_partner_failures=2", ("max_partner_failures = 2", "less than or equal to 1")),
        ("phase.1.rounds=0", ("phase 1 (sft): rounds = 0", "greater than 0")),
        ("phase.1.learn=both", ("learn = 'both'", "'rationale' or 'answer'")),
        ("learner.slots=true", ("[learner]: slots = True", "integer")),
        ("learner.lora=4", ("lora = 4", "is not a table", "rank")),
        ("learner.dtype=int8", ("dtype = 'int8'", "'float32'")),
        ("learner.device=gpu", ("device = 'gpu'", "cuda")),
        ("phase.1.method=3", ("method", "3")),
        ("task.kind=3", ("kind", "3")),
        ("task=3", ("task", "3")),
        ("trainer=3", ("trainer", "3")),
        ("phase.1=3", ("phase.1=3",)),
        ("phase=sft", ("phase", "sft", "[[phase]]")),
        ("phase.1.trainer=3", ("trainer", "3")),
        ("phase.2.rounds=1", ("phase.2.rounds=1", "phase.1")),
        ("phase.tripost.rounds=1", ("phase.tripost.rounds=1", "phase.<method>")),
        ("rounds", ("'rounds'", "key.path=value")),
    ],
)
def test_a_value_of_the_wrong_type_or_out_of_range_is_named_with_what_is_allowed(mistaken, setting, says):
    mistaken(setting, says=says)


def test_two_kinds_of_mistakes_are_told_in_words_of_the_recipe_not_of_the_program(mistaken):
    """No `Input should be`, no `field required`: those are words of a library."""
    assert "field required" not in mistaken("trainer.adam_betas=[0.9]", says=("adam_betas",))


# ── mistakes: files ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_recipe_that_is_missing_or_no_toml_is_named(tmp_path, mistaken):
    mistaken(path=tmp_path / "no.toml", says=("no.toml", "No such file", "give a TOML file"))
    broken = tmp_path / "broken.toml"
    broken.write_text("[learner]\nmodel = tiny\n")
    mistaken(path=broken, says=("broken.toml", "not TOML", "line 2"))
    broken.write_bytes(b"\xff\xfe")
    mistaken(path=broken, says=("broken.toml", "UTF-8"))
    mistaken(path=tmp_path, says=(str(tmp_path), "directory"))
    broken.write_text("")
    mistaken(path=broken, says=("[[phase]]",))


def table_of(recipe, source: object, *more: str) -> Path:
    old = RECIPE[RECIPE.index("kind =") : RECIPE.index("[[phase]]")]
    return recipe((old, "\n".join(('kind = "table"', f'train = "{source}"', *more)) + "\n\n"))


GOOD = [{"prompt": f"What is {n}+1?", "answer": str(n + 1)} for n in range(40)]


def rows(path: Path, *lines: object) -> Path:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ((*GOOD, "{nope"), ("rows.jsonl, row 41", "not JSON")),
        ((*GOOD[:4], {"promt": "x"}), ("rows.jsonl, row 5", "did you mean 'promt'", "prompt_column")),
        ((*GOOD[:4], {"prompt": 7}), ("rows.jsonl, row 5", "prompt", "not text")),
        ((*GOOD[:4], {"prompt": ""}), ("rows.jsonl, row 5", "prompt is empty")),
        ((*GOOD[:4], "[1]"), ("rows.jsonl, row 5", "not an object")),
        ((), ("rows.jsonl holds no rows",)),
        (("", " "), ("rows.jsonl holds no rows",)),
        ((GOOD[0],), ("rows.jsonl has 1", "none is left to train on", "give more")),
    ],
)
def test_a_malformed_or_empty_data_file_is_named_with_the_row(recipe, mistaken, tmp_path, lines, says):
    source = rows(tmp_path / "rows.jsonl", *lines)
    before = source.read_bytes()
    mistaken(path=table_of(recipe, source), says=says)
    assert source.read_bytes() == before


def test_a_missing_data_file_is_named(recipe, mistaken, tmp_path):
    mistaken(path=table_of(recipe, tmp_path / "no.jsonl"), says=("there is no file", "no.jsonl", "looked up from"))
    mistaken(path=table_of(recipe, rows(tmp_path / "rows.txt", "a")), says=("rows.txt", ".jsonl", ".csv", ".parquet"))
    mistaken(
        path=table_of(recipe, rows(tmp_path / "rows.csv", "prompt,answer", "1")), says=("rows.csv, row 1", "1 cells")
    )
    mistaken(
        path=table_of(recipe, rows(tmp_path / "rows.parquet", "PAR1")), says=("rows.parquet", "not a Parquet file")
    )


def test_a_missing_gsm8k_file_is_said_to_be_missing(recipe, mistaken, tmp_path):
    old = RECIPE[RECIPE.index("kind =") : RECIPE.index("[[phase]]")]
    path = recipe((old, f'kind = "gsm8k"\nsource = "{tmp_path / "no.jsonl"}"\n\n'))
    mistaken(path=path, says=("there is no file", "no.jsonl"))
    mistaken("task.source=nothing", path=path, says=("no file or folder nothing",))
    source = rows(tmp_path / "train.jsonl", {"question": "Why?", "answer": "because"})
    mistaken(f"task.source={source}", "task.test=0", path=path, says=("train.jsonl, row 1", "'because'", "####"))


# ── mistakes: what does not go together ─────────────────────────────────────────────────────────────────────


def test_a_task_that_lacks_what_a_method_or_partner_needs_is_named_at_once(recipe, mistaken, tmp_path):
    source = rows(tmp_path / "open.jsonl", *({"prompt": row["prompt"]} for row in GOOD))
    needs = "which the task table does not have"
    line = mistaken(path=table_of(recipe, source), says=("phase 1 (sft)", "gold answers", needs, "answer"))
    assert "let a speaker fill the role" not in line  # sft has no role that a speaker could fill

    source = rows(tmp_path / "gold.jsonl", *GOOD)
    table_of(recipe, source)
    path = tmp_path / "recipe.toml"
    text = path.read_text()

    def with_phase(method: str, roles: str) -> Path:
        path.write_text(
            text.replace('method = "sft"', f'method = "{method}"').replace("[trainer]", f"{roles}\n[trainer]")
        )
        return path

    by_task = '[phase.{}]\nby = "task"\n'
    mistaken(
        path=with_phase("saie", by_task.format("discussant")),
        says=("phase 1 (saie): discussant", "hints and false claims", needs, "let a speaker fill the role"),
    )
    roles = by_task.format("critic") + by_task.format("editor")
    mistaken(path=with_phase("tripost", roles), says=("critic", "first wrong step", needs))
    spoken = roles.replace('"task"', '"scripted"\nreplies = ["a"]')
    mistaken(path=with_phase("tripost", spoken), says=("phase 1 (tripost)", "rationales", needs))
    fresh = table_of(recipe, source, 'problems = "fresh"')
    mistaken(path=fresh, says=('problems = "fresh"', "table cannot make new problems", '"fixed"'))


@pytest.fixture
def model(tmp_path) -> Path:
    """A model's folder, loadable and with a chat template."""
    tiny_model(0).save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_a_model_without_a_chat_template_is_named_with_how_to_give_one(mistaken, model, tmp_path):
    template = (model / "chat_template.jinja").read_text()
    (model / "chat_template.jinja").unlink()
    setting = f"learner.model={model}"
    before = tree(model)
    mistaken(setting, says=(str(model), "no chat template", "chat_template =", "[learner]"))
    refused("talk", model, says=(str(model), "no chat template"))
    mistaken(setting, f"learner.chat_template={tmp_path / 'no.jinja'}", says=("no.jinja", "No such file"))
    assert tree(model) == before
    (tmp_path / "own.jinja").write_text(template)
    said = sparring_(
        "train", tmp_path / "recipe.toml", "--run", tmp_path / "run",
        "--set", setting, "--set", f"learner.chat_template={tmp_path / 'own.jinja'}",
    )  # fmt: skip
    assert said.code == 0, said
    assert sparring_("evaluate", tmp_path / "run").code == 0  # and the checkpoint carries the template


@pytest.mark.parametrize("place", ["./no/model/here", "no-model", "no/model"])
def test_a_model_that_is_not_there_is_named(mistaken, place):
    line = mistaken(f"learner.model={place}", says=(f"'{place}'", "cannot be loaded", "a folder", "hub id"))
    assert ".;" not in line
    assert "Repo id must" not in line


def test_a_folder_without_a_model_is_named(mistaken, tmp_path):
    (tmp_path / "empty").mkdir()
    line = mistaken(f"learner.model={tmp_path / 'empty'}", says=(str(tmp_path / "empty"), "holds no model"))
    assert "backend tokenizer" not in line
    for verb in (("talk",), ("evaluate", "--task", "word_sorting"), ("merge",)):
        place = [tmp_path / "empty", tmp_path / "out"] if verb == ("merge",) else [tmp_path / "empty"]
        refused(verb[0], *place, *verb[1:], says=("holds no model", str(tmp_path / "empty")))


def test_an_evaluation_of_what_is_no_run_asks_for_a_task(model):
    refused("evaluate", model, says=("is not a run", "--task"))


# ── sequences over the model's length ───────────────────────────────────────────────────────────────────────


def test_sequences_over_the_models_length_are_counted_and_reported_never_cut(recipe, tmp_path):
    long = [{"prompt": "x" * 600 + str(n), "answer": "y"} for n in range(20)]
    source = rows(tmp_path / "rows.jsonl", *GOOD, *long)
    path = table_of(recipe, source, "development_size = 0", "test_size = 0")
    said = sparring_("train", path, "--run", tmp_path / "strict")
    assert said.code == 2
    line = said.err.splitlines()[-1]
    assert line.startswith("error: ")
    assert "20 of 60" in line
    assert "512 tokens" in line
    assert "max_dropped" in line
    assert "Traceback" not in said.err
    said = sparring_("train", path, "--run", tmp_path / "lenient", "--set", "trainer.max_dropped=0.5")
    assert said.code == 0, said
    rounds = [json.loads(line) for line in (tmp_path / "lenient" / "metrics.jsonl").read_text().splitlines()]
    assert [line["dropped"] for line in rounds if line["kind"] == "round"] == [20]
    assert "20" in said.err
    assert "longer than" in said.err


def test_questions_over_the_models_length_are_reported_not_cut(run, tmp_path):
    long = [{"prompt": "x" * 600 + str(n), "answer": "y"} for n in range(4)]
    source = rows(tmp_path / "rows.jsonl", *GOOD[:4], *long)
    said = sparring_(
        "evaluate", run, "--task", "table", "--set", f"train={source}", "--set", "test_size=0",
        "--set", "development_size=0", "--split", "train", "--output", tmp_path / "f",
    )  # fmt: skip
    assert "Traceback" not in said.err
    assert said.code == 0, said
    told = json.loads((tmp_path / "f").read_text())
    assert told["problems"] == 8
    assert sum("512" in outcome["failure"] for outcome in told["outcomes"]) == 4


# ── folders ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_that_exists_is_not_overwritten(run):
    before = tree(run)
    refused("train", run.parent / "recipe.toml", "--run", run, says=(str(run), "holds a run already", "--resume"))
    assert tree(run) == before


def test_a_changed_recipe_is_refused_with_the_difference_named(run):
    before = tree(run)
    refused(
        "train", run.parent / "recipe.toml", "--run", run, "--resume", "--set", "phase.1.epochs=3",
        says=(str(run), "another recipe", "phase.1.epochs: 1 → 3"),
    )  # fmt: skip
    assert tree(run) == before


def test_a_folder_that_holds_something_else_is_left_as_it_is(recipe, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "checkpoints").write_text("chapter one")
    said = sparring_("train", recipe(), "--run", tmp_path / "thesis")
    assert (tmp_path / "thesis" / "checkpoints").read_text() == "chapter one"
    assert "Traceback" not in said.err
    assert said.code == 2


def test_a_file_where_the_folder_should_be_is_named(recipe, tmp_path):
    (tmp_path / "file").write_text("precious")
    for place in (tmp_path / "file", tmp_path / "file" / "deep"):
        refused("train", recipe(), "--run", place, says=("cannot write", str(place), "choose another folder"))
        refused("demo", "--methods", "sft", "--run", place, says=(str(place), "choose another folder"))
    assert (tmp_path / "file").read_text() == "precious"


def test_a_folder_that_cannot_be_written_to_is_named(recipe):
    """/proc refuses writers of all ranks, the superuser too."""
    if not Path("/proc/self").exists():
        pytest.skip("there is no /proc, which nobody can write to")
    refused("train", recipe(), "--run", "/proc/sparring", says=("cannot write /proc/sparring", "choose another folder"))


def test_an_output_that_cannot_be_written_is_named_before_the_questions_are_asked(run, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("sparring.examine.evaluate", lambda *args, **more: asked.append(args))
    (tmp_path / "file").write_text("precious")
    refused("evaluate", run, "--output", tmp_path / "file" / "f.json", says=("cannot write", "f.json"))
    assert not asked
    assert (tmp_path / "file").read_text() == "precious"


# ── a run that goes wrong ───────────────────────────────────────────────────────────────────────────────────


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_good_checkpoint(recipe, tmp_path):
    said = sparring_(
        "train", recipe(), "--run", tmp_path / "run", "--set", "trainer.learning_rate=1e30", "--set", "run.save_every=8"
    )
    assert said.code == 2
    assert "Traceback" not in said.err
    line = said.err.splitlines()[-1]
    assert line.startswith("error: ")
    for part in ("phase 1 (sft), round 1", " is nan in step", "rows", "the last good checkpoint"):
        assert part in line
    (saved,) = {path.parent for path in (tmp_path / "run" / "checkpoints").glob("*/state")}
    network = AutoModelForCausalLM.from_pretrained(saved)
    assert all(torch.isfinite(parameter).all() for parameter in network.parameters())


def test_a_loss_that_is_no_number_promises_no_checkpoint_where_there_is_none(recipe, tmp_path):
    said = sparring_("train", recipe(), "--run", tmp_path / "run", "--set", "trainer.learning_rate=1e30")
    assert said.code == 2
    line = said.err.splitlines()[-1]
    assert " is nan in step" in line
    assert not list((tmp_path / "run").glob("checkpoints/*"))
    assert "checkpoint is kept" not in line


def test_a_script_that_runs_dry_stops_the_run_and_says_why(recipe, tmp_path):
    path = recipe(*discussant('by = "scripted"\nreplies = ["Look again."]\nloop = false'))
    said = sparring_(  # the learner, which nobody has taught, seldom ends a reply: that is not to count here
        "train", path, "--run", tmp_path / "run", "--set", "phase.1.problems=64", "--set", "phase.1.max_tokens=64",
        "--set", "run.max_learner_failures=1", "--set", "run.max_partner_failures=0",
    )  # fmt: skip
    assert said.code == 2
    line = said.err.splitlines()[-1]
    assert line.startswith("error: the partner failed in ")
    assert "the script has only 1 lines" in line
    assert "max_partner_failures" in line
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "stopped"


def test_an_interruption_is_one_line_and_can_be_gone_on_with(recipe, tmp_path, monkeypatch):
    def interrupt(*args, **more):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("sparring.trainer.Trainer.learn", interrupt)
        said = sparring_("train", recipe(), "--run", tmp_path / "run")
    assert said.code == 130
    assert said.err.splitlines()[-1] == "interrupted; a run goes on with --resume"
    assert sparring_("train", recipe(), "--run", tmp_path / "run", "--resume").code == 0
