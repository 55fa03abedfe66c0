"""Every mistake a user can make, each with one clear line."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparring.models.tiny import tiny_model, tiny_tokenizer
from tests.cli.program import DISCUSSED, GOOD, RECIPE, discussant, refused, rows, sparring_, table_of, tree

# ── mistakes: names ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("phase.1.method=sfft", ("unknown method 'sfft'", "did you mean 'sft'", "tripost")),
        ("task.kind=word_sort", ("unknown task 'word_sort'", "did you mean 'word_sorting'", "gsm8k")),
        ("task.rnge=easy", ("[task] (multistep_arithmetic)", "'rnge'", "did you mean 'range'", "development")),
        ("phase.1.lern=answer", ("phase 1 (sft)", "'lern'", "did you mean 'learn'", "max_tokens")),
        ("phase.1.round=2", ("phase 1 (sft)", "'round'", "did you mean 'rounds'")),
        ("phase.1.trainer.bath_size=2", ("phase 1 (sft)", "'bath_size'", "did you mean 'batch_size'")),
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


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ('by = "taks"', ("phase 1 (saie): discussant", "'taks'", "did you mean 'task'", "local", "task_discussant")),
        ('by = "scriptd"', ("'scriptd'", "did you mean 'scripted'")),
        ('by = "scripted"\nreplie = ["a"]', ("'replie'", "did you mean 'replies'", "told_gold")),
        ('by = "scripted"', ("the key replies is missing",)),
        ('model = "x"', ("the key by is missing", "endpoint", "scripted")),
        ('by = "task_judge"', ("'task_judge' cannot be the discussant", "remark")),
        ('by = "task"\nwrong = 2', ("wrong = 2", "less than or equal to 1")),
        ('by = "scripted"\nreplies = []', ("replies = []", "give at least one")),
        ('by = "scripted"\nreplies = ["a"]\nsupportive_prompt = "{foo}"', ("{foo}", "{answer}, {gold}, {question}")),
        ('by = "model_discussant"\nspeaker = "local"', ("phase 1 (saie): discussant", "speaker", "local")),
        ('by = "model_discussant"\n[phase.discussant.speaker]\nmodel = "x"', ("speaker", "by", "endpoint")),
        ('by = "local"\nmodel = "tiny"', ("model = 'tiny'", "give a trained model")),
        ('by = "endpoint"\nmodel = "m"\nbase_url = "localhost:80"', ("localhost:80", "http")),
        ('by = "endpoint"\nmodel = "m"\nbase_url = "http://[::1"', ("http://[::1", "http(s)://host")),
        ('by = "endpoint"\nmodel = "m"\nbase_url = "http://h:99999"', ("http://h:99999", "http(s)://host")),
        ('by = "endpoint"\nmodel = "m"\nbase_url = "http://h"\nkey_variable = "sk-1 2"', ("key_variable", "name")),
        ('by = "endpoint"\nmodel = "m"\nbase_url = "http://h"\nin_flight = 1000000000', ("in_flight", "4096")),
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
        (("evaluate", "tiny", "--task", "word_sorting", "--set", "task.rang=easy"), ("'rang'", "did you mean 'range'")),
        (("evaluate", "tiny", "--task", "word_sorting", "--set", "range=easy"), ("'range'", "write task.range")),
        (("evaluate", "tiny", "--task", "word_sorting", "--set", "tsk.range=easy"), ("'tsk'", "did you mean 'task'")),
        (("evaluate", "tiny", "--task", "word_sorting", "--protocol", "sole"), ("'sole'", "did you mean 'solo'")),
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
        ("trainer.batch_size=0", ("batch_size = 0", "greater than 0")),
        ("trainer.lr_schedule=steps", ("schedule = 'steps'", "'constant', 'linear' or 'cosine'")),
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
        ("learner.device=gpu", ("device 'gpu'", "cuda")),
        ("learner.device=meta", ("device 'meta'", "cuda")),
        ("learner.device=cuda:99", ("device = 'cuda:99'", "not in this machine")),
        ("trainer.learning_rate=inf", ("learning_rate", "not a finite number (got inf)")),
        ("trainer.adam_betas=[nan, 0.9]", ("adam_betas", "not a finite number (got nan)")),
        ("run.threads=100000", ("threads = 100000", "1024")),
        ("phase.1.rounds=1" + 22 * "0", ("rounds", "too large a number (got 74 bits)")),
        ("run.seed=" + 5000 * "1", ("too many digits",)),
        ("run.seed=" + 100_000 * "[", ("nested too deeply",)),
        ("task.kind=..", ("unknown task '..'", "word_sorting")),
        ("task.kind=builtins.int", ("'builtins.int'", "not a dataclass")),
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


def test_a_name_that_no_file_can_have_is_named(recipe, tmp_path):
    long = tmp_path / ("a" * 300)
    refused("train", recipe(), "--run", long, says=("File name too long", str(long)))
    refused("ledger", long, says=("File name too long", str(long)))
    refused("talk", long, says=("there is no folder", str(long)))


def test_a_recipe_that_is_missing_or_no_toml_is_named(tmp_path, mistaken):
    mistaken(path=tmp_path / "no.toml", says=("no.toml", "No such file", "give a TOML file"))
    broken = tmp_path / "broken.toml"
    broken.write_text("[learner]\nmodel = tiny\n")
    mistaken(path=broken, says=("broken.toml", "not valid TOML", "line 2"))
    broken.write_bytes(b"\xff\xfe")
    mistaken(path=broken, says=("broken.toml", "UTF-8"))
    mistaken(path=tmp_path, says=(str(tmp_path), "directory"))
    broken.write_text("")
    mistaken(path=broken, says=("[[phase]]",))


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ((*GOOD, "{nope"), ("rows.jsonl, row 41", "not JSON")),
        ((*GOOD[:4], {"promt": "x"}), ("rows.jsonl, row 5", "is 'promt' the 'prompt'?", "prompt_column")),
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
    mistaken(path=table_of(recipe, tmp_path / "no.jsonl"), says=("there is no file", "no.jsonl", "relative to"))
    mistaken(path=table_of(recipe, rows(tmp_path / "rows.txt", "a")), says=("rows.txt", ".jsonl", ".csv", ".parquet"))
    mistaken(
        path=table_of(recipe, rows(tmp_path / "rows.csv", "prompt,answer", "1")), says=("rows.csv, row 1", "1 cells")
    )
    mistaken(
        path=table_of(recipe, rows(tmp_path / "rows.parquet", "PAR1")),
        says=("rows.parquet", "not a readable Parquet"),
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
    line = mistaken(path=table_of(recipe, source), says=("phase 1 (sft)", "replies to imitate", needs, "answer"))
    assert "a speaker for this role" not in line  # sft has no role that a speaker could fill

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
        says=("phase 1 (saie): discussant", "hints and false claims", needs, "a speaker for this role"),
    )
    roles = by_task.format("critic") + by_task.format("editor")
    mistaken(path=with_phase("tripost", roles), says=("critic", "first wrong step", needs))
    spoken = roles.replace('"task"', '"scripted"\nreplies = ["a"]')
    mistaken(path=with_phase("tripost", spoken), says=("phase 1 (tripost)", "rationales", needs))
    fresh = table_of(recipe, source, 'problems = "fresh"')
    mistaken(path=fresh, says=('problems = "fresh"', "table cannot generate problems", '"fixed"'))


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
    for verb in (("talk",), ("evaluate", "--task", "word_sorting"), ("export",)):
        place = [tmp_path / "empty", tmp_path / "out"] if verb == ("export",) else [tmp_path / "empty"]
        refused(verb[0], *place, *verb[1:], says=("holds no model", str(tmp_path / "empty")))


def test_an_evaluation_of_what_is_no_run_asks_for_a_task(model):
    refused("evaluate", model, says=("is not a run", "--task"))


@pytest.mark.parametrize("place", ["runs/nope", "nope", "no/model", "/tmp/nope"])
def test_an_evaluation_of_a_folder_that_is_not_there_says_so(place):
    refused("evaluate", place, says=(f"'{place}'", "there is no", "folder", "hub id"))


def test_an_empty_name_names_no_learner(run, monkeypatch):
    monkeypatch.chdir(run)  # an empty path is this folder
    refused("evaluate", "", says=("the evaluation names no learner", "hub id"))
    refused("talk", "", says=("the chat names no learner",))
    refused("evaluate", "m", "--set", "learner.by=scripted", "--set", "learner.replies=['a']", says=("m is not a run",))


def test_a_checkpoint_in_a_run_is_evaluated_on_the_task_of_the_run(run):
    said = sparring_("evaluate", run / "checkpoints" / "final", "--problems", 2)
    assert said.code == 0, said
    refused("evaluate", run / "checkpoints", says=("is not a run", "--task"))
