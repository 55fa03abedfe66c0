"""Describes what decides the bits of a run besides its recipe: package versions, machine and threads."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import Any

_PACKAGES = ("sparring", "torch", "transformers", "tokenizers", "accelerate", "peft", "datasets")


def environment() -> dict[str, Any]:
    """Return the threads, platform and package versions of this process as plain data."""
    import torch  # noqa: PLC0415 - slow to start, and the folder of a run is checked without it

    machine = [platform.system(), platform.machine(), torch.backends.cpu.get_cpu_capability()]
    if torch.cuda.is_available():
        machine.append(torch.cuda.get_device_name())
    return {
        "threads": torch.get_num_threads(),
        "platform": " ".join(machine),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
    }
