"""Optional packages, which a default installation leaves out."""

from __future__ import annotations

from importlib.util import find_spec

from sparring.common.errors import ConfigError


def need_bitsandbytes(setting: str) -> None:
    """Raise ConfigError if bitsandbytes, which `setting` needs, is not installed."""
    if find_spec("bitsandbytes") is None:
        raise ConfigError(f"{setting} needs bitsandbytes, which is not installed: pip install 'sparring[gpu]'")


def need_math_verify(setting: str) -> None:
    """Raise ConfigError if math-verify, which `setting` needs, is not installed."""
    if find_spec("math_verify") is None:
        raise ConfigError(f"{setting} needs math-verify, which is not installed: pip install 'sparring[math]'")
