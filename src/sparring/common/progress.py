"""Progress bars: on a terminal rich's, in a notebook one of HTML that is updated in place; elsewhere none."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from importlib import import_module
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TaskID, TextColumn, TimeRemainingColumn

from sparring.common.html import escaped

PAUSE = 0.2  # seconds between two updates of a notebook


def progress(console: Console, shown: bool = True, width: int = 0) -> Progress:
    """Return a bar for `console`, whose tasks have a field `note`; `width`: characters kept for their descriptions."""
    if shown and console.is_jupyter:
        return NotebookProgress(console=console, auto_refresh=False)
    return Progress(
        TextColumn(f"{{task.description:<{width}}}" if width else "{task.description}", style="bold", markup=False),
        BarColumn(bar_width=12),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        console=console,
        transient=True,
        disable=not (shown and console.is_terminal),
    )


@contextmanager
def progress_bar(title: str, total: int, console: Console, shown: bool = True) -> Iterator[Callable[..., None]]:
    """Show a progress bar; yield a function that counts items as done and shows a `note`."""
    with progress(console, shown) as bar:
        name = bar.add_task(title, total=total, note="")

        def advance(count: int = 1, note: str = "") -> None:
            bar.update(name, advance=count, note=note)

        yield advance


class NotebookProgress(Progress):
    """The tasks of a progress bar as HTML in the output of a notebook's cell. It needs no widgets."""

    _handle: Any = None
    _shown_at = 0.0

    def start(self) -> None:
        """Open the place in the output that is updated."""
        ipython = import_module("IPython.display")
        self._as_html = ipython.HTML
        self._handle = ipython.display(ipython.HTML(self.html()), display_id=True)

    def stop(self) -> None:
        """Clear the place."""
        if self._handle is not None:
            self._handle.update(self._as_html(""))
            self._handle = None

    def update(self, task_id: TaskID, **changes: Any) -> None:
        """See `Progress`; the notebook is updated a few times a second."""
        super().update(task_id, **changes)
        self._show()

    def reset(self, task_id: TaskID, **changes: Any) -> None:
        """See `Progress`."""
        super().reset(task_id, **changes)
        self._show()

    def _show(self) -> None:
        if self._handle is not None and time.monotonic() - self._shown_at > PAUSE:
            self._shown_at = time.monotonic()
            self._handle.update(self._as_html(self.html()))

    def html(self) -> str:
        """Return the visible tasks, one in each row."""
        return f"<table>{''.join(_row(task) for task in self.tasks if task.visible)}</table>"


def _row(task: Task) -> str:
    """Return a task as a row: description, bar, count, time that remains, note."""
    total = f"/{task.total:,.0f}" if task.total is not None else ""
    left = str(timedelta(seconds=round(task.time_remaining))) if task.time_remaining else ""
    bar = f'<progress max="{task.total or 1}" value="{task.completed if task.total else 0}"></progress>'
    cells = (
        escaped(task.description),
        bar,
        f"{task.completed:,.0f}{total}",
        left,
        escaped(task.fields.get("note", "")),
    )
    return "<tr>" + "".join(f'<td style="text-align: left; white-space: pre">{cell}</td>' for cell in cells) + "</tr>"
