"""Classes chosen by name from a folder, or from an installed package.

The folder is the registry: a new file in `methods/` is found by its name. A registered class has a class variable
`name`; a module usually holds one class, named like the module. An installed package adds names by entry points of the
group `sparring.methods`; they are imported when they are chosen, and never replace a name of the folder. A dotted path
(`my_package.my_module.MyTask`) or a file (`path/to/file.py:MyTask`) selects a class from anywhere.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import is_dataclass
from types import ModuleType
from typing import Any

from sparring.common.entry_points import Declared, declared
from sparring.common.errors import ConfigError, nearest
from sparring.common.functions import load_function


class Catalogue:
    """The classes with a `name` in the modules of `package`, by name. Messages call them `kind`."""

    def __init__(self, package: str, kind: str) -> None:
        self.package = package
        self.kind = kind

    def modules(self) -> list[str]:
        """Return the names of the modules without importing them."""
        folder = importlib.import_module(self.package)
        return sorted(module.name for module in pkgutil.iter_modules(folder.__path__))

    def plugins(self) -> Mapping[str, Declared]:
        """Return the names that installed packages add, without importing these packages."""
        return declared(self.package, self.kind)

    def own(self) -> dict[str, type]:
        """Return the classes in the folder by name."""
        return {name: kind for file in self.modules() for name, kind in self._classes(self._module(file)).items()}

    def classes(self) -> Iterator[type]:
        """Yield the classes in the folder, then those of installed packages that can be imported."""
        yield from self.own().values()
        for name in sorted(self.plugins()):
            with suppress(ConfigError):
                yield self[name]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*self.own(), *self.plugins()}))

    def __contains__(self, name: str) -> bool:
        return name in self.modules() or name in list(self)

    def __getitem__(self, name: str) -> type:
        """Return the class named `name`, or at the dotted path `name`; ConfigError suggests the closest name."""
        if not isinstance(name, str):
            raise ConfigError(f"the name of a {self.kind} must be text (got {name!r}); choose from {', '.join(self)}")
        if "." in name:
            return self._from_outside(name)
        files = self.modules()
        for file in sorted(files, key=lambda file: file != name):  # its own file first, to import few modules
            classes = self._classes(self._module(file))
            if name in classes:
                return classes[name]
        if (plugin := self.plugins().get(name)) is not None:
            return self._dataclass(plugin.load(), f"{name!r} of the package {plugin.packages}")
        raise nearest(self.kind, name, self)

    def function(self, name: str) -> str | None:
        """Return the dotted path of the function called `name`, or at that path; None if `name` is no function's."""
        if "." in name:
            found, path = self._imported(name), name
        elif name not in self.modules() and name in self.plugins() and name not in self.own():
            plugin = self.plugins()[name]
            found, path = plugin.load(), plugin.path()
        else:
            return None
        return path if callable(found) and not isinstance(found, type) else None

    def _module(self, file: str) -> ModuleType:
        return importlib.import_module(f"{self.package}.{file}")

    @staticmethod
    def _classes(module: ModuleType) -> dict[str, type]:
        own_values = [value for value in vars(module).values() if getattr(value, "__module__", "") == module.__name__]
        return {vars(c)["name"]: c for c in own_values if isinstance(c, type) and isinstance(vars(c).get("name"), str)}

    def _from_outside(self, path: str) -> type:
        return self._dataclass(self._imported(path), repr(path))

    def _imported(self, path: str) -> Any:
        """Import what is at a dotted path, or in a file (`path/to/file.py:Class`)."""
        if ".py:" in path:
            return load_function(path)
        if not all(part.isidentifier() for part in path.split(".")):
            raise ConfigError(f"unknown {self.kind} {path!r}; choose from {', '.join(self)}, or give module.Class")
        module, _, attribute = path.rpartition(".")
        try:
            return getattr(importlib.import_module(module), attribute)
        except ConfigError:
            raise
        except (Exception, SystemExit) as error:
            reason = error if isinstance(error, ImportError | AttributeError) else f"{type(error).__name__}: {error}"
            raise ConfigError(
                f"cannot import the {self.kind} {path!r}: {reason}; give module.Class, importable from here"
            ) from error

    def _dataclass(self, found: Any, title: str) -> type:
        if not isinstance(found, type) or not is_dataclass(found):
            raise ConfigError(f"the {self.kind} {title} is not a dataclass; give a dataclass as module.Class")
        return found


def first_sentence(kind: type) -> str:
    """Return the first sentence of a class's docstring."""
    docstring = " ".join((kind.__doc__ or "").split())
    return docstring.split(". ")[0].rstrip(".") + "." if docstring else ""
