"""Makes tasks, methods, partners and speakers from the names and tables of a recipe, and converts them back.

The key `by` of a role names one of four things: the task's own program (`by = "task"`), a speaker
(`by = "endpoint"`), or a partner by its name. A function (`by = "my_file.py:score"`) is asked by the role's partner in
`partners/function_<role>.py`. A speaker is wrapped in the partner class that is made for it, such as
`reward_judge`, or else in the class that holds the role's prompts. A partner class states in its class attribute `by`
what stands for it in a recipe: "task", "function", a speaker's name, or "speaker" for any speaker. Missing abilities of
the task are reported at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_type_hints

from sparring.common.errors import ConfigError, nearest
from sparring.common.functions import is_lost, load_function, name_of_function
from sparring.common.registry import Catalogue
from sparring.common.schema import TomlTable, build, keys, plain
from sparring.core.function_partner import FUNCTION
from sparring.core.function_task import task_of
from sparring.core.method import Method
from sparring.core.partner import (
    AUTHOR,
    CRITIC,
    DISCUSSANT,
    EDITOR,
    JUDGE,
    Author,
    Critic,
    Discussant,
    Editor,
    Judge,
    Nobody,
)
from sparring.core.protocol import EvaluationProtocol
from sparring.core.speaker import Speaker
from sparring.core.task import Offer, ReadOnDemand, Task, offers, offers_of

METHODS = Catalogue("sparring.methods", "method")
TASKS = Catalogue("sparring.tasks", "task")
PARTNERS = Catalogue("sparring.partners", "partner")
SPEAKERS = Catalogue("sparring.speakers", "speaker")
PROTOCOLS = Catalogue("sparring.protocols", "protocol")

ROLES: dict[Any, str] = {Discussant: DISCUSSANT, Critic: CRITIC, Editor: EDITOR, Judge: JUDGE, Author: AUTHOR}


def make_task(table: TomlTable) -> Task:
    """Make the task that a `[task]` table describes."""
    if "kind" not in table:
        raise ConfigError(f"in [task]: the key kind is missing; choose from {', '.join(TASKS)}")
    kind = table["kind"]
    if not isinstance(kind, str) and not callable(kind):
        raise ConfigError(f"in [task]: kind = {kind!r} is not a name; choose from {', '.join(TASKS)}")
    name = kind if isinstance(kind, str) else kind.__name__
    rest = {key: setting for key, setting in table.items() if key != "kind"}
    task: Task = build(_task_class(kind), rest, f"[task] ({name})")
    _check_interface(task, Task, name, "[task]")
    return task


def _task_class(kind: str | Callable[..., Any]) -> type:
    """Return the class of a task from its name, or in Python from the class or the function itself."""
    if isinstance(kind, str):
        path = TASKS.function(kind)
        return TASKS[kind] if path is None else task_of(load_function(path))
    return kind if isinstance(kind, type) else task_of(kind)


def make_method(
    name: str, table: TomlTable, roles: Mapping[str, Any], where: str, others: Sequence[str] = ()
) -> Method:
    """Make the method `name` with the settings in `table` and the partners in `roles`.

    The error for an unknown key also lists the keys in `others`.
    """
    method: Method = _with_roles(METHODS[name], table, roles, where, others)
    _check_interface(method, Method, name, where)
    return method


def make_protocol(name: str, table: TomlTable, roles: Mapping[str, Any], where: str) -> EvaluationProtocol:
    """Make the evaluation protocol `name` with the settings in `table` and the partners in `roles`."""
    protocol: EvaluationProtocol = _with_roles(PROTOCOLS[name], table, roles, where)
    _check_interface(protocol, EvaluationProtocol, name, where)
    return protocol


def _with_roles(kind: type, table: TomlTable, roles: Mapping[str, Any], where: str, others: Sequence[str] = ()) -> Any:
    settings = [key for key in keys(kind) if key not in roles]
    for key in table:
        if key not in settings:
            raise ConfigError(f"in {where}: {nearest('key', key, [*settings, *roles, *others])}")
    return build(kind, table, where, **roles)


def for_use(name: str, settings: TomlTable) -> Method:
    """Make the method `name` for answering only; its roles stay empty."""
    return make_method(name, settings, dict.fromkeys(role_fields(METHODS[name]), Nobody()), name)


def role_fields(kind: type) -> dict[str, Any]:
    """Return the fields of a method or evaluation protocol that are roles, with the interface of each.

    A role that may be empty (`Author | None`) is one, too.
    """
    hints = get_type_hints(kind, include_extras=True)
    interfaces = {name: _without_none(hints[name]) for name in keys(kind)}
    return {name: interface for name, interface in interfaces.items() if interface in ROLES}


def optional_roles(kind: type) -> frozenset[str]:
    """Return the names of the roles that may be empty."""
    return frozenset(field.name for field in fields(kind) if field.name in role_fields(kind) and field.default is None)


def _without_none(hint: Any) -> Any:
    """Return the one other type of `hint` if it is a union with None, else `hint`."""
    others = [kind for kind in get_args(hint) if kind is not type(None)]
    return others[0] if type(None) in get_args(hint) and len(others) == 1 else hint


def make_partner(role: str, kind: Any, table: TomlTable, task: Task, where: str) -> Any:
    """Make the partner for the field `role`, of the protocol `kind`, from its `table`.

    In Python, a function or a partner may stand for the table.
    """
    if is_dataclass(table) and isinstance(table, kind) and not isinstance(table, type):
        check_needs(table, task, where)
        return table
    if callable(table):
        table = {"by": table}
    if not isinstance(table, Mapping):
        raise ConfigError(f'in {where} = {table!r} is not a table; give [phase.{role}] with by = "task", or a speaker')
    by, settings = _by_and_settings(table)
    if not isinstance(by, str):
        raise ConfigError(
            f'in {where}: the key by is missing; give by = "task", or by = a speaker ({", ".join(SPEAKERS)})'
        )
    given: dict[str, Any] = {}
    if by in ("task", FUNCTION):
        partner_class = _class_for(by, kind)
    elif is_speaker(by):
        partner_class = _class_around(by, kind, where)
        own = keys(partner_class).keys() - {"speaker", "task"}
        speaker_settings = {key: settings.pop(key) for key in list(settings) if key not in own}
        given["speaker"] = make_speaker(by, speaker_settings, where, [*own])
    elif "." in by or by in PARTNERS:
        partner_class = PARTNERS[by]
    else:
        known = ["task", *SPEAKERS.modules(), *SPEAKERS.plugins(), *PARTNERS]
        raise ConfigError(f"in {where}: {nearest('partner', by, known)}, or name a function, as in my_file.py:{role}")
    if "task" in keys(partner_class):
        given["task"] = task
    if "speaker" in keys(partner_class) and "speaker" not in given and "speaker" in settings:
        given["speaker"] = _own_speaker(by, partner_class, kind, settings.pop("speaker"), where)
    partner = build(partner_class, settings, where, **given)
    if not isinstance(partner, kind):
        raise ConfigError(
            f"in {where}: {by!r} cannot be the {ROLES[kind]}: it has no {_verb(kind)}; choose another partner"
        )
    check_needs(partner, task, where)
    return partner


def _by_and_settings(table: TomlTable) -> tuple[Any, dict[str, Any]]:
    """Return what `table` names by `by`, and its other keys; a function becomes a key of the partner that asks it."""
    by, settings = table.get("by"), {key: setting for key, setting in table.items() if key != "by"}
    if isinstance(by, type):
        return f"{by.__module__}.{by.__qualname__}", settings
    if not isinstance(by, str):
        return (FUNCTION, {FUNCTION: by, **settings}) if callable(by) else (by, settings)
    is_known = by in ("task", FUNCTION) or by in SPEAKERS.modules() or by in PARTNERS.modules()
    path = by if is_lost(by) else None if is_known else PARTNERS.function(by)
    return (by, settings) if path is None else (FUNCTION, {FUNCTION: path, **settings})


def is_speaker(name: str) -> bool:
    """Return whether `name` is that of a speaker, in this package, an installed one or at a dotted path."""
    if "." in name:
        return hasattr(PARTNERS[name], "reply")
    return name in SPEAKERS.modules() or name in SPEAKERS.plugins()


def _own_speaker(by: str, partner_class: type, kind: Any, table: Any, where: str) -> Speaker:
    """Make the speaker of a partner that the recipe names itself, from the table under its key `speaker`."""
    if not isinstance(table, Mapping) or "by" not in table:
        raise ConfigError(
            f"in {where}: speaker = {table!r} is not a table with by; give by = one of {', '.join(SPEAKERS)}"
        )
    name = table["by"]
    if partner_class is _class_for("speaker", kind) and _class_around(name, kind, where) is not partner_class:
        raise ConfigError(f"in {where}: {name!r} cannot reply to the prompts of {by}; give by = {name!r}")
    return make_speaker(name, {key: setting for key, setting in table.items() if key != "by"}, where)


def roles_made_for(speaker: str) -> list[str]:
    """Return the roles that have a partner class made for the speaker, such as "judge" for "reward"."""
    return [role for kind, role in ROLES.items() if _class_for(speaker, kind) is not None]


def _class_around(speaker: str, kind: Any, where: str) -> type:
    """Return the partner class that wraps the speaker: one made for it if there is any, else the role's prompts."""
    role, own = ROLES[kind], roles_made_for(speaker)
    if own and role not in own:
        raise ConfigError(
            f"in {where}: by = {speaker!r} can only be a {' or a '.join(own)}; choose another speaker for the {role}"
        )
    wrapper: type = _class_for(speaker if own else "speaker", kind)
    return wrapper


def _class_for(by: str, kind: Any) -> Any:
    """Return the partner class with the class attribute `by` that fills the role `kind`, or None.

    Classes of installed packages are imported only for a speaker that is not in this package.
    """
    is_own = by in ("task", "speaker", FUNCTION) or by in SPEAKERS.modules()
    classes = PARTNERS.own().values() if is_own else PARTNERS.classes()
    return next((c for c in classes if vars(c).get("by") == by and hasattr(c, _verb(kind))), None)


def make_speaker(by: str, table: TomlTable, where: str, others: Sequence[str] = ()) -> Speaker:
    """Make the speaker `by`. The error for an unknown key also lists the keys in `others`."""
    kind = SPEAKERS[by]
    for key in table:
        if key not in keys(kind):
            raise ConfigError(f"in {where}: {nearest('key', key, [*keys(kind), *others])}")
    speaker: Speaker = build(kind, table, where)
    _check_interface(speaker, Speaker, by, where)
    return speaker


def _check_interface(thing: Any, interface: Any, name: str, where: str) -> None:
    """Raise ConfigError that lists what `thing`, called `name` in the recipe, lacks of `interface`."""
    if not isinstance(thing, interface):
        names = {*dir(interface), *interface.__annotations__}
        missing = ", ".join(sorted(n for n in names if not n.startswith("_") and not hasattr(thing, n)))
        kind = "protocol" if interface is EvaluationProtocol else interface.__name__.lower()
        raise ConfigError(f"in {where}: {name!r} is not a {kind} (it has no {missing}); add what is missing")


def _verb(kind: Any) -> str:
    """Return the name of the one method of a role's protocol."""
    return str(next(name for name in vars(kind) if not name.startswith("_")))


_ABILITIES: dict[Offer, str] = {
    "question": "questions",
    "gold": "gold answers",
    "rationale": "rationales (worked answers)",
    "worked": "replies to imitate (an answer, a completion, an assistant's turn)",
    "thoughts": "a thought or a gold answer in every row",
    "preference": "a chosen and a rejected reply in every row",
    "first_error": "a checker that finds the first wrong step",
    "solution": "a solver",
    "claims": "hints and false claims",
}


def check_needs(thing: Any, task: Task, where: str) -> None:
    """Raise ConfigError if `task` lacks an ability that `thing`, a method or partner, needs."""
    missing = sorted(getattr(thing, "needs", frozenset()) - offers(task))
    if missing:
        abilities = " and ".join(_ABILITIES[offer] for offer in missing)
        lack = _those_that_lack(task, missing) or f"the task {name_of(task)} does not have; {_remedy(thing, missing)}"
        raise ConfigError(f"in {where}: {name_of(thing)} needs {abilities}, which {lack}")


def _those_that_lack(task: Task, missing: Sequence[Offer]) -> str | None:
    """Describe the problems that lack what is `missing`, if others have it."""
    problems = task.problems("train")
    if isinstance(problems, ReadOnDemand):
        return None
    lacking = [problem for problem in problems if not offers_of([problem]).issuperset(missing)]
    if not 0 < len(lacking) < len(problems):
        return None
    return (
        f"{len(lacking)} of {len(problems)} training problems lack (the first: {lacking[0].chat.text[:60]!r}); "
        "complete or remove them"
    )


def _remedy(thing: Any, missing: Sequence[Offer]) -> str:
    if isinstance(thing, EvaluationProtocol):
        return "choose another protocol (`sparring list protocols`), or another task"
    if not isinstance(thing, Method):
        return "choose another task, or a speaker for this role"
    return "choose another task, or add the data (of a table: columns of a format in docs/your_data.md)"


def name_of(thing: Any) -> str:
    """Return the name of a thing in a recipe: its `name`, or its path if it is not from this package."""
    kind: Any = type(thing)
    if kind.__module__.startswith("sparring."):
        return str(kind.name)
    if kind.__module__ == "__main__" or kind.__module__.endswith(".py"):
        named = map(name_of_function, (kind, getattr(kind, "function", kind)))  # a task may be a plain function
        return next((name for name in named if not is_lost(name)), f"{kind.__module__}.{kind.__qualname__}")
    return f"{kind.__module__}.{kind.__qualname__}"


def partner_table(partner: Any) -> dict[str, Any]:
    """Return the table from which `make_partner` makes `partner`."""
    own = plain(partner, without=("task", "speaker"))
    speaker, name, by = getattr(partner, "speaker", None), name_of(partner), vars(type(partner)).get("by")
    if speaker is None:
        return {"by": by if by in ("task", FUNCTION) else name, **own}
    speaker_name, speaker_settings = name_of(speaker), plain(speaker)
    if by in ("speaker", speaker_name):
        return {"by": speaker_name, **own, **speaker_settings}
    return {"by": name, "speaker": {"by": speaker_name, **speaker_settings}, **own}


def partner_choices(kind: Any) -> dict[str, tuple[type, ...]]:
    """Return what `by` may name in the table of the role `kind`, and the classes whose fields are then its keys."""
    choices: dict[str, tuple[type, ...]] = {}
    if (program := _class_for("task", kind)) is not None:
        choices["task"] = (program,)
    for speaker in SPEAKERS:
        with suppress(ConfigError):  # a speaker that is made for another role
            choices[speaker] = (_class_around(speaker, kind, ""), SPEAKERS[speaker])
    named = {name: (PARTNERS[name],) for name in PARTNERS if hasattr(PARTNERS[name], _verb(kind))}
    return named | choices
