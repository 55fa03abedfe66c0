"""A pytest plugin that notes in witness.json which line of candidate.py ran last before a test failed, and why it did.

Where all tests passed it notes null; a candidate that ends the program before that has not passed them.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Generator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

if sys.platform == "linux":  # others refuse it
    resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))

NOTE = Path("witness.json").resolve()
last = {"line": 1}


def trace(frame: FrameType, event: str, arg: Any) -> Any:
    """See sys.settrace."""
    if Path(frame.f_code.co_filename).name != "candidate.py":
        return None
    last["line"] = frame.f_lineno
    return trace


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Watches one test."""
    last["line"] = 1
    sys.settrace(trace)
    try:
        return (yield)
    finally:
        sys.settrace(None)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Notes the first failure."""
    crash = getattr(report.longrepr, "reprcrash", None)
    if report.failed and crash is not None:
        NOTE.write_text(json.dumps([last["line"], " ".join(crash.message.split())[:200]]))


def pytest_sessionfinish(exitstatus: int) -> None:
    """Notes that all tests passed."""
    if exitstatus == pytest.ExitCode.OK:
        NOTE.write_text("null")
