"""What the bits of a run depend on besides its recipe: versions, the machine, threads."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import Any

import torch

_PACKAGES = ("sparring", "torch", "transformers", "tokenizers", "accelerate", "peft", "datasets")


def circumstances() -> dict[str, Any]:
    """Those of this process, as plain data."""
    where = [platform.system(), platform.machine(), torch.backends.cpu.get_cpu_capability()]
    if torch.cuda.is_available():
        where.append(torch.cuda.get_device_name())
    return {
        "threads": torch.get_num_threads(),
        "platform": " ".join(where),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
    }
