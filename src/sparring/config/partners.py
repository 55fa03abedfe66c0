"""Partners that a script gives in Python: they fill their role in every phase of a recipe that has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sparring.common.errors import ConfigError
from sparring.common.schema import TomlTable
from sparring.config.factory import METHODS, PROTOCOLS, ROLES, make_partner, name_of, role_fields
from sparring.config.recipe import Phase, Recipe, load_table
from sparring.core.task import Task


def recipe_with(recipe: Recipe | str | Path | TomlTable, partners: Mapping[str, Any]) -> Recipe:
    """Return `recipe`, a name, a file or a table of one, with `partners`: functions or objects by role.

    Raise ConfigError if no phase has a role that is given.
    """
    if isinstance(recipe, Recipe):
        _check_roles([type(phase.method) for phase in recipe.phases], partners)
        phases = tuple(_phase(phase, n, recipe.task, partners) for n, phase in enumerate(recipe.phases, start=1))
        return replace(recipe, phases=phases)
    table = dict(recipe) if isinstance(recipe, Mapping) else load_table(str(recipe))
    phases_table = table.get("phase")
    if not partners or not isinstance(phases_table, list):
        return Recipe.of(table)
    known = [phase for phase in phases_table if isinstance(phase, Mapping) and phase.get("method") is not None]
    _check_roles([METHODS[phase["method"]] for phase in known], partners)
    return Recipe.of(
        {**table, "phase": [_filled(phase, partners) if phase in known else phase for phase in phases_table]}
    )


def in_roles(protocol: str, partners: Mapping[str, Any]) -> dict[str, Any]:
    """Return `partners`, functions or objects by role, by the keys that the evaluation protocol has for its roles."""
    roles = {ROLES[kind]: name for name, kind in role_fields(PROTOCOLS[protocol]).items()}
    for role in partners:
        if role not in roles:
            raise ConfigError(f"the protocol {protocol} has no role {role}; remove {role}=, or choose another protocol")
    return {roles[role]: partner for role, partner in partners.items() if partner is not None}


def _check_roles(methods: list[type], partners: Mapping[str, Any]) -> None:
    roles = {ROLES[kind] for method in methods for kind in role_fields(method).values()}
    for role in partners:
        if role not in roles:
            raise ConfigError(f"no phase of the recipe has the role {role}; remove {role}=, or choose another method")


def _filled(phase: Mapping[str, Any], partners: Mapping[str, Any]) -> dict[str, Any]:
    """Return a phase's table with `partners` in its roles."""
    fields = role_fields(METHODS[phase["method"]]).items()
    return {**phase, **{name: partners[ROLES[kind]] for name, kind in fields if ROLES[kind] in partners}}


def _phase(phase: Phase, number: int, task: Task, partners: Mapping[str, Any]) -> Phase:
    """Return a phase with `partners` in its roles."""
    method: Any = phase.method
    where = f"phase {number} ({name_of(method)})"
    filled = {
        name: make_partner(name, kind, partners[ROLES[kind]], task, f"{where}: {name}")
        for name, kind in role_fields(type(method)).items()
        if ROLES[kind] in partners
    }
    return replace(phase, method=replace(method, **filled)) if filled else phase
