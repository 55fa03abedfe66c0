"""Texts that are slow to read for a careless reader, and the measure: time in proportion to length."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Any

from sparring.client.trouble import Trouble
from sparring.common.errors import ConfigError, ConversationError

UNITS = [
    *['(', ')', '[', ']', '{', '}', '"', "'", '<', '>', '\\', '$', '*', '`', '?', '!', '.', ',', ';', ':', '=', '-',
    '+', '/', '%', '#', '_', '1', '9', 'a', 'A', 'x', '\n', '\t', '\x00', '\u2028', '\r', 'é', '日', '٣', '²', '𐐀'],
    " ", "\n",
    'In step (1) the part "', "In step (", " This is because ", " the part ", '" is incorrect', "all steps are correct",
    ". ", "(1)", "(1) a\n", "\n(1) ", "(1.1", "1.1.", "(Final response) ", "\n\n", " \n", "\n ", "a\n", "a ", "- a\n",
    "1. a\n", "1. ", "Score:", "Score:\n", "score 1 ", "Score: 1", "[[A]]", "[[A", "[]", "()", "{}", "<think>",
    "</think>",
    "<R>", "<<", "<<1>>", "Here is my response:", "Here is my thought process:", "answer ", "the answer is ",
    "answer is ",
    "answer:\n", "####", "#### 1\n", "\\boxed{", "\\boxed{1}", "\\frac{1}{2}", "\\frac{1", "\\(", "$1$", "\\text{",
    "**", '"ant" < ', '["ant" ? ', '"ant"="a" (1), ', '"ant" ? ', "ant, ", '"ant bee ', "second letters ", "a'", "(9 ",
    "[ant ? ", "1,", "1,234", "1.", "12 ", "1 1/2 ", "1e", "1 + ", "1=", "1+1=2\n", "2*3=6=", "A=B\n", "A = 2 * 3\n",
    "B = A * A\n",
    "A is 5\n", "A is 5 ", "is ", "1 is ", "A: ", "(1+", "-(", "((1+2)", "7*3=21\n", "5 apples + ", "red ",
    "dark blue ",
    "(B) ", "option A ", "B or C ", "A,", "temperature ", "step (1", "step 1 ", "known answer ", "hint ", "Thought 1: ",
    '{"a":', "[1,", "ß", "ﬁ", "İ", "0.0", "0000", "− ", "of the ", "therefore ",
    "01/02/2003 ", "today is ", "2 days after ", "the clue 1, ", "is the first ", "left of ",
]  # fmt: skip
OPENINGS = [
    'In step (1) the part "', "In step (", "Score: 1", "The answer is ", "#### ", "\\boxed{", "(1) ", '"', "[", "1",
    "<think>", "A = ", "1+1 is ", "ant ", "<<1>>", "$", "x\n", "answer", ". ", "2*3=", "Here is my thought process: ",
]  # fmt: skip
CORE = [" ", "\n", "1", "a", "(", '"', ".", "=", "1 is ", "-1", ", ", "é"]
ENDS = ["", "x", "\n", '"', " is incorrect.", "!"]


def hostile(unit: str, length: int, opening: str = "", end: str = "x") -> str:
    return opening + (unit * (length // len(unit) + 1))[:length] + end


Shape = tuple[str, str, str]
SHAPES: list[Shape] = [(unit, "", "x") for unit in UNITS] + [
    (unit, opening, "x") for opening in OPENINGS for unit in CORE
]
ALL_SHAPES: list[Shape] = [(unit, opening, end) for unit in UNITS for opening in ("", *OPENINGS) for end in ENDS]
NOTHING_READ = (ConversationError, Trouble, ConfigError)


def seconds(reads: Callable[[str], Any], text: str) -> float:
    """Of processor time, the collector held off: it takes as long as all that other tests have left behind."""
    gc.disable()
    start = time.process_time()
    try:
        reads(text)
    except NOTHING_READ:
        pass
    finally:
        elapsed = time.process_time() - start
        gc.enable()
    return elapsed


def slowest(reads: Callable[[str], Any], shapes: list[Shape], length: int, count: int) -> list[Shape]:
    """The `count` shapes that take longest."""
    return sorted(shapes, key=lambda shape: -seconds(reads, hostile(shape[0], length, *shape[1:])))[:count]


def check_growth(name: str, reads: Callable[[str], Any], shapes: list[Shape], short: int, long: int) -> None:
    """Asserts that `long` texts take no more than three times as long as in proportion to `short` ones. What is not
    is measured up to three times: the machine may have been busy."""
    for unit, opening, end in shapes:
        brief, much = hostile(unit, short, opening, end), hostile(unit, long, opening, end)
        proportion = 0.0
        for _ in range(3):
            base = max(min(seconds(reads, brief) for _ in range(3)), 2e-5)
            proportion = seconds(reads, much) / base / (long / short)
            if proportion <= 3:
                break
        assert proportion <= 3, f"{name}: {proportion:.1f} times as long as in proportion on {(unit, opening, end)}"
