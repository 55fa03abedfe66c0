"""What a model, a server or a file says is shown on the terminal as it is, and nothing of it is obeyed."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.progress import Progress, TextColumn
from rich.table import Table
from rich.text import Text

import sparring
from sparring.common.terminal import Terminal, visible
from sparring.runs.display import Display

HOSTILE = "\x1b[2J\x1b]0;title\x07\x9b31m\u202eabc\u2066\x7f\r[red]x[/red] [/nothing] :smile: \ud800"
SHOWN = r"\x1b[2J\x1b]0;title\x07\x9b31m\u202eabc\u2066\x7f\x0d[red]x[/red] [/nothing] :smile: \ud800"
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def test_control_characters_are_shown_as_escapes_and_words_are_left_alone():
    assert visible(HOSTILE) == SHOWN
    assert visible(SHOWN) == SHOWN
    assert visible("a\tb\nc\r\nd é 漢 🙂 \u200d") == "a\tb\nc\nd é 漢 🙂 \u200d"
    for code in (*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)):
        assert (visible(chr(code)) == chr(code)) == (chr(code) in "\t\n")


@pytest.mark.parametrize("form", ["string", "text", "cell", "progress", "styled"])
def test_whatever_form_it_comes_in_it_is_shown_and_not_obeyed(form, capsys):
    console = Terminal()
    console.width = 200
    kept = SHOWN
    columns = Table("a", box=None)
    columns.add_row(HOSTILE)
    if form == "progress":
        bar = Progress(TextColumn("{task.description}", markup=False), console=console)
        bar.add_task(HOSTILE)
        console.print(bar)
    else:
        said = {"string": HOSTILE, "text": Text(HOSTILE), "cell": columns, "styled": HOSTILE}[form]
        console.print(said, style="dim" if form == "styled" else None)
    shown = capsys.readouterr().out
    if form in ("text", "progress"):  # of these rich takes out the bell and the return
        kept = SHOWN.replace(r"\x07", "").replace(r"\x0d", "")
    if form == "progress":  # cut at the width that its control characters do not have
        kept = kept[: kept.index("[red]")]
    assert kept in shown
    assert not OBEYED.search(shown)


def test_a_run_shows_names_with_brackets_as_they_are(capsys):
    display = Display()
    with display:
        display.say(f"task: {HOSTILE}")
        display.stage(HOSTILE, 3)
        display.advance(HOSTILE)
    assert SHOWN in capsys.readouterr().err.replace("\n", "")


def test_everything_that_is_printed_passes_the_terminal():
    """No console of another kind, no bare print; `cli` alone echoes, what `visible` has made of it."""
    for path in sorted(Path(sparring.__file__).parent.rglob("*.py")):
        called = {n.func.id for n in ast.walk(ast.parse(path.read_text()))
                  if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}  # fmt: skip
        assert not called & {"print", "Console"}, path
        echoes = re.findall(r"typer\.(?:echo|secho)\((.*)", path.read_text())
        known = ("visible(", 'f"error: {line', "INTERRUPTED_LINE")
        assert all(path.parent.name == "cli" and echo.startswith(known) for echo in echoes), (path, echoes)


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_reader_that_has_left_ends_no_program(stream, tmp_path):
    program = f"""
from sparring.common.terminal import Terminal
console = Terminal(stderr={stream == "stderr"})
for n in range(20_000):
    console.print(n)
open("done", "w").close()
"""
    process = subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, **{stream: subprocess.PIPE})
    getattr(process, stream).close()
    assert process.wait(60) == 0
    assert (tmp_path / "done").exists()
