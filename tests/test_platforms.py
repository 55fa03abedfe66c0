"""What Windows lacks is not needed: the package is imported, and runs, without it.

To the package's own modules, and to them only, the modules and functions of POSIX are missing here, and `os.name` is
"nt". It is not Windows: paths, open files and consoles are tried in the workflow's jobs on macOS and Windows only.
"""

from __future__ import annotations

import os
import subprocess
import sys

from tests.cli.program import RECIPE

LACKING = """
import builtins, os, signal, sys

class Without:
    def __init__(self, module, names, **changed):
        self.__dict__.update(changed, _module=module, _names=names)

    def __getattr__(self, name):
        if name in self._names:
            raise AttributeError(f"module {self._module.__name__!r} has no attribute {name!r}")
        return getattr(self._module, name)

OS = ("fork", "forkpty", "killpg", "getpgid", "setsid", "set_blocking", "ttyname", "sched_getaffinity", "getuid",
      "geteuid", "getgid", "sysconf", "mkfifo", "uname", "getloadavg", "O_DIRECTORY", "statvfs", "chown", "WNOHANG")
SIGNAL = ("SIGKILL", "SIGHUP", "SIGUSR1", "SIGALRM", "SIGPROF", "SIGQUIT", "setitimer", "alarm", "pthread_kill")
MISSING = ("termios", "fcntl", "resource", "pwd", "grp", "pty", "tty", "readline", "curses", "syslog")
STANDING_IN = {"os": Without(os, OS, name="nt"), "signal": Without(signal, SIGNAL)}
real_import = builtins.__import__

def lacking(name, globals=None, locals=None, fromlist=(), level=0):
    if level == 0 and str((globals or {}).get("__name__", "")).startswith("sparring"):
        if name in MISSING:
            raise ModuleNotFoundError(f"No module named {name!r}")
        if name in STANDING_IN:
            return STANDING_IN[name]
    return real_import(name, globals, locals, fromlist, level)

builtins.__import__ = lacking
"""
PROGRAM = """
import importlib, pkgutil, sparring
from sparring.cli.entry import main

if sys.argv[1] == "everything":
    for module in pkgutil.walk_packages(sparring.__path__, "sparring."):
        importlib.import_module(module.name)
    sys.argv.pop(1)
for words in " ".join(sys.argv[1:]).split(" then "):
    sys.argv = ["sparring", *words.split()]
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise
"""


def run(words, folder):
    (folder / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-X", "warn_default_encoding", "-c", LACKING + PROGRAM, *words.split()], cwd=folder,
        check=False, capture_output=True, encoding="cp1252", env=os.environ | {"PYTHONIOENCODING": "cp1252"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ours = [
        line for line in done.stderr.splitlines() if "EncodingWarning" in line and f"{os.sep}sparring{os.sep}" in line
    ]
    assert ours == [], "a file is opened in the encoding of the machine"
    return done.stdout


def test_light_verbs_run_without_it_on_a_console_that_lacks_characters(tmp_path):
    said = run("list then schema", tmp_path)
    assert "  tripost " in said
    assert '"method.tripost"' in said


def test_every_module_is_imported_and_a_run_trained_and_bundled_without_it(tmp_path):
    run("everything train recipe.toml --run run then bundle run", tmp_path)
    assert (tmp_path / "run.tar.gz").exists()
    assert b"\r" not in (tmp_path / "run" / "metrics.jsonl").read_bytes()
    assert not (tmp_path / "run" / "running.json").exists()


def test_a_path_of_windows_is_no_hub_id():
    from sparring.models.hub import is_path

    for path in (r"C:\models\mine", "C:/models", r"models\mine"):
        assert is_path(path)
    assert not is_path("owner/name")


def test_an_operation_that_mps_lacks_falls_back_on_a_mac():
    code = (
        "import sys, os; sys.platform = sys.argv[1]; import sparring; "
        "print(os.environ.get('PYTORCH_ENABLE_MPS_FALLBACK'))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTORCH_ENABLE_MPS_FALLBACK"}
    for platform, expected in (("darwin", "1"), ("linux", "None")):
        done = subprocess.run(
            [sys.executable, "-c", code, platform], capture_output=True, text=True, check=True, env=environment
        )
        assert done.stdout.strip() == expected
