"""pytest as a critic: reads a question and an answer as JSON, runs the tests, names the line that a failure came from.

The answer is the body of a function, each line a step; question and answer arrive in the prompt that the recipe gives
the critic. CAUTION: this runs what a model wrote. Limits of time, memory and file size are no sandbox.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

SECONDS = 10
ANSWER = "\n==== answer ====\n"  # as in the recipe's prompt
HERE = Path(__file__).resolve().parent


class Failure(NamedTuple):
    """The line of the function's body (from 1) that ran last before a test failed, and why it failed."""

    line: int
    why: str


def failure(question: str, body: list[str]) -> Failure | None:
    """What is wrong with the function in `question` when its body is `body`; None if its tests pass."""
    broken, tests = re.findall(r"```python\n(.*?)```", question, re.DOTALL)
    header = broken.splitlines()[0]
    code = "\n".join([header, *("    " + line for line in body or ["pass"])]) + "\n"
    try:
        compile(code, "candidate.py", "exec")  # compiles, does not run
    except (SyntaxError, ValueError) as error:
        return Failure((getattr(error, "lineno", None) or 2) - 1, f"{type(error).__name__}: {error.args[0]}")
    name = header.removeprefix("def ").partition("(")[0]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "candidate.py").write_text(code, encoding="utf-8")
        Path(folder, "test_candidate.py").write_text(f"from candidate import {name}\n\n{tests}", encoding="utf-8")
        return _run(folder)


def _run(folder: str) -> Failure | None:
    """What pytest finds in `folder`."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "witness", "-p", "no:cacheprovider", "--rootdir=."]
    surroundings = {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(HERE), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    try:
        done = subprocess.run(
            command, cwd=folder, env=surroundings, timeout=SECONDS, check=False, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Failure(1, f"the tests do not end within {SECONDS} seconds")
    seen = Path(folder, "witness.json")
    if not seen.exists():
        return Failure(1, f"the program ends with exit status {done.returncode} before the tests do")
    found = json.loads(seen.read_text(encoding="utf-8"))
    return found and Failure(max(1, found[0] - 1), found[1])  # the first line is the function's header


def passes(response: str, problem: Any) -> bool:
    """Whether `response` is right, for the table's key `right`."""
    return failure(problem.chat.text, _lines(response)) is None


def _lines(answer: str) -> list[str]:
    """The lines of `answer` as steps are counted: those that are not blank."""
    return [line.rstrip() for line in answer.splitlines() if line.strip()]


def feedback(prompt: str) -> str:
    """The critic's reply to `prompt`, in the form that is read."""
    question, _, answer = prompt.partition(ANSWER)
    body = _lines(answer)
    found = failure(question, body)
    if found is None:
        return "All steps are correct."
    line = min(found.line, max(1, len(body)))
    part = body[line - 1].strip() if body else ""
    return f'In step ({line}) the part "{part}" is incorrect. This is because {found.why}.'


if __name__ == "__main__":
    told = json.load(sys.stdin)
    print(json.dumps({"text": feedback(told["messages"][0]["content"])}))
