"""The allocator keeps what is freed, where it can be told to."""

import os
import subprocess
import sys

import pytest

from sparring.models.source import ModelSource
from sparring.training import trainer
from sparring.training.learner import Learner
from sparring.training.settings import TrainerSettings
from sparring.training.trainer import Trainer

FAULTS = """
import resource, sys, torch
from sparring.training.allocator import keep_freed
kept = keep_freed() if sys.argv[1] == "keep" else None
for turn in range(24):
    if turn == 16:  # the first ones lie behind one another
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.empty(2**24).fill_(0.0)
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(what: str, **environment: str) -> tuple[str, int]:
    """What `keep_freed` said, and the fresh pages that eight tensors of 64 MB took after the first sixteen."""
    bare = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    told = [sys.executable, "-c", FAULTS, what]
    said = subprocess.run(told, env=bare | environment, capture_output=True, text=True, check=True)
    kept, count = said.stdout.split()
    return kept, int(count)


def test_memory_that_is_asked_for_again_is_not_cleared_again():
    kept, few = faults("keep")
    if kept == "False":
        pytest.skip("the allocator here cannot be told")
    assert few < faults("leave")[1] / 4


def test_what_the_user_has_told_the_allocator_stands():
    assert faults("keep", MALLOC_ARENA_MAX="2")[0] == "False"


def test_a_trainer_on_a_cpu_keeps_what_it_frees(monkeypatch):
    asked = []
    monkeypatch.setattr(trainer, "keep_freed", lambda: asked.append(True))
    Trainer(Learner.load(ModelSource()), TrainerSettings())
    assert asked == [True]
