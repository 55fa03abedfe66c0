"""One process at a time works in a run's folder, and a dead one holds it no more."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from sparring.common.errors import ConfigError
from sparring.runs.lock import HOLDER, LOCK, locked
from tests.cli.program import refused, sparring_

HOLD = """
import sys, time
from pathlib import Path
from sparring.runs.lock import locked
with locked(Path(sys.argv[1])):
    (Path(sys.argv[1]) / "recipe.toml").write_text("")
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "run")], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_the_second_is_told_who_holds_the_folder(holder, tmp_path):
    with (
        pytest.raises(ConfigError, match=rf"is in use by process {holder.pid} on .*, since \d.*; wait"),
        locked(tmp_path / "run"),
    ):
        pass
    (tmp_path / "run" / HOLDER).write_text("{")
    with pytest.raises(ConfigError, match="is in use by another process; wait"), locked(tmp_path / "run"):
        pass


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_dead_process_holds_nothing(end, holder, tmp_path):
    holder.send_signal(end)
    holder.wait()
    with locked(tmp_path / "run"):
        assert json.loads((tmp_path / "run" / HOLDER).read_text())["process"] == os.getpid()
    assert not (tmp_path / "run" / HOLDER).exists()


def test_of_many_at_the_same_moment_one_gets_it(tmp_path):
    many = [
        subprocess.Popen(
            [sys.executable, "-c", HOLD, str(tmp_path / "run")], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        for _ in range(4)
    ]
    try:
        while sum(process.poll() is None for process in many) > 1:
            time.sleep(0.05)
        [left] = [process for process in many if process.poll() is None]
        assert left.stdout.readline() == b"held\n"
    finally:
        for process in many:
            process.kill()
            process.wait()
            process.stdout.close()


def test_a_folder_in_which_nothing_was_begun_is_left_as_it_was(tmp_path):
    (tmp_path / "mine").mkdir()
    for place in (tmp_path / "new" / "deep", tmp_path / "mine"):
        with pytest.raises(ConfigError), locked(place):
            raise ConfigError("a mistake")
    assert [path.name for path in tmp_path.rglob("*")] == ["mine"]


def test_a_run_that_is_held_is_not_gone_on_with_but_can_be_read(recipe, tmp_path):
    folder = tmp_path / "run"
    assert sparring_("train", recipe(), "--run", folder).code == 0
    with locked(folder):
        line = refused("train", recipe(), "--run", folder, "--resume", says=(str(folder), "in use by process"))
        assert "wait for it to end" in line
        assert sparring_("evaluate", folder, "--problems", "2").code == 0
        assert sparring_("talk", folder).code == 0
        assert sparring_("bundle", folder, tmp_path / "b.tar.gz").code == 0
        refused("ledger", folder, says=("has no ledger",))
    assert (folder / LOCK).exists()
    assert sparring_("train", recipe(), "--run", folder, "--resume").code == 0
