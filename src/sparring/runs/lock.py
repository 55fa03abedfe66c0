"""One process at a time works on a run's folder.

The lock is the kernel's (`flock`), on a file that stays: a process that dies, however it dies, holds it no more. On a
shared file system that passes such locks on (NFS since version 4, Lustre and GPFS as they are mostly mounted), it keeps
other machines out too. Where a file system knows no `flock`, `filelock` falls back to a marker file with the holder's
host and process: a marker left by a dead process of the same host is taken away, one of another host has to be removed
by hand. Reading a run (`evaluate`, `talk`, `ledger`, `bundle`) takes no lock.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from sparring.common.errors import ConfigError
from sparring.common.files import write_json, writing

LOCK = "running.lock"
HOLDER = "running.json"  # who holds the lock; means nothing where nobody does


@contextmanager
def occupied(folder: Path) -> Iterator[None]:
    """Has `folder` to itself, or raises ConfigError that names who has it. A folder in which no run was begun is left
    as it was found."""
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    lock = FileLock(folder / LOCK, timeout=0)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except Timeout as error:
            raise ConfigError(
                f"{folder} is in use by {_holder(folder)}; wait until it ends or stop it, or choose another folder"
            ) from error
    try:
        write_json(folder / HOLDER, _this_process())
        yield
    finally:
        (folder / HOLDER).unlink(missing_ok=True)
        if not (folder / "recipe.toml").exists():
            (folder / LOCK).unlink(missing_ok=True)
            with suppress(OSError):  # not empty: somebody else's files
                for place in made:
                    place.rmdir()
        lock.release()


def _this_process() -> dict[str, str | int]:
    return {"process": os.getpid(), "host": platform.node(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}


def _holder(folder: Path) -> str:
    try:
        told = json.loads((folder / HOLDER).read_text())
        return f"process {told['process']} on {told['host']}, since {told['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
