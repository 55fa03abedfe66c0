"""Converts a TOML file, or the words of a command, into the objects of an evaluation, and back.

Its tables are `[[learner]]`, `[task]`, `[protocol]` (with a table for each role), `[evaluation]`, `[ledger]` and
`[budget]`. A learner is a run, a checkpoint, a model (`model = …`, with the keys of a recipe's learner) or a speaker
(`by = "endpoint"`, with the keys of that speaker). Everything is checked before a model is loaded or a call is paid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tomlkit
from annotated_types import Ge, Gt, Interval, Len

from sparring.common.errors import ConfigError, nearest
from sparring.common.schema import ADJUSTABLE, TomlTable, build, plain
from sparring.config.factory import (
    PROTOCOLS,
    SPEAKERS,
    check_needs,
    is_speaker,
    make_partner,
    make_protocol,
    make_speaker,
    make_task,
    name_of,
    partner_table,
    role_fields,
)
from sparring.config.recipe import LedgerSettings, Recipe, load_table, run_of, with_settings
from sparring.core.protocol import EvaluationProtocol
from sparring.core.speaker import Speaker
from sparring.core.task import Problem, Split, Task
from sparring.ledger import Budget
from sparring.models.source import ModelSource, check_learner

TABLES = ("learner", "task", "protocol", "evaluation", "ledger", "budget")


@dataclass(frozen=True)
class EvaluationSettings:
    """Which problems are asked, and how.

    The first `problems` of `split` (None: all) are asked, `at_once` at a time. `seed` names the random streams of
    sampling. With `plain`, a learner gives a single reply of at most `max_tokens` instead of the procedure that its
    method adds at use; learners without a method always do. The evaluation stops if learners give no reply to more than
    the share `max_unavailable` of the problems.
    """

    split: Split = "test"
    problems: Annotated[int, Gt(0)] | None = None
    seed: Annotated[int, Ge(0)] = 0
    at_once: Annotated[int, Gt(0)] = 512
    plain: bool = False
    max_tokens: Annotated[int, Gt(0)] = 512
    max_unavailable: Annotated[float, Interval(ge=0, le=1), ADJUSTABLE] = 0.2


@dataclass(frozen=True)
class EvaluationRecipe:
    """All settings and objects of an evaluation."""

    learners: Annotated[tuple[ModelSource | Speaker, ...], Len(1)]
    task: Task
    protocol: EvaluationProtocol
    settings: EvaluationSettings = field(default_factory=EvaluationSettings)
    ledger: LedgerSettings = field(default_factory=LedgerSettings)
    budget: Annotated[Budget, ADJUSTABLE] = field(default_factory=Budget)

    @classmethod
    def read(
        cls, source: str | Path | TomlTable, learners: Sequence[str] = (), settings: Sequence[str] = ()
    ) -> EvaluationRecipe:
        """Read a TOML file or a table of the same shape.

        `learners` are runs, models or names of models at an endpoint; if the table has one `[[learner]]`, each takes
        its keys. `settings` are changes, each `key.path=value`; `learner.key=value` changes all learners.
        """
        table = dict(source) if isinstance(source, Mapping) else load_table(str(source))
        common = [setting for setting in settings if _is_about_learners(setting)]
        table = with_settings(table, [setting for setting in settings if setting not in common])
        rows = table.get("learner", [])
        if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
            raise ConfigError(f"learner = {rows!r} is not a list of tables; give each learner under [[learner]]")
        if learners:
            shared = rows[0] if len(rows) == 1 else {}
            rows = [{**shared, "model": name} for name in learners]
        changes = [setting.strip().removeprefix("learner.") for setting in common]
        rows = rows or [{}] * bool(changes)  # the settings alone may name a learner
        return cls.of({**table, "learner": [with_settings(row, changes) for row in rows]})

    @classmethod
    def of(cls, table: TomlTable) -> EvaluationRecipe:
        """Make the evaluation that `table` describes. Without a task, it is that of the first learner's run."""
        for name, inner in table.items():
            if name not in TABLES and not isinstance(inner, Mapping):
                keys = " or ".join(f"{table}.{name}" for table in ("task", "protocol", "evaluation"))
                raise ConfigError(f"the key {name!r} is in no table of the evaluation; write {keys}")
            if name not in TABLES:
                raise nearest("table of an evaluation", name, TABLES)
            if name != "learner" and not isinstance(inner, Mapping):
                raise ConfigError(f"{name} = {inner!r} is not a table; give its keys under [{name}]")
        if not table.get("learner") or not all(row.get("model") or row.get("by") for row in table["learner"]):
            raise ConfigError("the evaluation names no learner; give a run, a model folder or a hub id")
        task = make_task(_task_table(table))
        protocol = _protocol(table.get("protocol", {}), task)
        learners = tuple(make_learner(row, f"learner {number}") for number, row in enumerate(table["learner"], start=1))
        fewest, most = protocol.learners
        if not fewest <= len(learners) <= (most or len(learners)):
            wanted = str(fewest) if most == fewest else f"{fewest} or more" if most is None else f"{fewest} to {most}"
            raise ConfigError(
                f"the protocol {protocol.name} needs {wanted} learners (got {len(learners)}); name so many"
            )
        return cls(
            learners,
            task,
            protocol,
            build(EvaluationSettings, table.get("evaluation", {}), "[evaluation]"),
            build(LedgerSettings, table.get("ledger", {}), "[ledger]"),
            build(Budget, table.get("budget", {}), "[budget]"),
        )

    def problems(self) -> list[Problem]:
        """Return the problems to ask; ConfigError if there are none."""
        chosen = list(self.task.problems(self.settings.split)[: self.settings.problems])
        if not chosen:
            raise ConfigError(f"the task has no {self.settings.split} problems; choose another split")
        return chosen

    def table(self) -> dict[str, Any]:
        """Return the evaluation as a table with every key set."""
        roles = role_fields(type(self.protocol))
        return {
            "learner": [_learner_table(learner) for learner in self.learners],
            "task": {"kind": name_of(self.task), **plain(self.task)},
            "protocol": {
                "kind": name_of(self.protocol),
                **plain(self.protocol, without=tuple(roles)),
                **{role: partner_table(getattr(self.protocol, role)) for role in roles},
            },
            "evaluation": plain(self.settings),
            "ledger": plain(self.ledger),
            "budget": plain(self.budget),
        }

    def toml(self) -> str:
        """Return the evaluation as TOML with every key set."""
        return tomlkit.dumps(self.table())


def table_of_task(task: str | Path | TomlTable | Task | Recipe) -> dict[str, Any]:
    """Return the table of `task`: of the task itself, or that in a recipe or a recipe's file."""
    if isinstance(task, Mapping):
        return dict(task)
    if isinstance(task, str | Path):
        is_file = Path(task).suffix == ".toml"
        table = dict(load_table(str(task)).get("task", {})) if is_file else {"kind": str(task)}
    elif isinstance(task, Recipe):
        table = task.table()["task"]
    else:
        table = {"kind": name_of(task), **plain(task)}
    table.pop("problems", None)  # a key of the run ("fixed" or "fresh"), not of the task
    return table


def _is_about_learners(setting: str) -> bool:
    """Return whether a setting changes all learners; `learner.2.key` changes one."""
    parts = setting.partition("=")[0].strip().split(".")
    return parts[0] == "learner" and not parts[1].isdigit() if len(parts) > 1 else False


def _task_table(table: TomlTable) -> dict[str, Any]:
    """Return the task's table: as given, or that of the run that the first learner is from, with the given keys."""
    given = dict(table.get("task", {}))
    if "kind" in given:
        return given
    learner = table["learner"][0]
    model = str(learner.get("model") or learner["by"])
    run = run_of(Path(model))
    if run is None:
        if "by" not in learner:
            check_learner(model)  # a mistyped path is the likelier mistake
        raise ConfigError(f"{model} is not a run, so the task is unknown; name one with --task")
    return {**table_of_task(run / "recipe.toml"), **given}


def make_learner(row: TomlTable, where: str) -> ModelSource | Speaker:
    """Make the learner of the table `row`: a speaker if it has the key `by`, else a run or a model."""
    if "by" not in row:
        source: ModelSource = build(ModelSource, row, where)
        check_learner(source.model)
        return source
    if not isinstance(row["by"], str) or not is_speaker(row["by"]):
        raise ConfigError(f"in {where}: {nearest('speaker', str(row['by']), SPEAKERS)}")
    return make_speaker(row["by"], {key: setting for key, setting in row.items() if key != "by"}, where)


def _learner_table(learner: ModelSource | Speaker) -> dict[str, Any]:
    return plain(learner) if isinstance(learner, ModelSource) else {"by": name_of(learner), **plain(learner)}


def _protocol(table: TomlTable, task: Task) -> EvaluationProtocol:
    """Make the protocol; a role without a table is filled by the task's own program."""
    name = table.get("kind", "solo")
    where = f"[protocol] ({name})"
    roles = {
        role: make_partner(role, kind, table.get(role, {"by": "task"}), task, f"{where}: {role}")
        for role, kind in role_fields(PROTOCOLS[name]).items()
    }
    settings = {key: setting for key, setting in table.items() if key not in ("kind", *roles)}
    protocol = make_protocol(name, settings, roles, where)
    check_needs(protocol, task, where)
    return protocol
