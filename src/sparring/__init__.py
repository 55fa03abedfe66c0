"""Trains language models by letting them interact with a partner: discussion, edited trajectories, judged thoughts.

    import sparring

    recipe = sparring.Recipe.read("tripost")
    result = sparring.train(recipe, run="runs/first")
    print(sparring.open_learner(result.folder).answer("((3+4)*2)="))

The names below are all that is promised; each is loaded when it is first used, so `import sparring` is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "Recipe": "recipe", "RunSettings": "recipe", "Phase": "recipe",
    "train": "run", "Result": "run",
    "open_learner": "use", "Used": "use",
    "evaluate": "evaluation", "Evaluation": "evaluation",
    "Method": "method", "Pace": "method", "Answered": "method",
    "Task": "task", "Problem": "task", "Pool": "task",
    "Speaker": "speaker", "Sampling": "speaker", "Reply": "speaker",
    "Chat": "chat", "question": "chat",
    "Demonstration": "experience", "Preference": "experience",
    "Episode": "interaction",
    "SparringError": "errors", "ConfigError": "errors",
}  # fmt: skip

__all__ = sorted(_HOMES)  # noqa: PLE0605 - it is a list of strings


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sparring' has no attribute {name!r}")
    return getattr(import_module(f"sparring.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_HOMES)
