"""What many tests need: the data folder, a speaker that follows a script, a small task."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from sparring.core.chat import LEARNER, Chat, Part
from sparring.core.speaker import Reply, Sampling
from tests.hub_rows import load_dataset
from tests.processes import spare

# Workers and the programs they start share few cores; threads of one operation would wait for each other.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")
settings.register_profile("sparring", deadline=None)  # the machine may be busy
settings.load_profile("sparring")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a job in the background; programs would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def _processes_to_spare() -> Iterator[None]:
    """A process that the machine has no room for is started again a little later (see `processes`)."""
    start = subprocess.Popen.__init__

    def patched(self, *words, **how) -> None:
        spare(lambda: start(self, *words, **how))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess.Popen, "__init__", patched)
        yield


@pytest.fixture
def data() -> Path:
    """The folder of real data sets."""
    if "SPARRING_DATA" not in os.environ:
        pytest.skip("SPARRING_DATA is not set: no real data sets here")
    return Path(os.environ["SPARRING_DATA"])


@pytest.fixture
def hub_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hub data sets have the rows of `tests/hub_rows.py`; nothing is downloaded."""
    import datasets

    monkeypatch.setattr("sparring.common.row_files.hub_problem", lambda name, kind: None)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)


class Cut(str):
    """A line of a script that the limit cuts."""


@dataclass
class Script:
    """A learner that says its lines in turn, each as tokens of one character; `heard` is what it was asked."""

    lines: list[str]
    finish: str = "stop"
    heard: list[tuple[Chat, Sampling, int]] = field(default_factory=list)

    async def reply(self, chat: Chat, sampling: Sampling, sample: int = 0) -> Reply:
        self.heard.append((chat, sampling, sample))
        text = self.lines[(len(self.heard) - 1) % len(self.lines)]
        for stop in sampling.stop:
            text = text.split(stop)[0]
        finish = "length" if isinstance(self.lines[(len(self.heard) - 1) % len(self.lines)], Cut) else self.finish
        return Reply((Part(text, LEARNER, tuple(map(ord, text))),), finish)


@pytest.fixture
def script() -> type[Script]:
    return Script


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--remake-golden", action="store_true", help="write the golden conversations anew")
