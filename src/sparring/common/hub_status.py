"""Whether the Hugging Face hub can provide a model or a data set: one request with a short timeout.

The libraries that load them retry a dead connection for up to a minute, for each file. So the hub is asked here first.
"""

from __future__ import annotations

import threading
from functools import cache
from typing import Literal

HUB_TIMEOUT = 3.0  # timeout in seconds

Kind = Literal["model", "data set"]


@cache
def hub_problem(name: str, kind: Kind) -> str | None:
    """Return the reason why the hub does not provide `name`; None if it does."""
    answers: list[str | None] = []
    thread = threading.Thread(target=lambda: answers.append(_ask_hub(name, kind)), daemon=True)
    thread.start()  # a thread, because the request's timeout does not cover the DNS look-up
    thread.join(HUB_TIMEOUT)
    return answers[0] if answers else f"the hub did not answer within {HUB_TIMEOUT:g} s, and no copy is cached here"


def _ask_hub(name: str, kind: Kind) -> str | None:
    from huggingface_hub import HfApi  # noqa: PLC0415 - slow to start, and folders and files need no hub
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError  # noqa: PLC0415

    ask = HfApi().model_info if kind == "model" else HfApi().dataset_info
    try:
        ask(name, timeout=HUB_TIMEOUT)
    except RepositoryNotFoundError:
        return f"the hub has no such {kind} (or requires a token)"
    except HfHubHTTPError as error:
        return f"the hub answers with an error ({first_line(error)}), and no copy is cached here"
    except Exception as error:  # the network libraries underneath raise exceptions of their own
        return f"the hub cannot be reached ({first_line(error)}), and no copy is cached here"
    return None


def first_line(error: Exception) -> str:
    """Return the first line of what a library raised, with the name of its type unless the line is clear without it."""
    line = next(filter(None, map(str.strip, str(error).splitlines())), "").rstrip(". :")
    is_clear = isinstance(error, ImportError | OSError | ValueError)
    return line if is_clear and line else f"{type(error).__name__}: {line}".rstrip(": ")
