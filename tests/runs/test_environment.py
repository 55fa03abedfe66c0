"""How busy the machine is."""

from __future__ import annotations

import psutil
import pytest
import torch

from sparring.runs.display import Display
from sparring.runs.environment import crowding
from sparring.runs.run import train
from tests.runs.test_folder import with_


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch):
    """Sets the cores, those that other programs use, and the threads of this process."""

    def set_(cores: int, used: float, threads: int) -> None:
        monkeypatch.setattr(psutil, "cpu_count", lambda: cores)
        monkeypatch.setattr(psutil, "cpu_percent", lambda interval: 100 * used / cores)
        monkeypatch.setattr(torch, "get_num_threads", lambda: threads)

    return set_


@pytest.mark.parametrize(
    ("cores", "used", "threads", "is_crowded"),
    [(2, 1.0, 2, True), (2, 0.3, 2, False), (2, 2.0, 1, False), (16, 3.0, 8, False), (16, 9.0, 8, True)],
)
def test_threads_are_crowded_where_other_programs_use_their_cores(machine, cores, used, threads, is_crowded):
    machine(cores, used, threads)
    warning = crowding()
    assert (warning is not None) == is_crowded
    if warning:
        assert f"{used} of {cores} cores, so {threads} threads" in warning
        assert "run.threads = 1" in warning


def test_a_run_on_a_busy_machine_says_so(machine, tmp_path, capsys):
    machine(2, 1.6, 2)
    train(with_(max_learner_failures=1.0), tmp_path / "run", display=Display())
    assert "other programs use 1.6 of 2 cores" in " ".join(capsys.readouterr().err.split())
