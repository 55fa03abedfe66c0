"""The JSON schema of recipes, for editors: made from the same dataclasses that read a recipe.

A table whose keys depend on a name (`kind`, `method`, `by`) has one alternative for each name, and one for a dotted
path, whose keys are unknown. Descriptions are the sentences of docstrings that name a key. The dialect is draft 7,
which the TOML plugins of editors read. Not checked by a schema: what the task offers, files, relations between keys.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any

from pydantic import BeforeValidator, TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema

from sparring.common.registry import Catalogue, first_sentence
from sparring.common.schema import keys
from sparring.config.factory import METHODS, SPEAKERS, TASKS, optional_roles, partner_choices, role_fields
from sparring.config.recipe import LedgerSettings, Phase, Problems, RunSettings
from sparring.ledger import Budget
from sparring.models.source import ModelSource
from sparring.training.settings import TrainerSettings

Json = dict[str, Any]

_ELSEWHERE = r"[.:]"  # in a dotted path or a function in a file
_DEFINITIONS = "definitions"
_TRAINER = f"#/{_DEFINITIONS}/trainer"


def recipe_schema() -> Json:
    """Return the JSON schema of a recipe, as plain data."""
    definitions: Json = {}
    definitions["trainer"] = _table(TrainerSettings, definitions)
    tables = {
        "learner": _table(ModelSource, definitions),
        "task": _by_name("kind", TASKS, _task_table, definitions),
        "phase": {"type": "array", "minItems": 1, "items": _by_name("method", METHODS, _phase_table, definitions)},
        "trainer": {"$ref": _TRAINER},
        "run": _table(RunSettings, definitions),
        "ledger": _table(LedgerSettings, definitions),
        "budget": _table(Budget, definitions),
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "sparring recipe",
        **_object(tables, ["task", "phase"]),
        _DEFINITIONS: definitions,
    }


def _by_name(key: str, catalogue: Catalogue, table: Any, definitions: Json) -> Json:
    """Return the schema of a table in which `key` names a class of `catalogue`; `table` makes each alternative."""
    tables = {name: table(catalogue[name], definitions) for name in catalogue}
    return _alternatives(key, tables, catalogue.kind, definitions)


def _alternatives(key: str, tables: Mapping[str, Json], kind: str, definitions: Json) -> Json:
    """Return the schema of a table with one of `tables`, by the name under `key`, or any keys beside a dotted path.

    Editors complete from `anyOf`. With `if` and `then` they say which key of the named table is wrong.
    """
    elsewhere = {"type": "string", "pattern": _ELSEWHERE, "description": f"a {kind} of yours, as module.Class"}
    open_tables, rules = [], []
    for name, table in tables.items():
        properties = {key: {"const": name, "description": table["description"]}, **table["properties"]}
        definitions[f"{kind}.{name}"] = {"type": "object", "properties": properties}
        reference = {"$ref": f"#/{_DEFINITIONS}/{kind}.{name}"}
        names, required = {"enum": [*properties]}, [key, *table.get("required", [])]
        open_tables.append(reference)
        condition = {"properties": {key: {"const": name}}, "required": [key]}
        rules.append({"if": condition, "then": {"allOf": [reference], "propertyNames": names, "required": required}})
    return {
        "type": "object",
        "required": [key],
        "properties": {key: {"anyOf": [{"enum": [*tables]}, elsewhere]}},
        "anyOf": [*open_tables, {"properties": {key: elsewhere}}],
        "allOf": rules,
    }


def _task_table(task: type, definitions: Json) -> Json:
    return _table(task, definitions, more={"problems": _value(Problems, definitions)})


def _phase_table(method: type, definitions: Json) -> Json:
    roles = role_fields(method)
    phase = _table(Phase, definitions, without=("method", "trainer"))
    more = {
        **phase["properties"],
        "trainer": {"$ref": _TRAINER},
        **{role: _role(role, kind, definitions) for role, kind in roles.items()},
    }
    table = _table(method, definitions, without=tuple(roles), more=more)
    return {**table, "required": [*table.get("required", []), *(set(roles) - optional_roles(method))]}


def _role(role: str, kind: Any, definitions: Json) -> Json:
    """Return a reference to the schema of a role's table, whose keys follow from `by`."""
    if role not in definitions:
        tables = {by: _partner_table(classes, definitions) for by, classes in partner_choices(kind).items()}
        definitions[role] = _alternatives("by", tables, role, definitions)
    return {"$ref": f"#/{_DEFINITIONS}/{role}"}


def _partner_table(classes: tuple[type, ...], definitions: Json) -> Json:
    """Return the schema of a partner's table: its keys and, beside them or in a table, those of its speaker."""
    partner, *speaker = classes
    own = _table(partner, definitions, without=("task", "speaker"))
    if not speaker:
        if "speaker" in keys(partner):
            own["properties"]["speaker"] = _by_name("by", SPEAKERS, _table, definitions)
        return own
    beside = _table(speaker[0], definitions)
    return {
        **own,
        "description": beside["description"],
        "properties": {**beside["properties"], **own["properties"]},
        "required": sorted({*own.get("required", []), *beside.get("required", [])}),
    }


def _table(
    kind: Any, definitions: Json, without: Iterable[str] = (), more: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the schema of the table from which a dataclass is built; `more` are keys that it does not have."""
    own = {field.name: field for field in fields(kind) if field.init and field.name not in tuple(without)}
    described = {name: _key(kind, field, definitions) for name, field in own.items()}
    required = [name for name, f in own.items() if f.default is MISSING and f.default_factory is MISSING]
    return {"description": first_sentence(kind), **_object({**described, **(more or {})}, required)}


def _object(properties: Mapping[str, Any], required: Iterable[str]) -> Json:
    found = sorted(required)
    needs = {"required": found} if found else {}
    return {"type": "object", "properties": dict(properties), **needs, "additionalProperties": False}


def _key(kind: type, field: Field[Any], definitions: Json) -> Json:
    schema = _value(keys(kind)[field.name], definitions)
    text = _sentences_about(field.name, kind)
    described = {**schema, "description": text} if text else schema
    if "$ref" in described and len(described) > 1:  # draft 7 ignores what stands beside a reference
        described = {"allOf": [schema], "description": text}
    return {**described, "default": field.default} if isinstance(field.default, str | int | float) else described


def _value(hint: Any, definitions: Json) -> Json:
    """Return the schema of a value of the type `hint`; tables in it go to `definitions`."""
    if is_dataclass(hint):
        return _table(hint, definitions)
    if any(isinstance(mark, BeforeValidator) for mark in getattr(hint, "__metadata__", ())):
        return {}  # other notations are read, too
    try:
        schema = TypeAdapter(hint).json_schema(ref_template=f"#/{_DEFINITIONS}/{{model}}")
    except PydanticInvalidForJsonSchema:  # a type that only Python has, such as a function
        return {}
    for name, definition in schema.pop("$defs", {}).items():
        definitions[name] = _draft7({**definition, "additionalProperties": False})
    result: Json = _draft7(schema)
    return result


def _draft7(schema: Any) -> Any:
    """Rewrite what pydantic writes in draft 2020-12; leave out titles, and null, which TOML does not have."""
    if isinstance(schema, list):
        return [_draft7(item) for item in schema if item != {"type": "null"}]
    if not isinstance(schema, dict):
        return schema
    result = {key: _draft7(value) for key, value in schema.items() if key not in ("title", "default")}
    if "prefixItems" in result:
        result["items"] = result.pop("prefixItems")
    alternatives = result.get("anyOf", [])
    if len(alternatives) == 1:
        result |= result.pop("anyOf")[0]
    return result


def _sentences_about(key: str, kind: type) -> str:
    """Return the sentences of the docstrings of `kind` and its parents that name `key` in backquotes."""
    for parent in kind.__mro__:
        text = " ".join((parent.__doc__ or "").split())
        found = [part for part in re.split(r"(?<=\.) (?=[A-Z`])", text) if f"`{key}`" in part]
        if found:
            return " ".join(found)
    return ""
