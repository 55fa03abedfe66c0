"""A model in the Hugging Face format, the same in four bits, and turns that can be watched."""

from __future__ import annotations

import pytest

from sparring.models import offload
from sparring.models.source import Lora, ModelSource
from sparring.models.tiny import tiny_model, tiny_tokenizer
from sparring.speakers import local


@pytest.fixture
def folder(tmp_path):
    """A model in the Hugging Face format, as anybody's; rows of its weights fill blocks of four bits."""
    tiny_model(3, hidden=64).save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def nf4(folder):
    """The settings of a learner in four bits."""
    pytest.importorskip("bitsandbytes", reason="an extra that is not installed here")
    return ModelSource(model=str(folder), quantization="nf4", lora=Lora(rank=2))


@pytest.fixture
def apart(monkeypatch):
    """Nobody else's turns; and moves between the memory of the CPU and a device that is the CPU are true copies."""
    moved = []
    monkeypatch.setattr(offload, "_TURNS", {})
    monkeypatch.setattr(local, "LOADED", {})
    monkeypatch.setattr(offload, "across", lambda tensor, device: moved.append(tensor.numel()) or tensor.clone())
    return moved
