"""The program as its entry point runs it, and a small recipe."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from pathlib import Path
from typing import NamedTuple

from sparring.cli.main import main

RECIPE = """# Small sums.
[learner]
model = "tiny"

[task]
kind = "multistep_arithmetic"
range = "easy"
train = 32
development = 8
test = 8

[[phase]]
method = "sft"
max_tokens = 24

[trainer]
learning_rate = 1e-3
batch_size = 8

[run]
threads = 1
"""
DISCUSSED = ('method = "sft"', 'method = "saie"')
GOOD = [{"prompt": f"What is {n}+1?", "answer": str(n + 1)} for n in range(40)]


class Said(NamedTuple):
    """What a call of the program came to."""

    code: int
    out: str
    err: str


def sparring_(*words: object, stdin: str | bytes = "") -> Said:
    """Runs the program in this process, as its entry point does."""
    typed = io.StringIO(stdin) if isinstance(stdin, str) else io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8")
    out, err, code = io.StringIO(), io.StringIO(), 0
    before = sys.argv, sys.stdin
    sys.argv, sys.stdin = ["sparring", *map(str, words)], typed
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        sys.argv, sys.stdin = before
    return Said(code, out.getvalue(), err.getvalue())


def refused(*words: object, says: tuple[str, ...], stdin: str = "") -> str:
    """The one line that the program says to a mistake; `says` are what it must name."""
    said = sparring_(*words, stdin=stdin)
    assert said.code == 2, said
    assert "Traceback" not in said.err
    lines = [line for line in said.err.splitlines() if line.strip()]
    assert len(lines) == 1, said.err
    assert lines[0].startswith("error: ")
    for part in says:
        assert part in lines[0], f"{part!r} is not in {lines[0]!r}"
    return lines[0]


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def rows(path: Path, *lines: object) -> Path:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def table_of(recipe, source: object, *more: str) -> Path:
    old = RECIPE[RECIPE.index("kind =") : RECIPE.index("[[phase]]")]
    return recipe((old, "\n".join(('kind = "table"', f'train = "{source}"', *more)) + "\n\n"))


def discussant(table: str) -> tuple[tuple[str, str], ...]:
    return DISCUSSED, ("[trainer]", f"[phase.discussant]\n{table}\n\n[trainer]")
