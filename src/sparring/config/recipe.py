"""Converts a TOML file into the objects of a run, and back.

A recipe has the tables `[learner]`, `[task]`, `[[phase]]`, `[trainer]`, `[run]`, `[ledger]` and `[budget]`. A phase has
a table for each role of its method. Before a model is loaded or a call is paid, everything is checked: keys, types,
ranges, files, and whether the task has what methods and partners need.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Literal

import tomlkit
from annotated_types import Ge, Gt, Interval, Le
from pydantic import BeforeValidator

from sparring.common.errors import ConfigError, nearest
from sparring.common.schema import ADJUSTABLE, TomlTable, build, keys, plain, value
from sparring.config.factory import (
    METHODS,
    check_needs,
    make_method,
    make_partner,
    make_task,
    name_of,
    optional_roles,
    partner_table,
    role_fields,
)
from sparring.core.method import Method
from sparring.core.task import Endless, Task
from sparring.ledger import Budget, Mode
from sparring.models.source import ModelSource, learner_of
from sparring.training.settings import TrainerSettings

Problems = Literal["fixed", "fresh"]
TrackerName = Literal["tensorboard", "wandb", "mlflow", "trackio", "comet_ml"]

_AS_TOML = "write `key: value` as `key = value`, a table as [table], each phase under [[phase]], and name it .toml"
MAX_DEPTH = 32  # levels of nested tables and lists


def _as_list(names: Any) -> Any:
    """Return one name as a list of it."""
    return [names] if isinstance(names, str) else names


@dataclass(frozen=True)
class RunSettings:
    """Settings of the whole run.

    `evaluate_every` and `save_every` count problems; 0 means only at the end of each phase. An evaluation uses
    `evaluate_problems` problems of the development split. The end of the run uses `test_problems` of the test split
    (0: none). The run keeps `keep` checkpoints beside the best and the final one. It plays `at_once` episodes
    concurrently. It stops if in one round the partner fails in more than the share `max_partner_failures` of the
    episodes, or the learner in more than `max_learner_failures`. `trackers`, one name or a list, get a copy of the
    metrics. ADJUSTABLE settings may change on resume.
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
    trackers: Annotated[list[TrackerName], BeforeValidator(_as_list), ADJUSTABLE] = field(default_factory=list)


@dataclass(frozen=True)
class LedgerSettings:
    """Where and how partner calls are recorded.

    `path` is the ledger file, by default in the run's folder; several runs may share one. `mode` is "record", "replay"
    (no call is sent; a call that is not recorded is an error) or "off".
    """

    path: str | None = None
    mode: Mode = "record"


@dataclass(frozen=True)
class Phase:
    """A method and its schedule.

    The phase has `rounds` rounds of `problems` problems and trains `epochs` epochs on each round's experience, together
    with `replay` pieces of earlier experience. `updates_per_round` is the number of optimiser steps of a round over all
    epochs, whatever the trainer's `batch_size`; "batch" derives it from `batch_size`.

    A budget ends the phase after the step that reaches it: `max_gradient_tokens` counts the tokens with a weight in the
    loss, `max_seconds` the seconds of playing and learning. With a budget, `rounds` is a limit (None: no limit);
    without one it is a number.
    """

    method: Method
    trainer: TrainerSettings
    rounds: Annotated[int, Gt(0)] | None = None
    problems: Annotated[int, Gt(0)] | None = None
    epochs: Annotated[int, Gt(0)] | None = None
    replay: Annotated[int, Ge(0)] = 0
    updates_per_round: Annotated[int, Gt(0)] | Literal["batch"] | None = None
    max_gradient_tokens: Annotated[int, Gt(0)] | None = None
    max_seconds: Annotated[float, Gt(0)] | None = None

    @property
    def has_budget(self) -> bool:
        """Tell whether the phase may end before its last round."""
        return self.max_gradient_tokens is not None or self.max_seconds is not None

    def spent(self, gradient_tokens: int, seconds: float) -> float:
        """Return the share of the budget that these are, 0 without a budget; of two budgets, the larger share."""
        shares = ((gradient_tokens, self.max_gradient_tokens), (seconds, self.max_seconds))
        return max((used / most for used, most in shares if most is not None), default=0.0)


@dataclass(frozen=True)
class Recipe:
    """All settings and objects of a run.

    `problems`, a key of the task's table, chooses the training problems: the training split again and again ("fixed"),
    or new problems in each round ("fresh") from a task that can generate them.
    """

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
        """Read a recipe from a TOML file, a name from `sparring list recipes`, or a table of the same shape.

        `settings` are changes to it, each `key.path=value`.
        """
        return cls.of(with_settings(source if isinstance(source, Mapping) else load_table(str(source)), settings))

    @classmethod
    def of(cls, table: TomlTable) -> Recipe:
        """Make the recipe that `table` describes."""
        tables = ("learner", "task", "phase", "trainer", "run", "ledger", "budget")
        for name in table:
            if name not in tables:
                raise nearest("table of a recipe", name, tables)
        if not table.get("phase"):
            raise ConfigError("the recipe has no [[phase]]; add one with a method")
        for name in ("learner", "task", "trainer", "run", "ledger", "budget"):
            if not isinstance(table.get(name, {}), Mapping):
                raise ConfigError(f"{name} = {table[name]!r} is not a table; give its keys under [{name}]")
        if not isinstance(table["phase"], list) or not all(isinstance(phase, Mapping) for phase in table["phase"]):
            raise ConfigError(f"phase = {table['phase']!r} is not a list of tables; give each phase under [[phase]]")
        task_table = dict(table.get("task", {}))
        problems = value(Problems, task_table.pop("problems", "fixed"), "in [task]: problems")
        task = make_task(task_table)
        if problems == "fresh" and not isinstance(task, Endless):
            raise ConfigError(f'in [task]: problems = "fresh": {name_of(task)} cannot generate problems; use "fixed"')
        trainer = build(TrainerSettings, table.get("trainer", {}), "[trainer]")
        phases = tuple(_phase(phase, number, task, trainer) for number, phase in enumerate(table["phase"], start=1))
        learner = build(ModelSource, table.get("learner", {}), "[learner]")
        return cls(
            replace(learner, model=learner_of(learner.model)),
            task,
            phases,
            trainer,
            build(RunSettings, table.get("run", {}), "[run]"),
            problems,
            build(LedgerSettings, table.get("ledger", {}), "[ledger]"),
            build(Budget, table.get("budget", {}), "[budget]"),
        )

    def table(self) -> dict[str, Any]:
        """Return the recipe as a table with every key set."""
        return {
            "learner": plain(self.learner),
            "task": {"kind": name_of(self.task), "problems": self.problems, **plain(self.task)},
            "phase": [_phase_table(phase) for phase in self.phases],
            "trainer": plain(self.trainer),
            "run": plain(self.run),
            "ledger": plain(self.ledger),
            "budget": plain(self.budget),
        }

    def toml(self) -> str:
        """Return the recipe as TOML with every key set."""
        return tomlkit.dumps(self.table())


def load_table(source: str) -> dict[str, Any]:
    """Load the table in the file `source`, or the shipped recipe of that name."""
    path = Path(source)
    if path.suffix.lower() in (".yaml", ".yml", ".json"):
        raise ConfigError(f"a recipe is TOML (got {source}); {_AS_TOML}")
    if not os.path.exists(path) and path.suffix != ".toml":
        shipped = shipped_recipes()
        if source not in shipped:
            raise nearest("recipe", source, shipped)
        return tomllib.loads(shipped[source])
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the recipe {source}: {error.strerror}; give a TOML file") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"the recipe {source} is not UTF-8 text; save it as UTF-8") from error
    except (ValueError, RecursionError) as error:  # not TOML, a number too long, nested too deeply
        raise ConfigError(f"the recipe {source} is not valid TOML: {_reason(error)}; correct it") from error


def run_of(place: Path) -> Path | None:
    """Return the folder of the run that `place` is, or of which it is a checkpoint; None if it is neither."""
    resolved = place.resolve()
    folders = [place, *([resolved.parent.parent] if resolved.parent.name == "checkpoints" else [])]
    return next((folder for folder in folders if os.path.exists(folder / "recipe.toml")), None)


def shipped_recipes() -> dict[str, str]:
    """Return the text of the recipes in the package by name, those in folders last (`papers/saie_gsm8k`)."""
    return dict(_recipes_in(files("sparring") / "recipes"))


def _recipes_in(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield name and text of the recipes in `folder`, then those in the folders in it."""
    entries = sorted(folder.iterdir(), key=lambda entry: (entry.is_dir(), entry.name))
    for entry in entries:
        if entry.is_dir():
            yield from _recipes_in(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(".toml"):
            yield prefix + entry.name.removesuffix(".toml"), entry.read_text(encoding="utf-8")


_KEY = r"""(?:"[^"]*"|'[^']*'|[^."'=\s]+)"""  # quoted if it contains dots: budget.prices."gpt-4.1"=[2, 8]
_SETTING = re.compile(rf"\s*({_KEY}(?:\.{_KEY})*)\s*=(.*)", re.DOTALL)


def with_settings(table: TomlTable, settings: Sequence[str]) -> dict[str, Any]:
    """Copy `table` and set each `key.path=value` in it; a phase is `phase.2`, counted from 1, or `phase.tripost`."""
    changed: dict[str, Any] = _copy(table)
    for setting in settings:
        match = _SETTING.fullmatch(setting)
        if not match:
            raise ConfigError(f"--set {setting!r} is not of the form key.path=value; write it so")
        *parents, last = (key.strip("\"'") for key in re.findall(_KEY, match[1]))
        if len(parents) > MAX_DEPTH:
            raise ConfigError(f"--set {match[1][:40]!r}… names {len(parents)} nested tables; no key is so deep")
        table_or_list: Any = changed
        for name in parents:
            table_or_list = _child(table_or_list, name, setting)
        if not isinstance(table_or_list, dict):
            raise ConfigError(
                f"--set {setting!r}: {'.'.join(parents)} is a list; name one of its tables, as in phase.1.rounds=2"
            )
        table_or_list[last] = _copy(_toml_value(match[2].strip()))
    return changed


def _copy(value: Any, depth: int = 0) -> Any:
    """Copy plain data with all its tables and lists."""
    if depth > MAX_DEPTH:
        raise ConfigError(f"a table or list of the recipe is nested more than {MAX_DEPTH} levels deep; remove it")
    if isinstance(value, Mapping):
        return {name: _copy(setting, depth + 1) for name, setting in value.items()}
    return [_copy(item, depth + 1) for item in value] if isinstance(value, list | tuple) else value


def _child(parent: Any, name: str, setting: str) -> Any:
    """Return the table or list called `name` in `parent`; a missing one in a table is added."""
    child: Any = parent.setdefault(name, {}) if isinstance(parent, dict) else None
    if isinstance(parent, list):
        numbered = parent[int(name) - 1 : int(name)] if name.isdigit() and name != "0" else []
        child = next(iter(numbered or [phase for phase in parent if phase.get("method") == name]), None)
    if not isinstance(child, dict | list):
        raise ConfigError(
            f"--set {setting!r}: there is no table {name!r}; name phases phase.1, phase.2 or phase.<method>"
        )
    return child


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text  # a bare word is a string
    except (ValueError, RecursionError) as error:  # a number too long, nested too deeply
        raise ConfigError(f"--set …={text[:40]}… is not valid TOML: {_reason(error)}; correct it") from error


def _reason(error: ValueError | RecursionError) -> str:
    if isinstance(error, tomllib.TOMLDecodeError):
        return str(error)
    return "it is nested too deeply" if isinstance(error, RecursionError) else "a number in it has too many digits"


_BUDGET = ("max_gradient_tokens", "max_seconds")
_PHASE_KEYS = ("method", "rounds", "problems", "epochs", "replay", "updates_per_round", *_BUDGET, "trainer")


def _phase(table: TomlTable, number: int, task: Task, trainer: TrainerSettings) -> Phase:
    """Make phase `number`, counted from 1; `trainer` holds the settings that the phase does not override."""
    where = f"phase {number}"
    if "method" not in table:
        raise ConfigError(f"in {where}: the key method is missing; choose from {', '.join(METHODS)}")
    name = table["method"]
    where = f"{where} ({name})"
    kinds, optional = role_fields(METHODS[name]), optional_roles(METHODS[name])
    filled = [role for role in kinds if role in table or role not in optional]
    roles = dict.fromkeys(kinds) | {role: _role(role, kinds[role], table, task, where) for role in filled}
    settings = {key: setting for key, setting in table.items() if key not in (*_PHASE_KEYS, *roles)}
    method = make_method(name, settings, roles, where, _PHASE_KEYS)
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
            f"in {where}: updates_per_round is not a multiple of epochs (got {updates} and {epochs}); change one"
        )
    rounds = phase.rounds or (None if phase.has_budget else 1)
    problems = phase.problems or schedule.problems
    return replace(phase, rounds=rounds, problems=problems, epochs=epochs, updates_per_round=updates)


def _role(role: str, kind: Any, table: TomlTable, task: Task, where: str) -> Any:
    """Make the partner for one role from its table in the phase's `table`."""
    if role not in table:
        raise ConfigError(
            f'in {where}: the role {role} is empty; add a table [phase.{role}] with by = "task" or a speaker'
        )
    return make_partner(role, kind, table[role], task, f"{where}: {role}")


def _phase_table(phase: Phase) -> dict[str, Any]:
    """Return a phase as a table with every key set."""
    method = phase.method
    roles = [role for role in role_fields(type(method)) if getattr(method, role) is not None]
    return {
        "method": name_of(method),
        **plain(phase, without=("method", "trainer")),
        **plain(method, without=tuple(role_fields(type(method)))),
        **{role: partner_table(getattr(method, role)) for role in roles},
        "trainer": plain(phase.trainer),
    }
