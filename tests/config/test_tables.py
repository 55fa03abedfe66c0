"""Whatever a table of a recipe holds, it is taken or refused in one line."""

from __future__ import annotations

import contextlib
import datetime
import math
from typing import Any

import pytest

from sparring.common.errors import SparringError
from sparring.common.schema import build, flat, keys, plain
from sparring.config.factory import METHODS, PARTNERS, SPEAKERS, TASKS, role_fields
from sparring.config.recipe import LedgerSettings, Phase, Recipe, RunSettings, shipped_recipes
from sparring.core.partner import Nobody
from sparring.ledger import Budget
from sparring.models.source import Lora, ModelSource
from sparring.training.settings import TrainerSettings

NESTED: list[Any] = []
for _ in range(100_000):
    NESTED = [NESTED]
HOSTILE = [
    math.inf, math.nan, -1, 0, 1e308, 10**22, -(10**4999), 2**63 - 1, True, "", "\0", "\ud800", "x" * 300, "..",
    "\x1b[2J", "{", "http://[::1", [], ["a", "a"], {}, {"": {"": math.nan}}, {"a": [10**22]},
    datetime.date(1979, 5, 27),
]  # fmt: skip
KINDS = {
    kind.__name__: kind
    for kind in (
        ModelSource, Lora, TrainerSettings, RunSettings, LedgerSettings, Budget,
        *(catalogue[name] for catalogue in (METHODS, TASKS, PARTNERS, SPEAKERS) for name in catalogue),
    )
}  # fmt: skip
NEEDED = {"model": "m", "base_url": "http://h/v1", "replies": ["a"], "command": ["true"], "train": "no.jsonl"}


def test_the_kinds_are_those_of_all_tiny_recipes(hub_rows):
    """Every key of a shipped recipe is a key of one of them, of a phase, or names a thing."""
    known = {name for kind in (*KINDS.values(), Phase) for name in keys(kind)}
    for name in (name for name in shipped_recipes() if "/" not in name):
        told = {key.rpartition(".")[2] for key in flat(Recipe.read(name).table())}
        assert told - known <= {"kind", "by", "method", "problems", "answer", "thought"} | {str(n) for n in range(9)}, (
            name
        )


@pytest.mark.parametrize("name", KINDS)
def test_a_hostile_value_of_any_key_is_taken_or_refused(name):
    kind = KINDS[name]
    given: dict[str, Any] = dict.fromkeys(role_fields(kind), Nobody()) if name not in ("ModelSource",) else {}
    given |= {key: None for key in ("task", "speaker") if key in keys(kind)}
    needed = {key: value for key, value in NEEDED.items() if key in keys(kind)}
    for key in keys(kind).keys() - given.keys():
        for value in HOSTILE:
            with contextlib.suppress(SparringError):  # any other error fails the test
                made = build(kind, {**needed, key: value}, "[x]", **given)
                told = flat(plain(made, without=tuple(given)))
                assert all(not isinstance(found, float) or math.isfinite(found) for found in told.values()), key


def test_numbers_that_are_none_and_texts_that_cannot_be_written_are_refused_wherever_they_stand():
    for value, said in ((math.inf, "not a finite number (got inf)"), (10**22, "too large a number (got 74 bits)")):
        for table in ({"budget": {"run": {"money": value}}}, {"budget": {"prices": {"m": [value, 1]}}}):
            with pytest.raises(SparringError) as error:
                Recipe.of({"phase": [{"method": "sft"}], "task": {"kind": "word_sorting"}, **table})
            assert said in str(error.value)
    with pytest.raises(SparringError, match="cannot be written"):
        build(ModelSource, {"chat_template_kwargs": {"a": ["\0"]}}, "[learner]")


def test_a_table_that_is_nested_without_end_is_refused():
    with pytest.raises(SparringError, match="nested more than 32 levels deep"):
        Recipe.read({"phase": NESTED})
    with pytest.raises(SparringError, match="names 100000 nested tables"):
        Recipe.read("sft", ["a." * 100_000 + "a=1"])
