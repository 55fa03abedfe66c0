"""Functions that a user wrote: found by the name that a recipe gives them, or given in Python and named for a recipe.

`path/to/file.py:function` and `package.module.function` name a function that a later process finds again. A function
in neither, such as a lambda or one in a notebook, is named `<function>` and has to be given again.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from sparring.common.errors import ConfigError, nearest

REMEDY = "give package.module.function or path/to/file.py:function"

_loading: ContextVar[str] = ContextVar("loading", default="")  # the function whose file is being run


class GivenFunction(str):
    """The name of a function that was given in Python, with the function itself."""

    call: Callable[..., Any]

    def __new__(cls, call: Callable[..., Any]) -> GivenFunction:
        """Name `call` by its file or module, or `<function>` if a later process cannot find it there."""
        given = super().__new__(cls, name_of_function(call))
        given.call = call
        return given


def is_lost(name: str) -> bool:
    """Return whether `name` is that of a function which is in no file or module."""
    return name.startswith("<") and name.endswith(">")


def name_of_function(call: Callable[..., Any]) -> str:
    """Return the name by which a recipe finds `call`: `module.function`, `file.py:function`, or else `<function>`."""
    name, module = getattr(call, "__name__", type(call).__name__), getattr(call, "__module__", "")
    home = sys.modules.get(module)
    if home is None or getattr(home, name, None) is not call:
        return f"<{name.strip('<>')}>"
    file = getattr(home, "__file__", None) or ""
    is_script = file.endswith(".py") and (module.endswith(".py") or not getattr(home, "__package__", None))
    if is_script and Path(file).resolve().is_relative_to(Path.cwd()):
        return f"{os.path.relpath(Path(file).resolve())}:{name}"  # a later process may have another search path
    if module in ("__main__", "__mp_main__") or module.endswith(".py"):
        return f"{Path(file).resolve()}:{name}" if is_script else f"<{name}>"
    return f"{module}.{name}"


def load_function(name: str) -> Callable[..., Any]:
    """Return the function called `name`; ConfigError if there is none. Loading runs its file or module."""
    if isinstance(name, GivenFunction):
        return name.call
    if is_lost(name):
        raise ConfigError(
            f"the function {name} was given in Python and is in no file; "
            "give it again as an argument of sparring.train, or move it to a file and name that"
        )
    path, _, attribute = name.rpartition(":") if ".py:" in name else name.rpartition(".")
    module = _module(name, path)
    if not hasattr(module, attribute):
        raise nearest(f"function in {path}", attribute, [k for k, v in vars(module).items() if callable(v)])
    found = getattr(module, attribute)
    if not callable(found):
        raise ConfigError(f"{name!r} is not a function; {REMEDY}")
    return found  # type: ignore[no-any-return]


def refuse_while_loading(verb: str) -> None:
    """Raise ConfigError if the caller of `verb` is a file that is being loaded for a function in it."""
    if name := _loading.get():
        raise ConfigError(
            f"{verb} was called while {name.rpartition(':')[0]} was loaded for its function {name.rpartition(':')[2]}; "
            'put the call under if __name__ == "__main__":'
        )


def _module(name: str, path: str) -> ModuleType:
    """Import the module at a dotted name or a file's path; `name` names the function in errors."""
    token = _loading.set(name)
    try:
        if not path.endswith(".py"):
            return importlib.import_module(path)
        main = sys.modules["__main__"]
        if os.path.exists(path) and os.path.realpath(getattr(main, "__file__", None) or "") == os.path.realpath(path):
            return main  # the script that runs now
        status = os.stat(path)
        return _run_file(path, Path(path).resolve(), status.st_mtime_ns, status.st_size)
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:
        raise ConfigError(f"no function at {name!r}: {type(error).__name__}: {error}; {REMEDY}") from error
    finally:
        _loading.reset(token)


@cache  # by time and size: a file that was edited is run again
def _run_file(path: str, place: Path, time: int, size: int) -> ModuleType:
    """Run the file at `path`, which is `place` for now, and return it as a module; it may import scripts beside it."""
    spec = importlib.util.spec_from_file_location(path, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path] = module  # dataclasses look up their module here
    with _beside(place):
        spec.loader.exec_module(module)
    return module


@contextmanager
def _beside(file: Path) -> Iterator[None]:
    """Search for modules in the folder of `file`, too, after all other places."""
    folder = str(file.parent)
    sys.path.append(folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def is_async(call: Callable[..., Any]) -> bool:
    """Return whether `call` is an asynchronous function, or an object that is called like one."""
    return any(map(inspect.iscoroutinefunction, (call, vars(type(call)).get("__call__"))))
