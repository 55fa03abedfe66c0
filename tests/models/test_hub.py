"""No path is requested from the hub; a model is requested once, with a short timeout."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import huggingface_hub
import pytest
from huggingface_hub.errors import EntryNotFoundError

from sparring.common.errors import ConfigError
from sparring.common.hub_status import HUB_TIMEOUT
from sparring.core.protocol import SingleReply
from sparring.models import hub
from sparring.runs import load

ASK = """
import sys, time
from sparring.models import hub
from sparring.common.errors import ConfigError
begun = time.monotonic()
for _ in range(3):
    try:
        hub.check_reachable(sys.argv[1])
    except ConfigError as error:
        print(error)
print(time.monotonic() - begun)
"""


@pytest.fixture
def requested(monkeypatch) -> list[str]:
    """The models that were requested from a hub that has them all."""
    names: list[str] = []
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda api, name, timeout: names.append(name))
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda name, file, revision: None)
    return names


@pytest.mark.parametrize(
    "name", ["runs/nothere", "./x", "../x", "/x", "~/x", "a/b/c", "here/nothere", "x" * 300, "a b", ""]
)
def test_a_path_or_a_malformed_id_is_refused_and_never_requested(name, requested, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"there is no folder|neither a folder nor"):
        hub.check_reachable(name)
    assert requested == []


def test_a_hub_id_is_requested_once(requested, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("owner/requested-once", "requested-once", "owner/requested-once"):
        hub.check_reachable(name)
        assert hub.how(name) == {"trust_remote_code": False}
    assert requested == ["owner/requested-once", "requested-once"]
    assert hub.how(str(tmp_path)) == {"trust_remote_code": False, "local_files_only": True}


def test_a_learner_from_the_hub_is_asked_as_its_method_trained_it(requested, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    usage = {"method": "thought_preference", "settings": {"thought_prompt": "Think, then:"}}
    (tmp_path / "sparring.json").write_text(json.dumps(usage))

    def download(model: str, name: str, local_files_only: bool) -> str:
        if model == "owner/plain":
            raise EntryNotFoundError("no such file")
        return str(tmp_path / name)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(load, "load_model", lambda source: source)
    learner = load.load_learner("owner/taught")
    assert learner.model.model == "owner/taught"
    assert learner.answerer.thought_prompt == "Think, then:"
    assert load.load_learner("owner/plain").answerer == SingleReply()
    assert load.load_learner("tiny").answerer == SingleReply()
    assert "tiny" not in requested
    (tmp_path / "sparring.json").write_text(json.dumps({"method": "os.path.Evil"}))
    with pytest.raises(ConfigError, match=r"not in this package \(got 'os.path.Evil'\); download it"):
        load.load_learner("owner/taught")


def test_a_hub_that_does_not_answer_costs_one_short_timeout(tmp_path):
    """A server that takes the connection and says nothing: what a dead network looks like."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        done = subprocess.run(
            [sys.executable, "-c", ASK, "owner/name"], capture_output=True, text=True, check=True, cwd=tmp_path,
            env={**os.environ, "HF_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}", "HF_HOME": str(tmp_path)},
        )  # fmt: skip
    *lines, seconds = done.stdout.splitlines()
    assert len(lines) == 3
    assert all("no copy is cached here" in line for line in lines)
    assert float(seconds) < 2 * HUB_TIMEOUT  # one wait for three questions; the machine may be busy


def test_a_missing_run_is_an_error_before_anything_is_loaded(tmp_path):
    program = "import atexit, sys; atexit.register(lambda: print('torch' in sys.modules)); "
    program += "from sparring.cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", program, "talk", "runs/nothere"], capture_output=True, text=True,
                          check=False, cwd=tmp_path)  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "False\n")
    assert done.stderr.count("\n") == 1
    assert "there is no folder runs/nothere" in done.stderr
