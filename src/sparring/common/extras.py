"""Packages that few runs need, and that a plain installation leaves out."""

from __future__ import annotations

from importlib.util import find_spec

from sparring.common.errors import ConfigError


def need_bitsandbytes(setting: str) -> None:
    """ConfigError if `setting` asks for bitsandbytes and it is not installed."""
    if find_spec("bitsandbytes") is None:
        raise ConfigError(f"{setting} needs bitsandbytes, which is not installed: pip install 'sparring[gpu]'")
