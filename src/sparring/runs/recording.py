"""Records the calls to a run's partners on its ledger: every call once, paid once, within the budget.

The ledger knows a run by an id. The id is drawn when the run starts and stored in its `run.json`, so it stays the same
when the folder is moved or renamed. A partner whose speaker is not `attempts.Recordable` is called without a record.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import tomlkit

from sparring.common.errors import ConfigError
from sparring.common.files import read_json, write_json
from sparring.config.factory import ROLES, role_fields
from sparring.config.recipe import LedgerSettings, Phase, Recipe
from sparring.core.attempts import Recordable
from sparring.ledger import Budget, Ledger, Mode, Prices, Recorded, addresses, runs
from sparring.speakers.human import Human

FILE = "ledger.sqlite"
USED = "calls.txt"  # ledger keys of the run's calls
PRICES = "prices.json"  # listed prices by which the run pays
STATUS = "run.json"
_ID = re.compile("[0-9a-f]{16}")
_Owner = TypeVar("_Owner")  # a method or an evaluation protocol


@runtime_checkable
class Prepared(Protocol):
    """A speaker that has requirements of the machine, such as a terminal or a program."""

    def ready(self) -> None:
        """Raise ConfigError if a requirement is missing."""
        ...


def register_run(folder: Path) -> str:
    """Draw the id of a new run and write it to `folder`, before any call is paid. Return the id."""
    run = secrets.token_hex(8)
    write_json(folder / STATUS, {"id": run, "status": "running"})
    return run


def identity(folder: Path, ledger: Path) -> str:
    """Return the id of the run in `folder`, or a new one if it has none yet.

    If `run.json` is lost or damaged after calls were paid, the id comes from the ledger. Raises ConfigError if several
    runs on it match: with a new id the caps of the budget would start again from zero.
    """
    if (run := _stored_id(folder / STATUS)) is not None:
        return run
    if not ledger.exists() or not (folder / USED).exists():
        return secrets.token_hex(8)
    recorded_runs = runs(ledger)
    is_own_ledger = ledger.resolve().parent == folder.resolve()
    matches = [run for run, name in recorded_runs.items() if is_own_ledger or name == folder.resolve().name]
    if len(matches) == 1:
        return matches[0]
    choices = ", ".join(f"{run} ({name})" for run, name in list(recorded_runs.items())[:5]) or "none"
    raise ConfigError(
        f"{folder / STATUS} does not say which run of the ledger {ledger} this is (its runs: {choices}); "
        f'write {{"id": "…"}} with the id of the run into that file'
    )


def _stored_id(path: Path) -> str | None:
    """Return the id in the file `run.json` at `path`, or None if it is missing or damaged."""
    try:
        status = read_json(path)
    except (OSError, ConfigError):
        return None
    run = status.get("id") if isinstance(status, dict) else None
    return run if isinstance(run, str) and _ID.fullmatch(run) else None


@contextmanager
def recorded(recipe: Recipe, folder: Path, run: str) -> Iterator[tuple[tuple[Phase, ...], Ledger | None]]:
    """Yield the recipe's phases with their speakers on the ledger of the run with the id `run`, and the ledger.

    The ledger is None if no partner has a speaker.
    """
    if not any(recordable_partners(phase.method) for phase in recipe.phases):
        yield recipe.phases, None
        return
    with open_ledger(recipe.ledger, recipe.budget, folder, run) as ledger:
        yield tuple(replace(phase, method=on_ledger(phase.method, ledger)) for phase in recipe.phases), ledger


def open_ledger(settings: LedgerSettings, budget: Budget, folder: Path, run: str) -> Ledger:
    """Open the ledger of the run with the id `run` in `folder`."""
    path, name = ledger_path(settings.path, folder), folder.resolve().name
    return Ledger(path, run, settings.mode, budget, used=folder / USED, prices=folder / PRICES, name=name)


def ledger_path(path: str | None, folder: Path) -> Path:
    """Return the path of the ledger: the recipe's `path`, or a file in the run's `folder`."""
    return Path(path) if path else folder / FILE


def ledger_of(folder: Path) -> Path | None:
    """Return the ledger file of the run in `folder`, or None if all partners are programs and there is no file."""
    shared = tomlkit.parse((folder / "recipe.toml").read_text(encoding="utf-8")).unwrap().get("ledger", {}).get("path")
    path = ledger_path(shared, folder)
    return path if path.exists() else None


def may_ask_person(recipe: Recipe) -> bool:
    """Tell whether the run may ask a person at the terminal."""
    partners = [partner for phase in recipe.phases for partner in recordable_partners(phase.method).values()]
    return recipe.ledger.mode != "replay" and any(isinstance(partner.speaker, Human) for partner in partners)


def check_partners(recipe: Recipe, folder: Path) -> None:
    """Raise ConfigError if a requirement of a partner is missing; a replay calls no partner."""
    ledger = ledger_path(recipe.ledger.path, folder)
    for phase in recipe.phases if recipe.ledger.mode != "replay" else ():
        for partner in recordable_partners(phase.method).values():
            check_price(partner.speaker, recipe.budget)
            check_ready(partner.speaker, recipe.ledger.mode, ledger)


def check_price(speaker: Any, budget: Budget) -> None:
    """Raise ConfigError if a cap needs the price of the speaker's model and it is unknown, or cannot be looked up."""
    urls, model = addresses(speaker), getattr(speaker, "model", None)
    if urls and isinstance(model, str):
        error = Prices(budget.prices).missing(model, urls)
        if error and budget.limits_money:
            raise error


def check_ready(speaker: Any, mode: Mode, ledger: Path | None) -> None:
    """Raise ConfigError if a requirement of `speaker` is missing.

    A replay calls nobody, and a `ledger` that exists may hold all replies of a server that is gone.
    """
    may_be_recorded = bool(addresses(speaker)) and ledger is not None and ledger.exists()
    if isinstance(speaker, Prepared) and mode != "replay" and not may_be_recorded:
        speaker.ready()


def recordable_partners(owner: Any) -> dict[str, Any]:
    """Return the partners of a method or protocol whose calls can be recorded, by field name."""
    partners = {name: getattr(owner, name) for name in role_fields(type(owner))}
    return {name: partner for name, partner in partners.items() if is_recordable(partner)}


def is_recordable(partner: Any) -> bool:
    """Tell whether the calls of `partner` can be recorded."""
    return isinstance(getattr(partner, "speaker", None), Recordable)


def partner_on_ledger(partner: Any, ledger: Ledger, role: str) -> Any:
    """Copy `partner`, which must be recordable, so that its calls in `role` go through `ledger`."""
    return replace(partner, speaker=Recorded(partner.speaker, ledger, role))


def on_ledger(owner: _Owner, ledger: Ledger) -> _Owner:
    """Copy a method or protocol so that its partners' calls go through `ledger`."""
    kinds = role_fields(type(owner))
    changed = {
        name: partner_on_ledger(partner, ledger, ROLES[kinds[name]])
        for name, partner in recordable_partners(owner).items()
    }
    return replace(owner, **changed) if changed else owner  # type: ignore[type-var]  # each is a dataclass
