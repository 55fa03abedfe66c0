"""Whether the Hugging Face hub can provide a model: one request with a short timeout.

The libraries that load models retry a dead connection for a minute, for each file of a model. So the hub is asked here
first. If it does not answer, only its local cache is read. Code that comes with a model never runs, and no library
prompts the user about it.
"""

from __future__ import annotations

import os
import re
import threading
from functools import cache
from pathlib import Path
from typing import Any

from sparring.common.errors import ConfigError

HUB_TIMEOUT = 3.0  # timeout in seconds
CODE = "it comes with its own code, which is never run"  # what `load_error` makes of the library's offer to run it

_ID = re.compile(r"[\w-][\w.-]{0,95}(/[\w-][\w.-]{0,95})?", re.ASCII)
_FILES = ("config.json", "adapter_config.json")


def check_reachable(model: str, revision: str | None = None) -> None:
    """Raise ConfigError if `model` is neither on this machine nor available from the hub."""
    if os.path.exists(model):
        return
    if _is_path(model):
        raise ConfigError(f"there is no folder {model}")
    if _ID.fullmatch(model) is None:
        raise ConfigError("it is neither a folder nor a hub id (owner/name)")
    if not _cached(model, revision) and (problem := _hub_problem(model)):
        raise ConfigError(problem)


def how(model: str, revision: str | None = None) -> dict[str, Any]:
    """Return the arguments for `from_pretrained` that load `model` without its own code.

    Only local files are read if the model is a folder, or if it is cached and the hub does not answer.
    """
    is_local = os.path.exists(model) or (_cached(model, revision) and _hub_problem(model) is not None)
    return {"trust_remote_code": False, **({"local_files_only": True} if is_local else {})}


def optional_file(model: str, name: str) -> Path | None:
    """Return the file `name` that comes with the hub's `model`; None if there is none, or the hub does not answer."""
    from huggingface_hub import hf_hub_download  # noqa: PLC0415 - slow to start, and folders need no hub
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError  # noqa: PLC0415

    if _ID.fullmatch(model) is None or (not _cached(model, None) and _hub_problem(model)):
        return None
    try:
        return Path(hf_hub_download(model, name, local_files_only="local_files_only" in how(model)))
    except (EntryNotFoundError, HfHubHTTPError, OSError):
        return None


def load_error(error: Exception) -> str:
    """Summarise in one line what a library raised while it loaded a model."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if any("custom code" in line or "trust_remote_code" in line for line in lines):
        return CODE
    first = lines[0].rstrip(". :") if lines else ""
    is_clear = isinstance(error, ImportError | OSError | ValueError)  # others need the name of their type
    return first if is_clear and first else f"{type(error).__name__}: {first}".rstrip(": ")


def _is_path(model: str) -> bool:
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


@cache
def _hub_problem(model: str) -> str | None:
    """The reason why the hub does not provide `model`; None if it does."""
    answers: list[str | None] = []
    thread = threading.Thread(target=lambda: answers.append(_ask_hub(model)), daemon=True)
    thread.start()  # a thread, because the request's timeout does not cover the DNS look-up
    thread.join(HUB_TIMEOUT)
    return answers[0] if answers else f"the hub did not answer within {HUB_TIMEOUT:g} s, and no copy is cached here"


def _ask_hub(model: str) -> str | None:
    from huggingface_hub import HfApi  # noqa: PLC0415
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError  # noqa: PLC0415

    try:
        HfApi().model_info(model, timeout=HUB_TIMEOUT)
    except RepositoryNotFoundError:
        return "there is no such folder, and the hub has no such model (or requires a token)"
    except HfHubHTTPError as error:
        return f"the hub answers with an error ({load_error(error)}), and no copy is cached here"
    except Exception as error:  # the network libraries underneath raise exceptions of their own
        return f"the hub cannot be reached ({load_error(error)}), and no copy is cached here"
    return None
