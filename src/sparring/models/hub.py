"""How a model is loaded from the Hugging Face hub.

If the hub does not answer (`hub_status`), only its local cache is read. Code that comes with a model never runs, and no
library prompts the user about it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from sparring.common.errors import ConfigError
from sparring.common.hub_status import first_line, hub_problem

CODE = "it comes with its own code, which is never run"  # what `load_error` makes of the library's offer to run it

_ID = re.compile(r"[\w-][\w.-]{0,95}(/[\w-][\w.-]{0,95})?", re.ASCII)
_FILES = ("config.json", "adapter_config.json")


def check_reachable(model: str, revision: str | None = None) -> None:
    """Raise ConfigError if `model` is neither on this machine nor available from the hub."""
    if os.path.exists(model):
        return
    if is_path(model):
        raise ConfigError(f"there is no folder {model}")
    if _ID.fullmatch(model) is None:
        raise ConfigError("it is neither a folder nor a hub id (owner/name)")
    if not _cached(model, revision) and (problem := hub_problem(model, "model")):
        raise ConfigError(f"there is no such folder, and {problem}")


def how(model: str, revision: str | None = None) -> dict[str, Any]:
    """Return the arguments for `from_pretrained` that load `model` without its own code.

    Only local files are read if the model is a folder, or if it is cached and the hub does not answer.
    """
    is_local = os.path.exists(model) or (_cached(model, revision) and hub_problem(model, "model") is not None)
    return {"trust_remote_code": False, **({"local_files_only": True} if is_local else {})}


def optional_file(model: str, name: str) -> Path | None:
    """Return the file `name` that comes with the hub's `model`; None if there is none, or the hub does not answer."""
    from huggingface_hub import hf_hub_download  # noqa: PLC0415 - slow to start, and folders need no hub
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError  # noqa: PLC0415

    if _ID.fullmatch(model) is None or (not _cached(model, None) and hub_problem(model, "model")):
        return None
    try:
        return Path(hf_hub_download(model, name, local_files_only="local_files_only" in how(model)))
    except (EntryNotFoundError, HfHubHTTPError, OSError):
        return None


def load_error(error: Exception) -> str:
    """Summarise in one line what a library raised while it loaded a model."""
    text = str(error)
    return CODE if "custom code" in text or "trust_remote_code" in text else first_line(error)


def is_path(model: str) -> bool:
    """Whether `model` can only be a path: by its form, or because its first part is a folder."""
    first, slash, _ = model.partition("/")
    is_windows_path = "\\" in model or model[1:2] == ":"
    starts_as_path = model.startswith((".", "/", "~", "runs/"))
    return is_windows_path or starts_as_path or model.count("/") > 1 or bool(slash and os.path.isdir(first))


def _cached(model: str, revision: str | None) -> bool:
    """Whether a copy of `model` is in the hub's cache on this machine."""
    from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415 - slow to start, and folders need no hub

    paths = (try_to_load_from_cache(model, file, revision=revision) for file in _FILES)
    return any(isinstance(path, str | Path) for path in paths)
