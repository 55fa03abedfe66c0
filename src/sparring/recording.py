"""A run's partners on its ledger: every call recorded, paid once, within the budget.

A partner whose speaker cannot say what decides its replies (`attempts.Recordable`) is asked as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import tomlkit

from sparring.assembly import ROLES, role_fields
from sparring.attempts import Recordable
from sparring.ledger import Ledger, Recorded
from sparring.method import Method
from sparring.recipe import Phase, Recipe
from sparring.speakers.human import Human

FILE = "ledger.sqlite"
USED = "calls.txt"  # the keys of the ledger's calls that the run made


@runtime_checkable
class Prepared(Protocol):
    """A speaker that needs something of the machine before it can be asked."""

    def ready(self) -> None:
        """Raises ConfigError where that is not there."""
        ...


@contextmanager
def recorded(recipe: Recipe, folder: Path) -> Iterator[tuple[tuple[Phase, ...], Ledger | None]]:
    """The recipe's phases with their speakers on the ledger, and the ledger; none where nobody is to be paid."""
    if not any(spoken(phase.method) for phase in recipe.phases):
        yield recipe.phases, None
        return
    settings = recipe.ledger
    path = Path(settings.path) if settings.path else folder / FILE
    with Ledger(path, folder.name, settings.mode, recipe.budget, folder / USED) as ledger:
        yield tuple(replace(phase, method=_on_ledger(phase.method, ledger)) for phase in recipe.phases), ledger


def ledger_of(folder: Path) -> Path | None:
    """The ledger's file of the run in `folder`, None where there is none: its partners are programs."""
    shared = tomlkit.parse((folder / "recipe.toml").read_text()).unwrap().get("ledger", {}).get("path")
    path = Path(shared) if shared else folder / FILE
    return path if path.exists() else None


def asks_a_person(recipe: Recipe) -> bool:
    """Whether a person at the terminal may be asked."""
    partners = [partner for phase in recipe.phases for partner in spoken(phase.method).values()]
    return recipe.ledger.mode != "replay" and any(isinstance(partner.speaker, Human) for partner in partners)


def ready(recipe: Recipe) -> None:
    """ConfigError where a partner that may be asked cannot be; a replay asks nobody."""
    for phase in recipe.phases if recipe.ledger.mode != "replay" else ():
        for partner in spoken(phase.method).values():
            if isinstance(partner.speaker, Prepared):
                partner.speaker.ready()


def spoken(method: Method) -> dict[str, Any]:
    """The partners of a method whose calls can be recorded, by field."""
    partners = {name: getattr(method, name) for name in role_fields(type(method))}
    return {name: p for name, p in partners.items() if isinstance(getattr(p, "speaker", None), Recordable)}


def _on_ledger(method: Method, ledger: Ledger) -> Method:
    kinds = role_fields(type(method))
    changed = {
        name: replace(partner, speaker=Recorded(partner.speaker, ledger, ROLES[kinds[name]]))
        for name, partner in spoken(method).items()
    }
    return replace(method, **changed) if changed else method  # type: ignore[type-var]  # every method is a dataclass
