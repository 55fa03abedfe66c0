"""What a verb loads before it says that something is wrong"""

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
