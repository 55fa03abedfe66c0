"""Every regular expression of the package, found in its source, takes time in proportion to the text.

Each is used as the source uses it, on hostile texts; those that take longest are made longer.
"""

from __future__ import annotations

import ast
import importlib
import re
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import sparring
from tests.hostile_texts import SHAPES, check_growth, slowest
from tests.test_readers import READERS

PACKAGE = Path(sparring.__file__).parent
METHODS = ("search", "match", "fullmatch", "finditer", "findall", "sub", "split", "subn")
# Not tried, with the reason. What is written `module:function` is an expression in the midst of a function.
BOUNDED = {
    "parsing.arithmetic.equations._ANSWER": "sees 80 characters",
    "parsing.arithmetic.equations._RESULT": "sees 80 characters",
    "parsing.arithmetic.equations._WORD": "sees 80 characters",
    "parsing.answers:regex": "the user's, on 20,000 characters",
    "partners.model_judge:_only": "the user's, on 20,000 characters; ours is tried as _SCORE, and with the judge",
    "partners.model_judge:__post_init__": "the recipe's: whether it is a pattern",
    "tasks.table:_pattern": "the data's: whether it is a pattern",
    "parsing.statements:make_mark": "makes ANSWER and _CHOICE",
    "models.renderer:_context": "begins with a mark that no text holds",
    "config.recipe:with_settings": "reads a setting of the command line",
    "runs.bundle._HUB_ID": "reads a recipe",
    "speakers.reward._COMMIT": "reads a recipe", "core.attempts._WITHHELD": "reads a recipe",
    "core.prompt._BLANK": "reads a recipe's prompt",
    "runs.model_card:_in_card": "sees the header of a model's card",
    "config.json_schema:_sentences_about": "reads our docstrings", "core.evaluation:_by_numbers": "reads names of bins",
    **{f"parsing.dates.stories.{name}": "sees 1,000 characters" for name in ("QUESTION", "_DAY_AND_YEAR", "_MONTHLY")},
    "tasks.mmlu._LETTER": "sees the spaces at the start, a letter and the rest of a line",
}  # fmt: skip
# In the midst of a function, and tried by the reader that is named.
INLINE = {
    "parsing.answers:_mentioned": "chosen",
    "core.leakage:states_gold": "states_gold",
    "partners.model_editor:_unwrapped": "editor",
    "partners.task_editor:_with_slip": "a program's own words",
    "parsing.sorting:stated": "stated",
    "parsing.steps:order": "order",
    "parsing.steps:_without_spaces": "agrees",
    "client.completion:learn": "quirks",
    "core.big_bench:_labels": "clues solve",
    "core.judge_presets:read_label": "verdict, label",
    "core.judge_presets:read_letter": "verdict, letter",
    "core.slips:slips": "a program's own words",
    "core.truth:_states_right": "true of an option",
    "parsing.dates.statements:__init__": "dates first",
    "parsing.ordering.claims:__init__": "clues first",
    "parsing.ordering.claims:_value": "clues first",
    "parsing.ordering.claims:named": "clues right",
    "tasks.gsm8k:said_in": "grade true",
    "tasks.logical_deduction:_understood": "clues read",
}


def used() -> tuple[dict[str, set[str]], set[str]]:
    """Every compiled expression at the head of a module, with the methods that it is used by, and every function in
    which `re` is called."""
    named: dict[str, set[str]] = {}
    inline: set[str] = set()
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text())
        module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        heads = [node for node in tree.body if isinstance(node, ast.Assign | ast.AnnAssign)]
        for node in heads:
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if isinstance(target, ast.Name) and node.value is not None:
                constant = (
                    getattr(importlib.import_module(f"sparring.{module}"), target.id, None) if calls_re(node) else None
                )
                if isinstance(constant, re.Pattern) or target.id in ("ANSWER", "_CHOICE", "_SCORE"):
                    named[f"{module}.{target.id}"] = set()
        for inner in ast.walk(tree):
            if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef) and calls_re(inner):
                inline.add(f"{module}:{inner.name}")
            if isinstance(inner, ast.Attribute) and isinstance(inner.value, ast.Name) and inner.attr in METHODS:
                name = f"{module}.{inner.value.id}"
                if name in named:
                    named[name].add(inner.attr)
    return named, inline


def calls_re(node: ast.AST) -> bool:
    return any(
        isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and isinstance(call.func.value, ast.Name)
        and call.func.value.id == "re"
        and call.func.attr != "escape"
        for call in ast.walk(node)
    )


PATTERNS, FUNCTIONS = used()


def applied(name: str) -> Iterator[Callable[[str], Any]]:
    """The expression as the source uses it; `finditer` does for all that look through a whole text."""
    module, _, held = name.rpartition(".")
    constant = getattr(importlib.import_module(f"sparring.{module}"), held)
    pattern = re.compile(constant)
    anchored = {"match": pattern.match, "fullmatch": pattern.fullmatch}
    methods = PATTERNS[name] or {"findall"}
    yield from (anchored[method] for method in sorted(methods & set(anchored)))
    if methods - set(anchored):
        yield lambda text: deque(pattern.finditer(text), maxlen=0)


def test_no_expression_is_forgotten():
    assert set(BOUNDED) - {f"{name}" for name in PATTERNS} - FUNCTIONS == set()
    assert FUNCTIONS - set(BOUNDED) - set(INLINE) == set()
    assert len(PATTERNS) > 30
    assert set(INLINE.values()) - {"a program's own words"} <= {*READERS}


@pytest.mark.parametrize("name", sorted(set(PATTERNS) - set(BOUNDED)))
def test_an_expression_takes_time_in_proportion(name):
    for reads in applied(name):
        check_growth(name, reads, slowest(reads, SHAPES, 1_000, 2), 1_500, 15_000)
