"""Describes what decides the bits of a run besides its recipe: versions, machine and threads; says if it is crowded."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import Any

OBSERVED = 0.2  # seconds for which the other programs are observed
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


def crowding() -> str | None:
    """Return a warning if other programs use cores that the threads of this process need; None if they do not.

    The threads of one operation wait for the slowest of them, and while they wait they keep their cores busy.
    """
    import psutil  # noqa: PLC0415 - as torch
    import torch  # noqa: PLC0415

    threads, cores = torch.get_num_threads(), psutil.cpu_count() or 1
    if threads == 1:
        return None
    used = psutil.cpu_percent(interval=OBSERVED) / 100 * cores
    if used + threads < cores + 0.5:
        return None
    return (
        f"other programs use {used:.1f} of {cores} cores, so {threads} threads will often wait for each other; "
        "run.threads = 1, or OMP_NUM_THREADS=1 in the environment, may be several times faster"
    )
