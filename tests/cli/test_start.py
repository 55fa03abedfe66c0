"""What a verb loads before it says that something is wrong, and how it stops while it loads."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import atexit, sys
atexit.register(lambda: print(sorted({"torch", "transformers", "accelerate", "peft"} & set(sys.modules))))
from sparring.cli.main import main
main()
"""
INTERRUPTED = """
import signal
from sparring.cli.main import main
signal.signal(signal.SIGPROF, lambda *_: signal.raise_signal(signal.SIGINT))
signal.setitimer(signal.ITIMER_PROF, {seconds})
main()
"""


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("list",), 0),
        (("--help",), 0),
        (("train", "--help"), 0),
        (("ledger", "nowhere"), 2),
        (("train", "tripost", "--set", "task.rnge=easy", "--run", "x"), 2),
        (("train", "tripost", "--set", "trainer.learning_rate=fast", "--run", "x"), 2),
        (("train", "thought_preference", "--set", "phase.2.judge.by=reward", "--run", "x"), 2),
        (("train", "sft", "--set", "learner.model=./nowhere", "--run", "x"), 2),
        (("estimate", "tripos"), 2),
        (("evaluate", "tiny", "--task", "word_sort"), 2),
        (("write", "rationales", "--run", "x"), 2),
    ],
)
def test_lists_help_and_mistakes_load_nothing_that_is_slow_to_start(words, code, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == code, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_an_interruption_while_a_verb_still_loads_is_one_line(tmp_path):
    """It comes after so many seconds of the program's own processor time: the machine may be busy."""
    for seconds in (0.1, 0.4, 1.0):
        words = ["train", "sft", "--run", str(tmp_path / f"run{seconds}")]
        program = [sys.executable, "-c", INTERRUPTED.format(seconds=seconds), *words]
        done = subprocess.run(program, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 130, done.stderr
        assert done.stderr.splitlines()[-1] == "interrupted; to continue a run, add --resume"
        assert "Traceback" not in done.stderr
