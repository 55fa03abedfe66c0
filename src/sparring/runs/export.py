"""Exports a learner as a folder that other programs load: whole weights, tokenizer, chat template, model card, GGUF.

The folder can be pushed to the Hugging Face hub. The card is written by `model_card`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from shlex import quote

from sparring.common.errors import ConfigError
from sparring.common.files import write_whole, writing
from sparring.config.recipe import run_of
from sparring.models.source import USAGE, check_model, is_adapters, learner_folder
from sparring.runs.model_card import model_card
from sparring.training import checkpoint
from sparring.training.merge import merge

CONVERTER = "convert_hf_to_gguf.py"  # of llama.cpp


def export_learner(place: Path, output: Path, name: str | None = None) -> None:
    """Write the learner at `place`, a run or a checkpoint, to the folder `output`, with a model card.

    Adapters are merged into the weights of their base model. `name`: the model's name in the card, by default the
    folder's.
    """
    folder = learner_folder(place)
    if os.path.exists(output):
        raise ConfigError(f"{output} exists; choose a folder that does not")
    check_model(str(folder))
    if not is_adapters(folder):  # merging reads the others
        if not (folder / USAGE).exists() and run_of(folder) is None:
            raise ConfigError(f"{folder} is no checkpoint of sparring ({USAGE} is missing); give a run or a checkpoint")
        checkpoint.check_readable(folder)
    card = model_card(folder, name or output.resolve().name)  # before the slow part: it reads the run's files
    if is_adapters(folder):
        merge(folder, output)
    else:
        with writing(output):
            shutil.copytree(folder, output, ignore=shutil.ignore_patterns("state"))
    write_whole(output / "README.md", card)


def find_converter(path: Path | None) -> str:
    """Return the program that converts a folder to GGUF: `path`, or llama.cpp's on the PATH."""
    found = str(path) if path is not None and path.is_file() else None
    if path is None:
        found = shutil.which(CONVERTER) or shutil.which(CONVERTER.removesuffix(".py"))
    if found is None:
        wanted = f"{path} is not a file" if path is not None else f"{CONVERTER} of llama.cpp is not on the PATH"
        raise ConfigError(f"cannot convert to GGUF ({wanted}); clone llama.cpp and name its {CONVERTER} by --converter")
    return found


def convert(folder: Path, converter: str) -> Path:
    """Convert the model in `folder` to a GGUF file in it, in the converter's own choice of precision."""
    output = folder / f"{folder.resolve().name}.gguf"
    program = [sys.executable, converter] if converter.endswith(".py") else [converter]
    done = subprocess.run(
        [*program, str(folder), "--outfile", str(output)], capture_output=True, text=True, check=False
    )
    if done.returncode or not output.exists():
        lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        reason = lines[-1][:200] if lines else f"exit status {done.returncode}"
        raise ConfigError(f"{converter} failed ({reason}); the model is in {folder}, without GGUF")
    return output


def check_push(repository: str) -> None:
    """Raise ConfigError if `repository` is no hub id or no token of the hub is stored."""
    from huggingface_hub import get_token  # noqa: PLC0415 - slow to start
    from huggingface_hub.errors import HFValidationError  # noqa: PLC0415
    from huggingface_hub.utils._validators import validate_repo_id  # noqa: PLC0415

    try:
        validate_repo_id(repository)
    except HFValidationError:
        repository = ""
    if repository.count("/") != 1:
        raise ConfigError("--push is not the name of a model on the hub; give owner/name")
    if get_token() is None:
        raise ConfigError("--push needs a token of the hub, and none is stored; run hf auth login, or set HF_TOKEN")


def push(folder: Path, repository: str, *, private: bool = True) -> str:
    """Upload `folder` to `repository` on the hub, which is created if it does not exist, and return its address."""
    from huggingface_hub import HfApi  # noqa: PLC0415

    try:
        api = HfApi()
        address = api.create_repo(repository, private=private, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=folder, commit_message="Exported by sparring")
    except Exception as error:  # the network libraries underneath raise exceptions of their own
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ConfigError(
            f"cannot push to {repository} ({reason}); the export is in {folder}: "
            f"hf upload {repository} {quote(str(folder))}"
        ) from error
    return str(address)
