"""A run's partners on its ledger: every call recorded, paid once, within the budget.

A partner whose speaker cannot say what decides its replies (`attempts.Recordable`) is asked as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from sparring.assembly import ROLES, role_fields
from sparring.attempts import Recordable
from sparring.ledger import Ledger, Recorded
from sparring.method import Method
from sparring.recipe import Phase, Recipe

FILE = "ledger.sqlite"


@contextmanager
def recorded(recipe: Recipe, folder: Path) -> Iterator[tuple[tuple[Phase, ...], Ledger | None]]:
    """The recipe's phases with their speakers on the ledger, and the ledger; none where nobody is to be paid."""
    if not any(_spoken(phase.method) for phase in recipe.phases):
        yield recipe.phases, None
        return
    settings = recipe.ledger
    path = Path(settings.path) if settings.path else folder / FILE
    with Ledger(path, folder.name, settings.mode, recipe.budget) as ledger:
        yield tuple(replace(phase, method=_on_ledger(phase.method, ledger)) for phase in recipe.phases), ledger


def _spoken(method: Method) -> dict[str, Any]:
    """The partners of a method whose calls can be recorded, by field."""
    partners = {name: getattr(method, name) for name in role_fields(type(method))}
    return {name: p for name, p in partners.items() if isinstance(getattr(p, "speaker", None), Recordable)}


def _on_ledger(method: Method, ledger: Ledger) -> Method:
    kinds = role_fields(type(method))
    changed = {
        name: replace(partner, speaker=Recorded(partner.speaker, ledger, ROLES[kinds[name]]))
        for name, partner in _spoken(method).items()
    }
    return replace(method, **changed) if changed else method  # type: ignore[type-var]  # every method is a dataclass
