"""A run's partners on its ledger: every call recorded, paid once, within the budget.

A run is known to its ledger by an id, which is drawn when it begins and stands in its `run.json`: it goes with the
folder wherever that goes and whatever it is called. A partner whose speaker cannot say what decides its replies
(`attempts.Recordable`) is asked as it is.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import tomlkit

from sparring.config.factory import ROLES, role_fields
from sparring.core.attempts import Recordable
from sparring.common.errors import ConfigError
from sparring.common.files import read_json, write_json
from sparring.ledger import Ledger, Recorded, runs
from sparring.core.method import Method
from sparring.config.recipe import Phase, Recipe
from sparring.speakers.human import Human

FILE = "ledger.sqlite"
USED = "calls.txt"  # the keys of the ledger's calls that the run made
STATUS = "run.json"
_ID = re.compile("[0-9a-f]{16}")


@runtime_checkable
class Prepared(Protocol):
    """A speaker that needs something of the machine before it can be asked."""

    def ready(self) -> None:
        """Raises ConfigError where that is not there."""
        ...


def begin(folder: Path) -> str:
    """The id of a new run in `folder`, written down before anything is paid for it."""
    drawn = secrets.token_hex(8)
    write_json(folder / STATUS, {"id": drawn, "status": "running"})
    return drawn


def identity(folder: Path, ledger: Path) -> str:
    """The id of the run in `folder`, a new one where it has none yet.

    Where the run has asked its `ledger` already and `run.json` is lost or damaged, the ledger says who asked; a
    ConfigError where that may be several: with another id the run's caps would begin anew.
    """
    if (known := _written(folder / STATUS)) is not None:
        return known
    if not ledger.exists() or not (folder / USED).exists():
        return secrets.token_hex(8)
    asked = runs(ledger)
    within = ledger.resolve().parent == folder.resolve()
    own = [run for run, name in asked.items() if within or name == folder.resolve().name]
    if len(own) == 1:
        return own[0]
    there = ", ".join(f"{run} ({name})" for run, name in list(asked.items())[:5]) or "none"
    raise ConfigError(
        f"{folder / STATUS} does not say which run of the ledger {ledger} this is (there is {there}); "
        f'write {{"id": "…"}} with the id of the run into that file'
    )


def _written(path: Path) -> str | None:
    try:
        told = read_json(path)
    except (OSError, ConfigError):  # not there, or damaged
        return None
    found = told.get("id") if isinstance(told, dict) else None
    return found if isinstance(found, str) and _ID.fullmatch(found) else None


@contextmanager
def recorded(recipe: Recipe, folder: Path, run: str) -> Iterator[tuple[tuple[Phase, ...], Ledger | None]]:
    """The phases of the recipe of `run` (its id) with their speakers on the ledger, and the ledger; none where nobody
    is to be paid."""
    if not any(spoken(phase.method) for phase in recipe.phases):
        yield recipe.phases, None
        return
    settings = recipe.ledger
    path = place(settings.path, folder)
    name = folder.resolve().name
    with Ledger(path, run, settings.mode, recipe.budget, used=folder / USED, name=name) as ledger:
        yield tuple(replace(phase, method=_on_ledger(phase.method, ledger)) for phase in recipe.phases), ledger


def place(path: str | None, folder: Path) -> Path:
    """Where the ledger of the run in `folder` lies: at the recipe's `path`, or in the folder."""
    return Path(path) if path else folder / FILE


def ledger_of(folder: Path) -> Path | None:
    """The ledger's file of the run in `folder`, None where there is none: its partners are programs."""
    shared = tomlkit.parse((folder / "recipe.toml").read_text()).unwrap().get("ledger", {}).get("path")
    path = place(shared, folder)
    return path if path.exists() else None


def asks_a_person(recipe: Recipe) -> bool:
    """Whether a person at the terminal may be asked."""
    partners = [partner for phase in recipe.phases for partner in spoken(phase.method).values()]
    return recipe.ledger.mode != "replay" and any(isinstance(partner.speaker, Human) for partner in partners)


def check_partners(recipe: Recipe) -> None:
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
