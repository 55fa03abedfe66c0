"""Classes chosen by name from a folder.

The folder is the registry: a new file in `methods/` is found by its name. A dotted path
(`my_package.my_module.MyTask`) selects a class from outside. A registered class has a class variable `name`; a module
usually holds one class, named like the module.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import is_dataclass
from types import ModuleType

from sparring.common.errors import ConfigError, nearest


class Catalogue:
    """The classes with a `name` in the modules of `package`, by name. Messages call them `kind`."""

    def __init__(self, package: str, kind: str) -> None:
        self.package = package
        self.kind = kind

    def modules(self) -> list[str]:
        """Return the names of the modules without importing them."""
        folder = importlib.import_module(self.package)
        return sorted(module.name for module in pkgutil.iter_modules(folder.__path__))

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(name for file in self.modules() for name in self._classes(self._module(file))))

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
        raise nearest(self.kind, name, self)

    def _module(self, file: str) -> ModuleType:
        return importlib.import_module(f"{self.package}.{file}")

    @staticmethod
    def _classes(module: ModuleType) -> dict[str, type]:
        own_values = [value for value in vars(module).values() if getattr(value, "__module__", "") == module.__name__]
        return {vars(c)["name"]: c for c in own_values if isinstance(c, type) and isinstance(vars(c).get("name"), str)}

    def _from_outside(self, path: str) -> type:
        if not all(part.isidentifier() for part in path.split(".")):
            raise ConfigError(f"unknown {self.kind} {path!r}; choose from {', '.join(self)}, or give module.Class")
        module, _, attribute = path.rpartition(".")
        try:
            kind = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise ConfigError(
                f"cannot import the {self.kind} {path!r}: {error}; give module.Class, importable from here"
            ) from error
        if not isinstance(kind, type) or not is_dataclass(kind):
            raise ConfigError(f"the {self.kind} {path!r} is not a dataclass; give a dataclass as module.Class")
        return kind


def first_sentence(kind: type) -> str:
    """Return the first sentence of a class's docstring."""
    docstring = " ".join((kind.__doc__ or "").split())
    return docstring.split(". ")[0].rstrip(".") + "." if docstring else ""
