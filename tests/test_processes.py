"""A machine that has no process to spare for a moment makes no test fail."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest

from tests.processes import finished, spare


def failing(times: int, error: OSError):
    """A start that fails so many times."""
    left = [error] * times

    def start() -> str:
        if left:
            raise left.pop()
        return "started"

    return start


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM])
def test_a_start_without_room_is_tried_again_and_then_said(number):
    error = OSError(number, "no room")
    assert spare(failing(2, error), (0, 0)) == "started"
    with pytest.raises(pytest.skip.Exception, match=r"this machine has no process to spare: .*no room"):
        spare(failing(3, error), (0, 0))


def test_another_fault_is_told_at_once():
    with pytest.raises(FileNotFoundError):
        spare(failing(1, FileNotFoundError(errno.ENOENT, "no such program")), (0, 0))


def test_what_a_program_starts_itself_is_tried_again_too(tmp_path):
    program = f"""import pathlib, sys
place = pathlib.Path({str(tmp_path / "tries")!r})
tries = len(place.read_text()) if place.exists() else 0
place.write_text("x" * (tries + 1))
sys.exit("BlockingIOError: [Errno 11] Resource temporarily unavailable" if tries < 2 else print("done"))"""
    assert finished([sys.executable, "-c", program], (0, 0)).stdout == "done\n"
    with pytest.raises(AssertionError, match="a fault of its own"):
        finished([sys.executable, "-c", "import sys; sys.exit('a fault of its own')"], (0, 0))


def test_every_process_of_a_test_begins_this_way(monkeypatch):
    calls, pipe = [], os.pipe

    def first_fails():
        calls.append(None)
        if len(calls) < 2:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        return pipe()

    monkeypatch.setattr(os, "pipe", first_fails)  # every start needs one
    assert subprocess.run([sys.executable, "-c", "print(1)"], capture_output=True, check=True).stdout == b"1\n"
    assert len(calls) > 1
