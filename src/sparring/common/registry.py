"""A folder of things chosen by name.

The folder is the register: a file dropped into `methods/` is found by its name, and a dotted path
(`my_package.my_module.MyTask`) admits things from outside. A thing is a class that states its `name`; a module
usually holds one, of its own name.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import is_dataclass
from types import ModuleType

from sparring.common.errors import ConfigError, nearest


class Catalogue:
    """The classes with a `name` in the modules of one package, by name; `kind` is what messages call them."""

    def __init__(self, package: str, kind: str) -> None:
        self.package = package
        self.kind = kind

    def modules(self) -> list[str]:
        """The names of the files, without importing them."""
        folder = importlib.import_module(self.package)
        return sorted(found.name for found in pkgutil.iter_modules(folder.__path__))

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(name for file in self.modules() for name in self._classes(self._module(file))))

    def __contains__(self, name: str) -> bool:
        return name in self.modules() or name in list(self)

    def __getitem__(self, name: str) -> type:
        """The class called `name`, or at the dotted path `name`; raises ConfigError naming the nearest."""
        if not isinstance(name, str):
            raise ConfigError(f"{name!r} does not name a {self.kind}; there is {', '.join(self)}")
        if "." in name:
            return self._from_outside(name)
        files = self.modules()
        for file in sorted(files, key=lambda file: file != name):  # its own file first: imports stay few
            classes = self._classes(self._module(file))
            if name in classes:
                return classes[name]
        raise nearest(self.kind, name, self)

    def _module(self, file: str) -> ModuleType:
        return importlib.import_module(f"{self.package}.{file}")

    @staticmethod
    def _classes(module: ModuleType) -> dict[str, type]:
        own = [value for value in vars(module).values() if getattr(value, "__module__", "") == module.__name__]
        return {vars(c)["name"]: c for c in own if isinstance(c, type) and isinstance(vars(c).get("name"), str)}

    def _from_outside(self, path: str) -> type:
        if not all(part.isidentifier() for part in path.split(".")):
            raise ConfigError(f"no {self.kind} is called {path!r}; there is {', '.join(self)}, or give module.Class")
        module, _, attribute = path.rpartition(".")
        try:
            found = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise ConfigError(
                f"no {self.kind} at {path!r}: {error}; give module.Class, importable from here"
            ) from error
        if not isinstance(found, type) or not is_dataclass(found):
            raise ConfigError(f"{path!r} is not a dataclass; a {self.kind} is one, given as module.Class")
        return found


def first_sentence(found: type) -> str:
    """The first sentence of a class's docstring."""
    words = " ".join((found.__doc__ or "").split())
    return words.split(". ")[0].rstrip(".") + "." if words else ""
