"""Saving a model in the Hugging Face format."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from sparring.common.files import writing


def save_model(network: Any, tokenizer: Any, folder: Path) -> None:
    """Write weights (safetensors), configuration and tokenizer to `folder`."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        network.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        usual = next(folder.glob("*config.json"))
        for weights in folder.glob("*.safetensors"):  # which their library writes for the owner's eyes only
            shutil.copymode(usual, weights)
