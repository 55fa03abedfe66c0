"""Progress in a notebook, and tables as HTML: both show text as it is."""

from __future__ import annotations

import io
import re
import sys
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest
from rich.console import Console
from rich.progress import Progress

from sparring.common import progress as bars
from sparring.common.html import table
from sparring.common.progress import NotebookProgress, progress, progress_bar
from sparring.runs.display import Display


class Handle:
    """What IPython gives for an output that can be updated."""

    def __init__(self, first: str) -> None:
        self.shown = [first]

    def update(self, content: str) -> None:
        self.shown.append(content)


@pytest.fixture
def notebook(monkeypatch) -> list[Handle]:
    """A notebook: what its cells display, in order."""
    displayed: list[Handle] = []

    def display(content: str, display_id: bool = False) -> Handle:
        assert display_id
        displayed.append(Handle(content))
        return displayed[-1]

    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(HTML=str, display=display))
    monkeypatch.setattr(bars, "PAUSE", 0.0)
    return displayed


def cells(markup: str) -> list[list[str]]:
    """The texts of the rows of a table, which has to be well-formed."""
    rows = ElementTree.fromstring(markup).iter("tr")
    return [["".join(cell.itertext()) for cell in row] for row in rows]


def test_a_notebook_gets_one_output_that_is_updated_and_cleared(notebook):
    with progress_bar("solo: problems", 4, Console(force_jupyter=True)) as advance:
        advance(note="<b>fast</b>")
        advance(2)
    [output] = notebook
    assert [cells(shown)[0][2] for shown in output.shown[1:-1]] == ["1/4", "3/4"]
    assert cells(output.shown[-2])[0][0] == "solo: problems"
    assert 'max="4' in output.shown[-2]
    assert 'value="3' in output.shown[-2]
    assert cells(output.shown[1])[0][4] == "<b>fast</b>"
    assert output.shown[-1] == ""


def test_a_notebook_is_updated_only_a_few_times_a_second(notebook, monkeypatch):
    monkeypatch.setattr(bars, "PAUSE", 60.0)
    with progress_bar("x", 1000, Console(force_jupyter=True)) as advance:
        for _ in range(1000):
            advance()
    assert len(notebook[0].shown) <= 3  # the start, one update, the end


def test_a_run_shows_its_stages_in_a_notebook(notebook):
    console = Console(force_jupyter=True, file=io.StringIO())
    with Display(console) as display:
        display.run(100, 20)
        display.stage("round 1: steps", 10)
        display.step(30, 2.5)
        shown = cells(notebook[0].shown[-1])
    assert [row[:1] + row[2:3] for row in shown] == [["problems", "30/100"], ["round 1: steps", "1/10"]]
    assert shown[0][4] == "loss 2.500"


def test_a_quiet_run_and_a_terminal_show_no_html(notebook):
    with Display(Console(force_jupyter=True, file=io.StringIO()), quiet=True):
        pass
    assert not isinstance(progress(Console(force_terminal=True, force_jupyter=False)), NotebookProgress)
    assert isinstance(progress(Console(force_terminal=True, force_jupyter=False)), Progress)
    assert notebook == []


def test_a_table_escapes_what_models_wrote():
    markup = table("a <title>", ("name", "value"), [["<script>x</script>", "1 & 2"], ["\x1b[31m", "3"]])
    assert cells(markup) == [["name", "value"], ["<script>x</script>", "1 & 2"], ["\\x1b[31m", "3"]]
    assert re.findall(r'<td style="text-align: (\w+)"', markup) == ["left", "right"] * 2
