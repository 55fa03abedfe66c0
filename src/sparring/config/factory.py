"""Names and tables of a recipe as tasks, methods, partners and speakers, and back.

A role is filled by the task's own program (`by = "task"`), by a speaker (`by = "endpoint"`, with the role's prompts
around it, or as a partner that is made for it, such as `reward_judge`), or by a partner of its own name. Whether the
task has what they need is said at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_type_hints

from sparring.common.errors import ConfigError, nearest
from sparring.common.registry import Catalogue
from sparring.common.schema import TomlTable, build, keys, plain
from sparring.core.method import Method
from sparring.core.partner import CRITIC, DISCUSSANT, EDITOR, JUDGE, Critic, Discussant, Editor, Judge, Nobody
from sparring.core.speaker import Speaker
from sparring.core.task import Offer, Task, offers

METHODS = Catalogue("sparring.methods", "method")
TASKS = Catalogue("sparring.tasks", "task")
PARTNERS = Catalogue("sparring.partners", "partner")
SPEAKERS = Catalogue("sparring.speakers", "speaker")
PROTOCOLS = Catalogue("sparring.protocols", "protocol")

ROLES: dict[Any, str] = {Discussant: DISCUSSANT, Critic: CRITIC, Editor: EDITOR, Judge: JUDGE}


def make_task(table: TomlTable) -> Task:
    """The task that a `[task]` table tells."""
    if "kind" not in table:
        raise ConfigError(f"in [task]: the key kind is missing; there is {', '.join(TASKS)}")
    if not isinstance(table["kind"], str):
        raise ConfigError(f"in [task]: kind = {table['kind']!r} is not a name; there is {', '.join(TASKS)}")
    rest = {name: setting for name, setting in table.items() if name != "kind"}
    task = build(TASKS[table["kind"]], rest, f"[task] ({table['kind']})")
    if not isinstance(task, Task):
        raise ConfigError(f"in [task]: {table['kind']!r} is not a task: it lacks {_lacking(task, Task)}")
    return task


def make_method(
    name: str, table: TomlTable, roles: Mapping[str, Any], where: str, others: Sequence[str] = ()
) -> Method:
    """The method called `name` with its settings from `table` and its roles filled; `others` are further keys to name
    when one is unknown."""
    kind = METHODS[name]
    settings = {key: hint for key, hint in keys(kind).items() if key not in roles}
    for key in table:
        if key not in settings:
            raise ConfigError(f"in {where}: {nearest('key', key, [*settings, *roles, *others])}")
    method = build(kind, table, where, **roles)
    if not isinstance(method, Method):
        raise ConfigError(f"in {where}: {name!r} is not a method: it lacks {_lacking(method, Method)}")
    return method


def for_use(name: str, settings: TomlTable) -> Method:
    """The method called `name` for answering only, with nobody in its roles."""
    return make_method(name, settings, dict.fromkeys(role_fields(METHODS[name]), Nobody()), name)


def role_fields(kind: type) -> dict[str, Any]:
    """The fields of a method that are roles, with the protocol each asks for."""
    hints = get_type_hints(kind, include_extras=True)
    return {name: hints[name] for name in keys(kind) if hints[name] in ROLES}


def make_partner(role: str, kind: Any, table: TomlTable, task: Task, where: str) -> Any:
    """Who fills `role`: the task's own program, a speaker, or a partner by its name."""
    if not isinstance(table, Mapping):
        raise ConfigError(f'in {where} = {table!r} is not a table; give [phase.{role}] with by = "task", or a speaker')
    by = table.get("by")
    if not isinstance(by, str):
        raise ConfigError(f'in {where}: the key by is missing; give by = "task", a speaker ({", ".join(SPEAKERS)})')
    rest = {key: setting for key, setting in table.items() if key != "by"}
    given: dict[str, Any] = {}
    if by == "task":
        found = PARTNERS[f"task_{ROLES[kind]}"]
    elif by in SPEAKERS.modules():
        found = _around(by, ROLES[kind], where)
        own = keys(found).keys() - {"speaker", "task"}
        spoken = {key: rest.pop(key) for key in list(rest) if key not in own}
        given["speaker"] = make_speaker(by, spoken, where, [*own])
    elif "." in by or by in PARTNERS:
        found = PARTNERS[by]
    else:
        raise ConfigError(f"in {where}: {nearest('partner', by, ['task', *SPEAKERS.modules(), *PARTNERS])}")
    if "task" in keys(found):
        given["task"] = task
    if "speaker" in keys(found) and "speaker" not in given and "speaker" in rest:
        told = rest.pop("speaker")
        if not isinstance(told, Mapping) or "by" not in told:
            raise ConfigError(f"in {where}: speaker = {told!r}: give a table with by = one of {', '.join(SPEAKERS)}")
        if by == f"model_{ROLES[kind]}" and _around(told["by"], ROLES[kind], where) is not found:
            raise ConfigError(
                f"in {where}: {told['by']!r} cannot reply to the prompts of {by}; give by = {told['by']!r}"
            )
        given["speaker"] = make_speaker(told["by"], {key: told[key] for key in told if key != "by"}, where)
    partner = build(found, rest, where, **given)
    if not isinstance(partner, kind):
        raise ConfigError(f"in {where}: {by!r} cannot be a {ROLES[kind]}: it has no {_verb(kind)}")
    check_needs(partner, task, where)
    return partner


def _around(by: str, role: str, where: str) -> type:
    """The partner as which the speaker `by` fills `role`: one made for it, where it has any, or the role's prompts."""
    own = [role for role in ROLES.values() if f"{by}_{role}" in PARTNERS.modules()]
    if own and role not in own:
        raise ConfigError(f"in {where}: by = {by!r} can only be a {' or a '.join(own)}; let another fill the {role}")
    return PARTNERS[f"{by}_{role}" if own else f"model_{role}"]


def make_speaker(by: str, table: TomlTable, where: str, others: Sequence[str] = ()) -> Speaker:
    """The speaker called `by`; `others` are further keys to name when one is unknown."""
    kind = SPEAKERS[by]
    for key in table:
        if key not in keys(kind):
            raise ConfigError(f"in {where}: {nearest('key', key, [*keys(kind), *others])}")
    speaker = build(kind, table, where)
    if not isinstance(speaker, Speaker):
        raise ConfigError(f"in {where}: {by!r} is not a speaker: it lacks {_lacking(speaker, Speaker)}")
    return speaker


def _lacking(thing: Any, protocol: Any) -> str:
    """What of `protocol` the `thing` has not."""
    wanted = {*dir(protocol), *protocol.__annotations__}
    return ", ".join(sorted(name for name in wanted if not name.startswith("_") and not hasattr(thing, name)))


def _verb(kind: Any) -> str:
    return str(next(name for name in vars(kind) if not name.startswith("_")))


_MEANING: dict[Offer, str] = {
    "gold": "gold answers",
    "rationale": "rationales (worked answers)",
    "first_error": "a checker that finds the first wrong step",
    "solution": "a solver",
    "claims": "hints and false claims",
}


def check_needs(thing: Any, task: Task, where: str) -> None:
    """ConfigError if `task` lacks what `thing` needs."""
    missing = sorted(getattr(thing, "needs", frozenset()) - offers(task))
    if missing:
        lacking = " and ".join(_MEANING[offer] for offer in missing)
        raise ConfigError(
            f"in {where}: {name_of(thing)} needs {lacking}, which the task {name_of(task)} does not have; "
            f"{_remedy(thing, missing)}"
        )


def _remedy(thing: Any, missing: Sequence[Offer]) -> str:
    if not isinstance(thing, Method):
        return "choose another task, or let a speaker fill the role"
    return "choose another task, or give its data (answer_column, rationale_column of a table)"


def name_of(thing: Any) -> str:
    """What a recipe calls a thing: its name, or the dotted path of one from outside the package."""
    kind: Any = type(thing)
    return str(kind.name) if kind.__module__.startswith("sparring.") else f"{kind.__module__}.{kind.__qualname__}"


def told_partner(partner: Any) -> dict[str, Any]:
    """A partner as the table that makes it."""
    own = plain(partner, without=("task", "speaker"))
    speaker, name = getattr(partner, "speaker", None), name_of(partner)
    if speaker is None:
        return {"by": "task" if name.startswith("task_") else name, **own}
    by, spoken = name_of(speaker), plain(speaker)
    if name.startswith(("model_", f"{by}_")):
        return {"by": by, **own, **spoken}
    return {"by": name, "speaker": {"by": by, **spoken}, **own}
