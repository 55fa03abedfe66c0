"""A run in one file: whoever has it replays the run for nothing, and is told where it is not what it was."""

from __future__ import annotations

import io
import json
import shutil
import sys
import tarfile
from pathlib import Path

import pytest

from sparring.cli.main import main
from sparring.common.errors import ConfigError
from sparring.config.recipe import Recipe
from sparring.ledger import NotRecorded, entries, runs, totals
from sparring.runs.bundle import Manifest, bundle, sha256, without_secrets
from sparring.runs.replay import replay
from sparring.runs.run import train
from tests.runs.test_paid_run import KEY, QUIET, recipe, server, weights

JUDGE = "def right(response, problem):\n    return response.strip().endswith(problem.gold)\n"
SAYS = "import json, sys; json.load(sys.stdin); print(json.dumps({'text': 'Look again.'}))"


@pytest.fixture(scope="module")
def paid(tmp_path_factory) -> Path:
    """The bundle of a run whose server is gone; its ledger is shared with a run that is somebody else's business."""
    folder = tmp_path_factory.mktemp("bundled")
    with pytest.MonkeyPatch.context() as patch, server() as (url, _):
        patch.setenv("OPENAI_API_KEY", KEY)
        ledger = folder / "ledger.sqlite"
        train(recipe(url, ledger, task__seed=7), folder / "other", display=QUIET)
        train(recipe(url, ledger), folder / "first", display=QUIET)
        bundle(folder / "first", folder / "first.tar.gz")
    return folder


@pytest.fixture(scope="module")
def again(paid, tmp_path_factory):
    """What came of replaying it, and where."""
    folder = tmp_path_factory.mktemp("again") / "run"
    return replay(paid / "first.tar.gz", folder, display=QUIET), folder


@pytest.fixture(scope="module")
def local(tmp_path_factory) -> Path:
    """The folder of a run that reads files and asks a program, and its bundle; the program and the files are gone."""
    folder = tmp_path_factory.mktemp("local")
    rows = (json.dumps({"prompt": f"{n}+1=", "answer": str(n + 1)}) + "\n" for n in range(40))
    (folder / "rows.jsonl").write_text("".join(rows))
    (folder / "right.py").write_text(JUDGE)
    program = folder / "partner"
    program.write_text(f"#!{sys.executable}\n{SAYS}")
    program.chmod(0o755)
    table = {
        "task": {
            "kind": "table", "train": str(folder / "rows.jsonl"), "right": f"{folder / 'right.py'}:right",
            "development_size": 4, "test_size": 4,
        },
        "phase": [
            {"method": "sft", "epochs": 8, "max_tokens": 8},
            {"method": "saie", "problems": 4, "max_tokens": 8,
             "discussant": {"by": "command", "command": [str(program)]}},
        ],
        "trainer": {"learning_rate": 1e-3, "batch_size": 8},
        "run": {"threads": 1, "max_partner_failures": 1.0, "max_learner_failures": 1.0},
    }  # fmt: skip
    train(Recipe.read(table), folder / "run", display=QUIET)
    bundle(folder / "run", folder / "run.tar.gz")
    for path in (program, folder / "rows.jsonl", folder / "right.py"):
        path.unlink()
    return folder


def members(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


def repacked(found: dict[str, bytes], path: Path) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in found.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def test_without_its_server_a_run_is_replayed_to_the_same_weights_and_figures(paid, again):
    done, folder = again
    assert done.same
    assert weights(folder) == weights(paid / "first")
    assert list(done.report())[1:] == ["weights: identical, bit for bit", "metrics: identical, bit for bit"]
    assert done.replies == len((paid / "first" / "calls.txt").read_text().split()) > 20


def test_the_replayed_run_has_the_ledger_of_the_run(paid, again):
    _, folder = again
    ((run, name),) = runs(folder / "ledger.sqlite").items()
    assert (run, name) == (json.loads((folder / "run.json").read_text())["id"], folder.name)
    assert run not in runs(paid / "ledger.sqlite")
    found = totals(folder / "ledger.sqlite", run)
    assert {total.role for total in found} == {"discussant", "critic", "editor", "judge"}


def test_a_shared_ledger_is_cut_down_to_the_calls_of_the_run(paid):
    there = {entry["key"] for entry in map(json.loads, members(paid / "first.tar.gz")["ledger.jsonl"].splitlines())}
    shared = {entry["key"]: entry["run"] for entry in entries(paid / "ledger.sqlite")}
    assert there == set((paid / "first" / "calls.txt").read_text().split())
    assert there < set(shared)
    first = json.loads((paid / "first" / "run.json").read_text())["id"]
    assert {key for key, run in shared.items() if run == first} <= there


def test_a_call_that_another_run_has_paid_is_packed_too(paid, tmp_path):
    recipe_ = Recipe.read(paid / "first" / "recipe.toml")
    train(recipe_, tmp_path / "second", display=QUIET)  # nobody answers any more: all of it is on the ledger
    bundle(tmp_path / "second", tmp_path / "second.tar.gz")
    calls = members(tmp_path / "second.tar.gz")["ledger.jsonl"]
    assert calls
    assert calls == members(paid / "first.tar.gz")["ledger.jsonl"]


def test_the_same_run_makes_the_same_bytes(paid, tmp_path, monkeypatch):
    monkeypatch.setattr("time.time", lambda: 2e9)  # some day
    path, _ = bundle(paid / "first", tmp_path / "again.tar.gz")
    assert path.read_bytes() == (paid / "first.tar.gz").read_bytes()
    with pytest.raises(ConfigError, match="already exists"):
        bundle(paid / "first", path)


def test_the_manifest_says_what_is_in_it_and_where_it_comes_from(paid):
    found = members(paid / "first.tar.gz")
    assert next(iter(found)) == "manifest.json"
    manifest = Manifest(**json.loads(found["manifest.json"]))
    assert manifest.files == {name: sha256(content) for name, content in found.items() if name != "manifest.json"}
    assert manifest.weights["final/model.safetensors"] == sha256(weights(paid / "first"))
    assert manifest.circumstances["threads"] == 1
    assert {"python", "torch", "transformers", "sparring"} <= manifest.circumstances["versions"].keys()
    assert manifest.circumstances["platform"]


def test_no_key_and_no_path_of_this_machine_is_in_it(paid):
    found = members(paid / "first.tar.gz")
    assert not [name for name, content in found.items() if KEY.encode() in content]
    assert not [name for name, content in found.items() if name != "recipe.toml" and str(paid).encode() in content]


SECRET = "sk-secret-of-the-recipe-0123456789"


@pytest.fixture(scope="module")
def secretive(tmp_path_factory) -> Path:
    """A run whose recipe gives a key away in a field of its requests."""
    folder = tmp_path_factory.mktemp("secretive")
    extra = f'{{api_key = "{SECRET}", user = "{KEY}", provider = {{order = ["{SECRET}"]}}, min_p = 0.1}}'
    with server() as (url, heard):
        told = recipe(url, folder / "l.sqlite", phase__saie__discussant__extra_body=extra).table()
        train(Recipe.read({**told, "phase": told["phase"][:2]}), folder / "run", display=QUIET)
    assert heard
    assert all(request.body["api_key"] == SECRET for request in heard)  # it is sent, all the same
    return folder


@pytest.mark.parametrize("variable", [KEY, SECRET, None, "model"])
def test_what_may_be_a_secret_is_in_no_byte_of_a_bundle_whatever_the_environment_says(
    secretive, tmp_path, monkeypatch, variable
):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    if variable:
        monkeypatch.setenv("OPENAI_API_KEY", variable)
    path, _ = bundle(secretive / "run", tmp_path / "run.tar.gz")
    found = members(path)
    assert not [name for name, content in found.items() if SECRET.encode() in content or KEY.encode() in content]
    assert b"min_p = 0.1" in found["recipe.toml"]
    done = replay(path, tmp_path / "again", display=QUIET)
    assert done.same
    assert done.replies > 0


def test_a_ledger_holds_no_text_of_extra_body(secretive):
    assert SECRET.encode() not in (secretive / "l.sqlite").read_bytes()
    assert {len(entry["request"]["extra_body"]) for entry in entries(secretive / "l.sqlite")} == {4}


def test_a_ledger_that_an_older_version_wrote_with_its_secrets_is_not_packed(secretive, tmp_path, monkeypatch):
    monkeypatch.setattr("sparring.runs.bundle.export", lambda path, to, calls: to.write_text(
        json.dumps({"request": {"model": "m", "extra_body": {"user": "x"}}}) + "\n"))  # fmt: skip
    with pytest.raises(ConfigError, match="recorded calls of 'm' on the ledger with extra_body or a key in plain text"):
        bundle(secretive / "run", tmp_path / "run.tar.gz")
    assert not (tmp_path / "run.tar.gz").exists()


@pytest.mark.parametrize(("key", "what"), [("OPENAI_API_KEY", "the key in OPENAI_API_KEY"), (None, "the value of")])
def test_a_key_that_a_server_repeats_is_not_packed(secretive, tmp_path, monkeypatch, key, what):
    run = tmp_path / "run"
    shutil.copytree(secretive / "run", run)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    if key:
        monkeypatch.setenv(key, KEY)
    episodes = next(run.glob("rounds/2*/*/episodes.jsonl"))
    episodes.write_text(f"{KEY if key else SECRET}\n{episodes.read_text()}")
    with pytest.raises(ConfigError, match=rf"{what}.* would appear in rounds/\S+ of the bundle"):
        bundle(run, tmp_path / "run.tar.gz")
    assert not (tmp_path / "run.tar.gz").exists()


def test_a_partners_table_is_packed_without_what_its_place_says_is_secret():
    table = {"by": "model_judge", "prompt": "token {question}", "max_tokens": 7, "key_variable": "KEY", "speaker": {
        "extra_body": {"a": SECRET, "n": 1, "on": True}, "headers": {"x": [SECRET]}, "api_key": SECRET, "token": SECRET,
        "base_url": f"https://x:{SECRET}@host/v1?key={SECRET}", "command": ["judge"]}}  # fmt: skip
    told = without_secrets(table)
    assert SECRET not in json.dumps(told)
    assert {**told, "speaker": {}} == {**table, "speaker": {}}
    assert told["speaker"]["extra_body"] == {"a": told["speaker"]["api_key"], "n": 1, "on": True}
    assert (told["speaker"]["base_url"], told["speaker"]["command"]) == ("https://host/v1", ["judge"])
    assert without_secrets(told) == told


def test_urls_are_packed_without_passwords_and_tokens():
    told = without_secrets({"base_url": ["https://ann:secret@host:8/v1?key=secret#secret"], "timeout": 3})
    assert told == {"base_url": ["https://host:8/v1"], "timeout": 3}


@pytest.mark.parametrize("name", ["recipe.toml", "ledger.jsonl", "metrics.jsonl"])
def test_a_file_that_was_changed_is_named_and_nothing_is_left_behind(paid, tmp_path, name):
    found = members(paid / "first.tar.gz")
    path = repacked({**found, name: found[name] + b"\n"}, tmp_path / "b.tar.gz")
    with pytest.raises(ConfigError, match=f"{name} was changed since"):
        replay(path, tmp_path / "run", display=QUIET)
    assert not (tmp_path / "run").exists()


def test_a_file_that_is_missing_or_added_is_named(paid, tmp_path):
    found = members(paid / "first.tar.gz")
    more = repacked({**found, "files/more.py": b"1"}, tmp_path / "more.tar.gz")
    with pytest.raises(ConfigError, match=r"files/more.py was added since"):
        replay(more, tmp_path / "run", display=QUIET)
    less = repacked({name: c for name, c in found.items() if name != "ledger.jsonl"}, tmp_path / "less.tar.gz")
    with pytest.raises(ConfigError, match=r"ledger.jsonl is missing since"):
        replay(less, tmp_path / "run", display=QUIET)


@pytest.mark.parametrize("content", [b"", b"words", b"\x1f\x8b\x08\x00", None])
def test_what_is_no_bundle_is_one_line(tmp_path, content):
    path = tmp_path / "b.tar.gz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"is (not a readable bundle|no bundle at)") as caught:
        replay(path, tmp_path / "run", display=QUIET)
    assert "\n" not in str(caught.value)


def test_files_are_brought_along_and_a_program_that_is_absent_is_not_missed(local, tmp_path, capsys):
    found = members(local / "run.tar.gz")
    assert found["files/task.right/right.py"].decode() == JUDGE
    assert b'train = "bundle:task.train/rows.jsonl"' in found["recipe.toml"]
    with pytest.raises(ConfigError, match=r"contains code .*files/task.right/right.py\); read it.*--trust"):
        replay(local / "run.tar.gz", tmp_path / "run", display=QUIET)
    done = replay(local / "run.tar.gz", tmp_path / "run", trust=True, display=QUIET)
    assert done.same
    assert done.replies > 0
    assert weights(tmp_path / "run") == weights(local / "run")


def test_a_run_whose_program_is_absent_is_refused_before_it_begins(local, tmp_path):
    table = Recipe.read({"task": {"kind": "multistep_arithmetic", "train": 8}, "phase": [
        {"method": "saie", "discussant": {"by": "command", "command": [str(local / "partner")]}}]})  # fmt: skip
    with pytest.raises(ConfigError, match="is not an executable program"):
        train(table, tmp_path / "run", display=QUIET)
    assert not (tmp_path / "run").exists()


def test_what_comes_out_otherwise_is_said_and_the_exit_code_is_1(local, tmp_path, capsys, monkeypatch):
    found = members(local / "run.tar.gz")
    told = json.loads(found["manifest.json"])
    lines = found["metrics.jsonl"].decode().splitlines()
    lines[0] = json.dumps({**json.loads(lines[0]), "loss": 99.0})
    found["metrics.jsonl"] = "".join(f"{line}\n" for line in lines).encode()
    told["files"]["metrics.jsonl"] = sha256(found["metrics.jsonl"])
    told["weights"]["final/model.safetensors"] = "0" * 64
    told["circumstances"]["versions"]["torch"] = "1.0"
    found["manifest.json"] = json.dumps(told).encode()
    path = repacked(found, tmp_path / "b.tar.gz")
    monkeypatch.setattr(sys, "argv", ["sparring", "replay", str(path), "--run", str(tmp_path / "run"), "--trust"])
    with pytest.raises(SystemExit) as end:
        main()
    out, err = capsys.readouterr()
    assert end.value.code == 1
    assert "differs from the original run: versions.torch: '1.0' →" in err
    assert "weights differ: final/model.safetensors: '0000" in out
    assert "metrics differ: step of phase 1, round 1, step 1: loss: 99.0 →" in out


def test_where_the_learner_says_something_else_the_remedy_is_named_and_helps(paid, tmp_path):
    """Another learning rate stands for another machine."""
    found = members(paid / "first.tar.gz")
    told = json.loads(found["manifest.json"])
    found["recipe.toml"] = found["recipe.toml"].replace(b"learning_rate = 0.001", b"learning_rate = 0.003")
    told["files"]["recipe.toml"] = sha256(found["recipe.toml"])
    found["manifest.json"] = json.dumps(told).encode()
    path = repacked(found, tmp_path / "b.tar.gz")
    with pytest.raises(NotRecorded, match=r"the replay diverges from the original run.*--episodes"):
        replay(path, tmp_path / "parted", display=QUIET)
    done = replay(path, tmp_path / "run", episodes=True, display=QUIET)
    assert not done.same
    assert done.replies == 0


def test_from_the_recorded_episodes_the_same_comes_without_a_reply(paid, tmp_path):
    done = replay(paid / "first.tar.gz", tmp_path / "run", episodes=True, display=QUIET)
    assert (done.same, done.replies) == (True, 0)


def test_only_a_finished_run_is_packed(paid, tmp_path):
    with pytest.raises(ConfigError, match="contains no run"):
        bundle(tmp_path)
    (tmp_path / "run.json").write_text('{"status": "stopped"}')
    with pytest.raises(ConfigError, match="is stopped, not finished; resume it with --resume first"):
        bundle(tmp_path)
    with pytest.raises(ConfigError, match="already exists"):
        replay(paid / "first.tar.gz", tmp_path, display=QUIET)
