"""Which settings may change when a run or an evaluation resumes: those marked ADJUSTABLE where they are declared."""

from __future__ import annotations

from typing import Any

from sparring.common.schema import ADJUSTABLE, TomlTable, flat, marked
from sparring.config.evaluation import EvaluationSettings
from sparring.config.recipe import Recipe, RunSettings
from sparring.training.settings import TrainerSettings


def fixed(table: TomlTable) -> dict[str, Any]:
    """Return the settings that may not change on resume, by dotted key."""
    return {key: setting for key, setting in flat(table).items() if not may_change(key)}


def may_change(key: str) -> bool:
    """Tell whether a run may resume with another value of the dotted `key`.

    Such a key only decides whether the run stops, or what it saves.
    """
    table, *inner = key.split(".")
    if table == "phase" and inner[1:2] == ["trainer"]:
        table, inner = "trainer", inner[2:]
    tables = {"run": RunSettings, "trainer": TrainerSettings, "evaluation": EvaluationSettings}
    if table in tables:
        return inner[0] in marked(tables[table], ADJUSTABLE)
    return table in marked(Recipe, ADJUSTABLE)
