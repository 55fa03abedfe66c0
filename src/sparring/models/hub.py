"""Whether a model that is not in a folder can come from the hub: it is asked once, and not for long.

The libraries that load models try a dead connection again for a minute, for each of a model's files. So the hub is
asked here first; where it does not answer, only its cache on this machine is read. Code that comes with a model never
runs, and nobody is asked about it.
"""

from __future__ import annotations

import os
import re
import threading
from functools import cache
from pathlib import Path
from typing import Any

from sparring.common.errors import ConfigError

HUB_TIMEOUT = 3.0  # seconds that the hub has to say whether it has a model
CODE = "it brings code of its own, and no such code is run"  # what `said` makes of the library's offer to run it

_ID = re.compile(r"[\w-][\w.-]{0,95}(/[\w-][\w.-]{0,95})?", re.ASCII)
_FILES = ("config.json", "adapter_config.json")


def check_reachable(model: str, revision: str | None = None) -> None:
    """ConfigError where `model` is not here, and cannot come from the hub."""
    if os.path.exists(model):
        return
    if _is_path(model):
        raise ConfigError(f"there is no folder {model}")
    if _ID.fullmatch(model) is None:
        raise ConfigError("it is neither a folder here nor of the form of a hub id (owner/name)")
    if not _cached(model, revision) and (trouble := _trouble(model)):
        raise ConfigError(trouble)


def how(model: str, revision: str | None = None) -> dict[str, Any]:
    """How `model` is to be loaded, in the words of transformers: from this machine alone where it lies here, or where
    the hub cannot be asked; and without its code."""
    alone = os.path.exists(model) or (_cached(model, revision) and _trouble(model) is not None)
    return {"trust_remote_code": False, **({"local_files_only": True} if alone else {})}


def load_error(error: Exception) -> str:
    """What a library that loads models raised, in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if any("custom code" in line or "trust_remote_code" in line for line in lines):
        return CODE
    first = lines[0].rstrip(". :") if lines else ""
    known = isinstance(error, ImportError | OSError | ValueError)
    return first if known and first else f"{type(error).__name__}: {first}".rstrip(": ")


def _is_path(model: str) -> bool:
    """Whether `model` can only be meant as a path: by its form, or since a folder of its first part's name is here."""
    first, slash, _ = model.partition("/")
    return model.startswith((".", "/", "~", "runs/")) or model.count("/") > 1 or bool(slash and os.path.isdir(first))


def _cached(model: str, revision: str | None) -> bool:
    """Whether a copy of `model` is in the hub's cache on this machine."""
    from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415 - slow to start, and folders need no hub

    found = (try_to_load_from_cache(model, file, revision=revision) for file in _FILES)
    return any(isinstance(path, str | Path) for path in found)


@cache
def _trouble(model: str) -> str | None:
    """Why the hub does not give `model`, None where it does."""
    found: list[str | None] = []
    asking = threading.Thread(target=lambda: found.append(_asked(model)), daemon=True)
    asking.start()  # in a thread: no time limit reaches the look-up of a name in the network
    asking.join(HUB_TIMEOUT)
    return found[0] if found else f"the hub did not answer within {HUB_TIMEOUT:g} s, and no copy is in its cache here"


def _asked(model: str) -> str | None:
    from huggingface_hub import HfApi  # noqa: PLC0415
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError  # noqa: PLC0415

    try:
        HfApi().model_info(model, timeout=HUB_TIMEOUT)
    except RepositoryNotFoundError:
        return "there is no folder of that name here, and the hub has no such model (or it wants a token)"
    except HfHubHTTPError as error:
        return f"the hub answers with an error ({load_error(error)}), and no copy is in its cache here"
    except Exception as error:  # of whichever library speaks to the network
        return f"the hub cannot be reached ({load_error(error)}), and no copy is in its cache here"
    return None
