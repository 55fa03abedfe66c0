"""Retries without pauses, and an API key that must not leak."""

from __future__ import annotations

import pytest

from sparring.speakers import endpoint
from tests.speakers.asking import CANARY


@pytest.fixture
def quick(monkeypatch) -> None:
    monkeypatch.setattr(endpoint, "FIRST_PAUSE", 0.01)
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
