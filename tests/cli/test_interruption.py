"""An interruption while the program starts is one line, whatever the library that it meets makes of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

MET = """
import os, signal, time
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)
except KeyboardInterrupt:
    {then}
"""


@pytest.mark.parametrize("library", ["typer", "transformers"])
@pytest.mark.parametrize(
    "then", ["raise", "raise ImportError('cannot be loaded') from None", "raise SystemError('bad state')"]
)
def test_an_interruption_of_an_import_is_one_line(then, library, tmp_path):
    (tmp_path / f"{library}.py").write_text(MET.format(then=then))
    paths = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2] / "src")])
    said = subprocess.run(
        [sys.executable, "-m", "sparring.cli.entry", "train", "sft", "--run", str(tmp_path / "run")],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": paths},
    )  # fmt: skip
    assert said.returncode == 130
    assert said.stderr in ("interrupted\n", "interrupted; to continue a run, add --resume\n")
    assert not (tmp_path / "run").exists()


def test_an_error_without_an_interruption_stays_one(tmp_path):
    (tmp_path / "typer.py").write_text("raise ImportError('cannot be loaded')")
    paths = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2] / "src")])
    said = subprocess.run(
        [sys.executable, "-m", "sparring.cli.entry", "list"],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": paths},
    )  # fmt: skip
    assert said.returncode == 1
    assert "cannot be loaded" in said.stderr
