"""Every example runs as it stands, in a folder of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(program: str | Path, folder: Path, *options: str) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *options, program], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout + done.stderr


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_trains_and_measures_its_learner(path, tmp_path):
    assert "test accuracy" in " ".join(run(path, tmp_path).split())
    assert list(tmp_path.glob("runs/*/checkpoints/best/model.safetensors"))


def test_the_notebook_runs_from_top_to_bottom(tmp_path):
    cells = json.loads((EXAMPLES / "first_steps.ipynb").read_text())["cells"]
    program = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    assert run(program, tmp_path, "-c").strip()


@pytest.mark.skipif(find_spec("nbclient") is None, reason="nbclient is not installed")
def test_a_notebook_server_shows_the_results_as_tables(tmp_path):
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(EXAMPLES / "first_steps.ipynb", as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": tmp_path}}).execute()
    outputs = {cell.source: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}
    [result] = outputs["result"]
    assert "best learner, accuracy</td>" in result["data"]["text/html"]
    trained = next(shown for source, shown in outputs.items() if "sparring.train" in source)
    shown = next(output for output in trained if "data" in output)  # libraries may have written lines before
    assert shown["data"]["text/html"] == ""  # the bar, which is gone
    assert "loss" in str(trained)
