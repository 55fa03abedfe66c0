"""Optional packages, which a default installation leaves out."""

from __future__ import annotations

from importlib.util import find_spec

from sparring.common.errors import ConfigError


def need(package: str, setting: str, install: str | None = None) -> None:
    """Raise ConfigError if `package`, which `setting` needs, is not installed; `install`: what pip is to install."""
    found = find_spec(package)
    if found is None or found.origin is None:  # wandb leaves a folder of its name where it runs, which is no package
        raise ConfigError(f"{setting} needs {package}, which is not installed: pip install {install or package}")


def need_bitsandbytes(setting: str) -> None:
    """Raise ConfigError if bitsandbytes, which `setting` needs, is not installed."""
    need("bitsandbytes", setting, "'sparring[gpu]'")


def need_math_verify(setting: str) -> None:
    """Raise ConfigError if math-verify, which `setting` needs, is not installed."""
    need("math_verify", setting, "'sparring[math]'")
