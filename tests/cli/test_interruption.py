"""An interruption while the program starts is one line, whatever the library that it meets makes of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

MET = """
import os, signal, time
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)
except KeyboardInterrupt:
    {then}
"""
WHILE_IT_LOADS = """
import signal
import sparring.cli.main
from sparring.cli.entry import main
signal.signal(signal.SIGPROF, lambda *_: signal.raise_signal(signal.SIGINT))
signal.setitimer(signal.ITIMER_PROF, {seconds})
main()
"""
DROPPED_BY_A_LIBRARY = """
import contextlib, signal, sys
import sparring.cli.main
from sparring.cli.entry import main
class Drops:
    def find_spec(self, name, *_):
        if name == "torch":
            with contextlib.suppress(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Drops())
main()
"""
DROPPED = """
import signal, time
import sparring.cli.main
from sparring.cli.entry import main
class Interrupted:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)
        time.sleep(0)
def verb():
    Interrupted()
    time.sleep(60)
    print("went on")
sparring.cli.main.main = verb
main()
"""


@pytest.mark.parametrize("library", ["typer", "transformers"])
@pytest.mark.parametrize(
    "then", ["raise", "raise ImportError('cannot be loaded') from None", "raise SystemError('bad state')"]
)
def test_an_interruption_of_an_import_is_one_line(then, library, tmp_path):
    (tmp_path / f"{library}.py").write_text(MET.format(then=then))
    paths = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2] / "src")])
    said = subprocess.run(
        [sys.executable, "-m", "sparring.cli.entry", "train", "sft", "--run", str(tmp_path / "run")],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": paths},
    )  # fmt: skip
    assert said.returncode == 130
    assert said.stderr == "interrupted; to continue a run, add --resume\n"
    assert not (tmp_path / "run").exists()


def test_an_error_without_an_interruption_stays_one(tmp_path):
    (tmp_path / "typer.py").write_text("raise ImportError('cannot be loaded')")
    paths = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2] / "src")])
    said = subprocess.run(
        [sys.executable, "-m", "sparring.cli.entry", "list"],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": paths},
    )  # fmt: skip
    assert said.returncode == 1
    assert "cannot be loaded" in said.stderr


def test_an_interruption_while_a_verb_still_loads_is_one_line(tmp_path):
    """It comes after so many seconds of the program's own processor time: the machine may be busy."""
    for seconds in (0.1, 0.4, 1.0):
        words = ["train", "sft", "--run", str(tmp_path / f"run{seconds}")]
        program = [sys.executable, "-c", WHILE_IT_LOADS.format(seconds=seconds), *words]
        done = subprocess.run(program, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 130, done.stderr
        assert done.stderr.splitlines()[-1] == "interrupted; to continue a run, add --resume"
        assert "Traceback" not in done.stderr


def test_an_interruption_that_python_drops_in_a_finaliser_comes_again():
    said = subprocess.run([sys.executable, "-c", DROPPED], capture_output=True, text=True, timeout=50, check=False)
    assert (said.returncode, said.stdout, said.stderr) == (130, "", "interrupted; to continue a run, add --resume\n")


@pytest.mark.parametrize(
    "words",
    [
        ["train", "sft", "--run", "run"],
        ["demo", "--run", "run"],
        ["estimate", "sft"],
        ["evaluate", "tiny", "--task", "word_sorting", "--run", "run"],
    ],
)
def test_an_interruption_that_a_library_drops_while_it_loads_stops_the_program(words, tmp_path):
    said = subprocess.run(
        [sys.executable, "-c", DROPPED_BY_A_LIBRARY, *words],
        capture_output=True, text=True, timeout=50, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert (said.returncode, said.stdout) == (130, "")
    assert said.stderr == "interrupted; to continue a run, add --resume\n"
    assert not (tmp_path / "run").exists()
