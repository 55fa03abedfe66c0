"""A TOML file as the objects of a run, and back.

Tables are nouns: `[learner]`, `[task]`, `[[phase]]` with a table for each role its method names, `[trainer]`, `[run]`,
`[ledger]`, `[budget]`.
Everything is checked before a model is loaded or a call is paid: keys, types and ranges, files, and whether the task
has what method and partners need.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import tomlkit
from annotated_types import Ge, Gt, Interval, Le

from sparring.common.errors import ConfigError, nearest
from sparring.common.schema import ADJUSTABLE, TomlTable, adjustable, build, flat, keys, plain, value
from sparring.config.factory import (
    METHODS,
    check_needs,
    make_method,
    make_partner,
    make_task,
    name_of,
    role_fields,
    told_partner,
)
from sparring.core.method import Method
from sparring.core.task import Endless, Task
from sparring.ledger import Budget, Mode
from sparring.models.source import ModelSource
from sparring.training.settings import TrainerSettings

Problems = Literal["fixed", "fresh"]

DEEPEST = 32  # tables and lists in one another


@dataclass(frozen=True)
class RunSettings:
    """How a run is run.

    `evaluate_every` and `save_every` count problems; 0 is at the end of each phase only. `evaluate_problems` of the
    development split are asked then, `test_problems` of the test split once at the end (0: none). `keep` checkpoints
    stay beside the best and the final one. `at_once` episodes are played together. A round in which the partner fails
    in more than `max_partner_failures` of the episodes, or the learner in `max_learner_failures`, stops the run.
    What is ADJUSTABLE may change when a run goes on.
    """

    seed: int = 0
    evaluate_every: Annotated[int, Ge(0)] = 0
    evaluate_problems: Annotated[int, Ge(0)] = 200
    test_problems: Annotated[int, Ge(0)] | None = None
    save_every: Annotated[int, Ge(0), ADJUSTABLE] = 0
    keep: Annotated[int, Gt(0), ADJUSTABLE] = 2
    at_once: Annotated[int, Gt(0)] = 512
    max_partner_failures: Annotated[float, Interval(ge=0, le=1), ADJUSTABLE] = 0.2
    max_learner_failures: Annotated[float, Interval(ge=0, le=1), ADJUSTABLE] = 0.9
    threads: Annotated[int, Gt(0), Le(1024)] | None = None


@dataclass(frozen=True)
class LedgerSettings:
    """Where partner calls are recorded: `path` (by default in the run's folder; several runs may share one), and
    `mode`: "record", "replay" (nobody is asked: a call that was not recorded is an error) or "off"."""

    path: str | None = None
    mode: Mode = "record"


@dataclass(frozen=True)
class Phase:
    """A method and how often: `rounds` of `problems` each, `epochs` over what a round teaches, `replay` pieces of
    earlier experience with it. `updates_per_round`: the steps that a round's experience is split into, all epochs
    together, whatever the trainer's `batch`; "batch" leaves it to that."""

    method: Method
    trainer: TrainerSettings
    rounds: Annotated[int, Gt(0)] = 1
    problems: Annotated[int, Gt(0)] | None = None
    epochs: Annotated[int, Gt(0)] | None = None
    replay: Annotated[int, Ge(0)] = 0
    updates_per_round: Annotated[int, Gt(0)] | Literal["batch"] | None = None


@dataclass(frozen=True)
class Recipe:
    """All that a run is made of. `problems`, a key of the task's table: the training split over and over ("fixed"), or
    new ones each round ("fresh"), of a task that can make them."""

    learner: ModelSource
    task: Task
    phases: tuple[Phase, ...]
    trainer: TrainerSettings = field(default_factory=TrainerSettings)
    run: RunSettings = field(default_factory=RunSettings)
    problems: Problems = "fixed"
    ledger: LedgerSettings = field(default_factory=LedgerSettings)
    budget: Annotated[Budget, ADJUSTABLE] = field(default_factory=Budget)

    @classmethod
    def read(cls, source: str | Path | TomlTable, settings: Sequence[str] = ()) -> Recipe:
        """The recipe in a file, of a name that `sparring list recipes` shows, or in a table of the same shape;
        `settings` are changes, each `key.path=value`."""
        return cls.of(with_settings(source if isinstance(source, Mapping) else load_table(str(source)), settings))

    @classmethod
    def of(cls, table: TomlTable) -> Recipe:
        """The recipe that `table` tells."""
        known = ("learner", "task", "phase", "trainer", "run", "ledger", "budget")
        for name in table:
            if name not in known:
                raise nearest("table of a recipe", name, known)
        if not table.get("phase"):
            raise ConfigError("a recipe has at least one [[phase]], with a method; this one has none")
        for name in ("learner", "task", "trainer", "run", "ledger", "budget"):
            if not isinstance(table.get(name, {}), Mapping):
                raise ConfigError(f"{name} = {table[name]!r} is not a table; give its keys under [{name}]")
        if not isinstance(table["phase"], list) or not all(isinstance(phase, Mapping) for phase in table["phase"]):
            raise ConfigError(f"phase = {table['phase']!r} is not a list of tables; give each phase under [[phase]]")
        asked = dict(table.get("task", {}))
        problems = value(Problems, asked.pop("problems", "fixed"), "in [task]: problems")
        task = make_task(asked)
        if problems == "fresh" and not isinstance(task, Endless):
            raise ConfigError(f'in [task]: problems = "fresh": {name_of(task)} cannot make new problems; use "fixed"')
        trainer = build(TrainerSettings, table.get("trainer", {}), "[trainer]")
        phases = tuple(_phase(phase, number, task, trainer) for number, phase in enumerate(table["phase"], start=1))
        return cls(
            build(ModelSource, table.get("learner", {}), "[learner]"),
            task,
            phases,
            trainer,
            build(RunSettings, table.get("run", {}), "[run]"),
            problems,
            build(LedgerSettings, table.get("ledger", {}), "[ledger]"),
            build(Budget, table.get("budget", {}), "[budget]"),
        )

    def table(self) -> dict[str, Any]:
        """The recipe as a table with nothing left to default."""
        return {
            "learner": plain(self.learner),
            "task": {"kind": name_of(self.task), "problems": self.problems, **plain(self.task)},
            "phase": [_told(phase) for phase in self.phases],
            "trainer": plain(self.trainer),
            "run": plain(self.run),
            "ledger": plain(self.ledger),
            "budget": plain(self.budget),
        }

    def toml(self) -> str:
        """The same as a TOML file."""
        return tomlkit.dumps(self.table())


def fixed(table: TomlTable) -> dict[str, Any]:
    """The keys of a recipe's table, dotted, that may not change when its run goes on."""
    return {key: setting for key, setting in flat(table).items() if not may_change(key)}


def may_change(key: str) -> bool:
    """Whether a run may go on with another value of the dotted `key`: it decides only whether the run stops, or what
    it saves."""
    table, *inner = key.split(".")
    if table == "phase" and inner[1:2] == ["trainer"]:
        table, inner = "trainer", inner[2:]
    tables = {"run": RunSettings, "trainer": TrainerSettings}
    return table in adjustable(Recipe) or (table in tables and inner[0] in adjustable(tables[table]))


def load_table(source: str) -> dict[str, Any]:
    """The table in the file `source`, or of the recipe of that name in the package."""
    path = Path(source)
    if not os.path.exists(path) and path.suffix != ".toml":
        shipped = shipped_recipes()
        if source not in shipped:
            raise nearest("recipe", source, shipped)
        return tomllib.loads(shipped[source])
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"the recipe {source} cannot be read: {error.strerror}; give a TOML file") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"the recipe {source} is not text in UTF-8; save it as that") from error
    except (ValueError, RecursionError) as error:  # no TOML, too long a number, nested too deep
        raise ConfigError(f"the recipe {source} is not TOML: {_unreadable(error)}; correct it") from error


def shipped_recipes() -> dict[str, str]:
    """The recipes that come with the package, by name."""
    folder = files("sparring") / "recipes"
    found = sorted((item for item in folder.iterdir() if item.name.endswith(".toml")), key=lambda item: item.name)
    return {item.name.removesuffix(".toml"): item.read_text() for item in found}


_KEY = r"""(?:"[^"]*"|'[^']*'|[^."'=\s]+)"""  # in quotes where it has dots: budget.prices."gpt-4.1"=[2, 8]
_SETTING = re.compile(rf"\s*({_KEY}(?:\.{_KEY})*)\s*=(.*)", re.DOTALL)


def with_settings(table: TomlTable, settings: Sequence[str]) -> dict[str, Any]:
    """A copy of `table` with each `key.path=value` set; a phase is `phase.2`, counted from 1, or `phase.tripost`."""
    changed: dict[str, Any] = _copied(table)
    for setting in settings:
        form = _SETTING.fullmatch(setting)
        if not form:
            raise ConfigError(f"--set {setting!r} is not of the form key.path=value")
        *above, last = (key.strip("\"'") for key in re.findall(_KEY, form[1]))
        if len(above) > DEEPEST:
            raise ConfigError(
                f"--set {form[1][:40]!r}… names {len(above)} tables in one another; there are no such keys"
            )
        here: Any = changed
        for name in above:
            here = _below(here, name, setting)
        if not isinstance(here, dict):
            raise ConfigError(f"--set {setting!r}: {'.'.join(above)} is a list; name one of it, as in phase.1.rounds=2")
        here[last] = _copied(_toml_value(form[2].strip()))
    return changed


def _copied(value: Any, depth: int = 0) -> Any:
    """`value` with tables and lists of its own."""
    if depth > DEEPEST:
        raise ConfigError(f"a table or list of the recipe is nested more than {DEEPEST} deep; no key is: remove it")
    if isinstance(value, Mapping):
        return {name: _copied(setting, depth + 1) for name, setting in value.items()}
    return [_copied(item, depth + 1) for item in value] if isinstance(value, list | tuple) else value


def _below(here: Any, name: str, setting: str) -> Any:
    found: Any = here.setdefault(name, {}) if isinstance(here, dict) else None
    if isinstance(here, list):
        numbered = here[int(name) - 1 : int(name)] if name.isdigit() and name != "0" else []
        found = next(iter(numbered or [phase for phase in here if phase.get("method") == name]), None)
    if not isinstance(found, dict | list):
        raise ConfigError(
            f"--set {setting!r}: there is no table {name!r}; phases are phase.1, phase.2 or phase.<method>"
        )
    return found


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text  # a bare word is a string
    except (ValueError, RecursionError) as error:  # too long a number, nested too deep
        raise ConfigError(f"--set …={text[:40]}… is not TOML: {_unreadable(error)}; correct it") from error


def _unreadable(error: ValueError | RecursionError) -> str:
    if isinstance(error, tomllib.TOMLDecodeError):
        return str(error)
    return "it is nested too deep" if isinstance(error, RecursionError) else "a number in it has too many digits"


_PHASE_KEYS = ("method", "rounds", "problems", "epochs", "replay", "updates_per_round", "trainer")


def _phase(table: TomlTable, number: int, task: Task, trainer: TrainerSettings) -> Phase:
    where = f"phase {number}"
    if "method" not in table:
        raise ConfigError(f"in {where}: the key method is missing; there is {', '.join(METHODS)}")
    name = table["method"]
    where = f"{where} ({name})"
    roles = {role: _role(role, kind, table, task, where) for role, kind in role_fields(METHODS[name]).items()}
    rest = {key: setting for key, setting in table.items() if key not in (*_PHASE_KEYS, *roles)}
    method = make_method(name, rest, roles, where, _PHASE_KEYS)
    check_needs(method, task, where)
    if not isinstance(table.get("trainer", {}), Mapping):
        raise ConfigError(f"in {where}: trainer = {table['trainer']!r} is not a table; give its keys")
    overrides = {key: value(keys(TrainerSettings).get(key, Any), raw, f"in {where}: trainer.{key}")
                 for key, raw in table.get("trainer", {}).items()}  # fmt: skip
    for key in overrides:
        if key not in keys(TrainerSettings):
            raise ConfigError(f"in {where}: {nearest('key of trainer', key, keys(TrainerSettings))}")
    own = {key: table[key] for key in _PHASE_KEYS if key in table and key not in ("method", "trainer")}
    phase: Phase = build(Phase, own, where, method=method, trainer=replace(trainer, **overrides))
    schedule = method.schedule
    updates, epochs = phase.updates_per_round or schedule.updates_per_round or "batch", phase.epochs or schedule.epochs
    if updates != "batch" and updates % epochs:
        raise ConfigError(
            f"in {where}: updates_per_round is no multiple of epochs (got {updates} and {epochs}); change one"
        )
    return replace(phase, problems=phase.problems or schedule.problems, epochs=epochs, updates_per_round=updates)


def _role(role: str, kind: Any, table: TomlTable, task: Task, where: str) -> Any:
    if role not in table:
        raise ConfigError(
            f'in {where}: the role {role} is empty; add a table [phase.{role}] with by = "task", or a speaker'
        )
    return make_partner(role, kind, table[role], task, f"{where}: {role}")


def _told(phase: Phase) -> dict[str, Any]:
    """A phase as a table."""
    method = phase.method
    roles = role_fields(type(method))
    told = {
        "method": name_of(method),
        **plain(phase, without=("method", "trainer")),
        **plain(method, without=tuple(roles)),
    }
    return {**told, **{role: told_partner(getattr(method, role)) for role in roles}, "trainer": plain(phase.trainer)}
