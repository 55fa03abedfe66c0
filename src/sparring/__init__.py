"""Trains language models by letting them interact with a partner: discussion, edited trajectories, judged thoughts.

    import sparring

    recipe = sparring.Recipe.read("tripost")
    result = sparring.train(recipe, run="runs/first")
    print(sparring.load_learner(result.folder).answer("((3+4)*2)="))

The names below are all that is promised; each is loaded when it is first used, so `import sparring` is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "Recipe": "config.recipe", "RunSettings": "config.recipe", "Phase": "config.recipe",
    "train": "runs.run", "Result": "runs.run",
    "load_learner": "runs.load", "SavedLearner": "runs.load",
    "evaluate": "core.evaluation", "Evaluation": "core.evaluation",
    "Method": "core.method", "Schedule": "core.method", "Answered": "core.method",
    "Task": "core.task", "Problem": "core.task", "Pool": "core.task",
    "Speaker": "core.speaker", "Sampling": "core.speaker", "Reply": "core.speaker",
    "Chat": "core.chat", "question": "core.chat",
    "Demonstration": "core.experience", "Preference": "core.experience",
    "Episode": "core.episode",
    "SparringError": "common.errors", "ConfigError": "common.errors",
}  # fmt: skip

__all__ = sorted(_HOMES)  # noqa: PLE0605 - it is a list of strings


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sparring' has no attribute {name!r}")
    return getattr(import_module(f"sparring.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_HOMES)
