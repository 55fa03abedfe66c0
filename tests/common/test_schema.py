"""A table becomes a dataclass, and a mistake one line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import pytest
from annotated_types import Interval

from sparring.common.errors import ConfigError
from sparring.common.schema import build, differences, plain
from sparring.training.settings import TrainerSettings


@dataclass(frozen=True)
class Inner:
    rank: int = 4


@dataclass(frozen=True)
class Outer:
    size: int
    share: Annotated[float, Interval(ge=0, le=1)] = 0.5
    mode: Literal["a", "b"] = "a"
    names: tuple[str, ...] = ()
    inner: Inner | None = None


def test_a_table_becomes_a_dataclass_and_back():
    table = {"size": 3, "share": 1, "mode": "b", "names": ["x"], "inner": {"rank": 8}}
    found = build(Outer, table, "[outer]")
    assert found == Outer(3, 1.0, "b", ("x",), Inner(8))
    assert build(Outer, plain(found), "[outer]") == found


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"sise": 3}, r"in \[outer\]: unknown key 'sise' \(did you mean 'size'\?\)"),
        ({}, "the key size is missing"),
        ({"size": "3"}, "size = '3': input should be a valid integer"),
        ({"size": 3, "share": 1.5}, "share = 1.5: input should be less than or equal to 1"),
        ({"size": 3, "mode": "c"}, "mode = 'c': input should be 'a' or 'b'"),
        ({"size": 3, "inner": {"rnk": 1}}, "did you mean 'rank'"),
    ],
)
def test_a_mistake_is_one_line_with_value_and_remedy(table, told):
    with pytest.raises(ConfigError, match=told):
        build(Outer, table, "[outer]")


def test_differences_name_the_key_and_both_values():
    old = {"phase": [{"method": "sft"}, {"rounds": 1}], "run": {"seed": 0}}
    new = {"phase": [{"method": "sft"}, {"rounds": 2}], "run": {"seed": 0}}
    assert differences(old, new) == ["phase.2.rounds: 1 → 2"]
    assert differences(old, old) == []


@pytest.mark.parametrize(
    ("typed", "ours"), [("lr", "learning_rate"), ("per_device_train_batch_size", "batch_size"), ("warm_up", "warmup")]
)
def test_a_key_of_another_tool_leads_to_ours(typed, ours):
    with pytest.raises(ConfigError, match=f"unknown key '{typed}' .did you mean '{ours}'"):
        build(TrainerSettings, {typed: 1}, "[trainer]")
