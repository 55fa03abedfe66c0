"""Exporting: a folder that other programs load, a card that says what is true, GGUF, and the hub."""

from __future__ import annotations

import json
import re
import shutil
import stat
import threading
import tomllib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch
from huggingface_hub import ModelCard
from transformers import AutoModelForCausalLM, AutoTokenizer

from sparring.common.files import read_json, write_json
from sparring.config.recipe import Recipe
from sparring.models.source import USAGE
from sparring.runs.display import Display
from sparring.runs.export import push
from sparring.runs.load import load_learner
from sparring.runs.model_card import model_card
from sparring.runs.run import train
from tests.cli.program import sparring_

THINKS = {"method": "thought_preference", "problems": 4, "samples": 2, "max_tokens": 8, "judge": {"by": "task"},
          "thought_prompt": "Think before you answer."}  # fmt: skip
RECIPE = {
    "task": {"kind": "multistep_arithmetic", "range": "easy", "train": 8, "development": 2, "test": 4},
    "phase": [{"method": "sft", "max_tokens": 24}, THINKS],
    "run": {"threads": 1, "max_learner_failures": 1.0},
}


def refused(*words: object, says: str) -> None:
    said = sparring_(*words)
    assert said.code == 2, said
    assert re.search(says, said.err), said.err
    assert said.err.count("\n") == 1


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "run"
    train(Recipe.read(RECIPE), folder, display=Display(quiet=True))
    return folder


@pytest.fixture(scope="module")
def exported(run) -> Path:
    said = sparring_("export", run, run.parent / "small-sums")
    assert said.code == 0, said
    return run.parent / "small-sums"


def test_plain_transformers_loads_what_was_exported(run, exported):
    best = run / "checkpoints" / "best"
    ours, theirs = (AutoModelForCausalLM.from_pretrained(folder) for folder in (best, exported))
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    assert AutoTokenizer.from_pretrained(exported).chat_template
    assert load_learner(exported).answerer == load_learner(run).answerer


def test_weights_may_be_read_by_whoever_may_read_the_configuration(run, exported):
    for folder in (run / "checkpoints" / "best", exported):
        modes = {(folder / name).stat().st_mode for name in ("config.json", "model.safetensors")}
        assert len(modes) == 1


def test_a_checkpoint_to_resume_from_is_exported_without_its_optimiser(run, tmp_path):
    [*_, newest] = sorted(path.parent for path in run.glob("checkpoints/*/state"))
    assert sparring_("export", newest, tmp_path / "out").code == 0
    assert not (tmp_path / "out" / "state").exists()


def test_the_card_states_the_figures_of_this_learner_with_their_intervals(run, exported):
    card = ModelCard.load(exported / "README.md")
    [result] = card.data.eval_results
    measured = read_json(run / "evaluation.json")["measures"]["accuracy"]
    assert (result.dataset_name, result.dataset_split, result.metric_type) == (
        "multistep_arithmetic", "test", "accuracy",
    )  # fmt: skip
    assert result.metric_value == measured["value"]
    assert result.metric_args == {"interval_95": [measured["low"], measured["high"]], "problems": 4}
    assert card.data.model_name == "small-sums"
    assert card.data.base_model is None  # tiny is no model of the hub
    assert {"sparring", "sft"} <= set(card.data.tags)
    assert "by interaction" not in card.text  # nobody else took part


def test_the_card_names_data_sets_by_their_ids(run, tmp_path):
    recipe = run / "recipe.toml"
    before = recipe.read_text()
    rows = """[task]
kind = "table"
train = "hub:openai/gsm8k/main:train"
test = "hub:openai/gsm8k/main:test@abc"
development = "hub:tatsu-lab/alpaca"
"""
    recipe.write_text(rows + before.partition("[[phase]]")[1] + before.partition("[[phase]]")[2])
    try:
        card = ModelCard(model_card(run / "checkpoints" / "best", "x"))
    finally:
        recipe.write_text(before)
    assert card.data.datasets == ["openai/gsm8k", "tatsu-lab/alpaca"]


def test_a_learner_that_was_not_tested_has_no_figures(run, tmp_path):
    folder = run / "checkpoints" / "final"
    usage = read_json(folder / USAGE)
    write_json(folder / USAGE, {**usage, "origin": {**usage["origin"], "step": 77}})
    try:
        assert sparring_("export", folder, tmp_path / "out").code == 0
    finally:
        write_json(folder / USAGE, usage)
    assert ModelCard.load(tmp_path / "out" / "README.md").data.eval_results is None
    assert "## Results" not in (tmp_path / "out" / "README.md").read_text()


def test_the_card_cites_the_methods_and_says_how_the_learner_is_asked(run, tmp_path):
    assert sparring_("export", run / "checkpoints" / "final", tmp_path / "out").code == 0
    text = (tmp_path / "out" / "README.md").read_text()
    assert "[arXiv 2410.10630](https://arxiv.org/abs/2410.10630)" in text
    assert "Think before you answer." in text.split("## Use")[1].split("## Data")[0]
    assert "YOUR QUESTION" in text
    assert "by interaction with a partner." in text
    [shown] = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    assert Recipe.of(tomllib.loads(shown)) == Recipe.read(RECIPE)


def test_a_secret_of_the_recipe_is_not_in_the_card(run, tmp_path):
    recipe = run / "recipe.toml"
    before = recipe.read_text()
    recipe.write_text(before.replace('by = "task"', 'by = "task"\nextra_body = {key = "s3cret"}'))
    try:
        assert sparring_("export", run, tmp_path / "out").code == 0
    finally:
        recipe.write_text(before)
    text = (tmp_path / "out" / "README.md").read_text()
    assert "extra_body" in text
    assert "s3cret" not in text


def test_adapters_are_merged_and_their_base_and_its_license_are_named(exported, tmp_path):
    card = exported / "README.md"
    before = card.read_text()
    card.write_text(before.replace("library_name", "license: apache-2.0\nlibrary_name"))
    table = {**RECIPE, "learner": {"model": str(exported), "lora": {"rank": 2}}, "phase": RECIPE["phase"][:1]}
    train(Recipe.read(table), tmp_path / "run", display=Display(quiet=True))
    assert sparring_("export", tmp_path / "run", tmp_path / "out").code == 0
    card.write_text(before)
    assert not (tmp_path / "out" / "adapter_config.json").exists()
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text()
    assert "license: apache-2.0" in text
    assert "trained from `small-sums`" in text


def test_the_programs_of_the_card_run(run, tmp_path, capsys):
    assert sparring_("export", run / "checkpoints" / "final", tmp_path / "out").code == 0
    text = (tmp_path / "out" / "README.md").read_text().replace("FOLDER OR OWNER/NAME", str(tmp_path / "out"))
    _, plain = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert "Think before you answer." in plain
    capsys.readouterr()
    exec(plain, {})
    assert capsys.readouterr().out


def test_the_card_follows_the_learner_through_earlier_runs(run, exported, tmp_path):
    table = {**RECIPE, "learner": {"model": str(run)}, "phase": [{"method": "lmsi", "problems": 4, "max_tokens": 8}]}
    train(Recipe.read(table), tmp_path / "more", display=Display(quiet=True))
    best, recipe = tmp_path / "more" / "checkpoints" / "best", run / "recipe.toml"
    before = recipe.read_text()
    phases = read_json(run / "checkpoints" / "best" / USAGE)["origin"]["phase"]
    recipe.write_text(before.replace('model = "tiny"', 'model = "HuggingFaceTB/SmolLM2-135M-Instruct"'))
    try:
        card = ModelCard(model_card(best, "x"))
    finally:
        recipe.write_text(before)
    assert card.data.base_model == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert "trained from `SmolLM2-135M-Instruct` with" in card.text
    assert card.data.tags == ["sparring", *["sft", "thought_preference"][:phases], "lmsi"]
    first, second = re.findall(r"```toml\n(.*?)```", card.text, re.DOTALL)
    assert [tomllib.loads(text)["phase"][0]["method"] for text in (first, second)] == ["sft", "lmsi"]
    assert card.text.index("The learner that a later run trained further is") < card.text.index("The learner is from")


def test_the_card_says_so_if_an_earlier_run_is_not_there_any_more(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    copy = shutil.copytree(run, tmp_path / "again")
    recipe = copy / "recipe.toml"
    recipe.write_text(recipe.read_text().replace('model = "tiny"', 'model = "runs/base/checkpoints/best"'))
    card = ModelCard(model_card(copy / "checkpoints" / "best", "x"))
    assert card.data.base_model is None
    assert "trained from `runs/base/checkpoints/best`, which is not there any more, with" in card.text


def test_the_card_of_a_learner_from_an_exported_one_names_the_base_in_its_card(exported, tmp_path):
    shutil.copytree(exported, tmp_path / "published")
    card = tmp_path / "published" / "README.md"
    card.write_text(card.read_text().replace("library_name", "base_model: owner/base\nlibrary_name"))
    table = {**RECIPE, "learner": {"model": str(tmp_path / "published")}, "phase": RECIPE["phase"][:1]}
    train(Recipe.read(table), tmp_path / "run", display=Display(quiet=True))
    written = ModelCard(model_card(tmp_path / "run" / "checkpoints" / "final", "x"))
    assert written.data.base_model == "owner/base"
    assert "trained from `published` with" in written.text


# ── GGUF ────────────────────────────────────────────────────────────────────────────────────────────────────

CONVERTER = """import sys
folder, flag, output = sys.argv[1:]
assert flag == "--outfile"
if "bad" in folder:
    raise SystemExit("unsupported architecture")
open(output, "w").write("GGUF of " + open(folder + "/config.json").read())
"""


def test_the_converter_is_run_on_what_was_exported(run, tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "convert_hf_to_gguf.py"
    program.write_text(CONVERTER)
    assert sparring_("export", run, tmp_path / "small", "--converter", program).code == 0
    assert (tmp_path / "small" / "small.gguf").read_text().startswith("GGUF of {")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert sparring_("export", run, tmp_path / "other", "--gguf").code == 0
    assert (tmp_path / "other" / "other.gguf").exists()
    refused("export", run, tmp_path / "bad", "--gguf", says="failed .unsupported architecture.; the model is in .*bad")


def test_a_converter_that_is_missing_is_named_before_anything_is_written(run, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    refused("export", run, tmp_path / "out", "--gguf", says="convert_hf_to_gguf.py of llama.cpp is not on the PATH")
    refused("export", run, tmp_path / "out", "--converter", tmp_path / "x", says="x is not a file")
    assert not (tmp_path / "out").exists()


# ── the hub ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def hub(monkeypatch):
    """A hub on this machine that keeps what is asked of it, and answers as the real one does."""
    asked = SimpleNamespace(created=[], files={}, refuses=False)

    class Answers(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def answer(self, body: dict, status: int = 200) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if asked.refuses:
                self.answer({"error": "no rights to create here"}, 403)
            elif self.path == "/api/repos/create":
                asked.created.append(json.loads(body))
                self.answer({"url": f"http://{self.headers['Host']}/jane/small-sums"})
            elif "/preupload/" in self.path:
                names = [file["path"] for file in json.loads(body)["files"]]
                self.answer({"files": [{"path": n, "uploadMode": "regular", "shouldIgnore": False} for n in names]})
            elif "/commit/" in self.path:
                for line in map(json.loads, body.splitlines()):
                    if line["key"] == "file":
                        asked.files[line["value"]["path"]] = line["value"]["content"]
                url = f"http://{self.headers['Host']}/jane/small-sums/commit/1"
                self.answer({"commitUrl": url, "commitOid": "0" * 40, "success": True})
            else:
                self.answer({})

        def do_GET(self):
            self.answer({"id": "jane/small-sums", "sha": "0" * 40, "siblings": []})

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    api = huggingface_hub.HfApi
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: api(endpoint=address, token="hf_x"))
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_x")
    yield asked
    server.shutdown()


def test_a_push_makes_a_private_model_and_uploads_the_folder(run, hub, tmp_path):
    said = sparring_("export", run, tmp_path / "out", "--push", "jane/small-sums")
    assert said.code == 0, said
    assert "pushed to " in said.out
    [created] = hub.created
    assert (created["name"], created["organization"], created["visibility"]) == ("small-sums", "jane", "private")
    assert set(hub.files) == {path.name for path in (tmp_path / "out").iterdir()}
    assert "name: small-sums" in (tmp_path / "out" / "README.md").read_text()
    assert sparring_("export", run, tmp_path / "public", "--push", "jane/small-sums", "--public").code == 0
    assert hub.created[-1].get("visibility") == "public"


def test_a_push_that_fails_is_one_line_and_the_export_stays(run, hub, tmp_path):
    hub.refuses = True
    refused("export", run, tmp_path / "out", "--push", "jane/small-sums",
            says=r"cannot push to jane/small-sums .*; the export is in .*: hf upload jane/small-sums ")  # fmt: skip
    assert (tmp_path / "out" / "model.safetensors").exists()


def test_a_push_without_a_token_or_with_a_wrong_name_is_refused_before_anything_is_written(run, tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    refused("export", run, tmp_path / "out", "--push", "small-sums", says="give owner/name")
    refused("export", run, tmp_path / "out", "--push", "a b/c", says="give owner/name")
    refused("export", run, tmp_path / "out", "--push", "jane/small-sums", says="run hf auth login, or set HF_TOKEN")
    assert not (tmp_path / "out").exists()


def test_pushing_is_to_a_private_model_unless_said_otherwise():
    assert push.__kwdefaults__ == {"private": True}
