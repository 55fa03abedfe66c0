"""Locks a run's folder, so that only one process works on it at a time.

The lock is the kernel's (`flock`) on a file that stays in the folder; on Windows the file goes with the lock. It ends
with the process that holds it. A shared file system that passes such locks on also keeps other machines out: NFS since
version 4, Lustre and GPFS as usually mounted. On a file system without `flock`, `filelock` falls back to a marker file
with the holder's host and process. It removes a marker of a dead process on the same host; remove a marker of another
host by hand. Reading a run (`evaluate`, `talk`, `ledger`, `bundle`) takes no lock.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from sparring.common.errors import ConfigError
from sparring.common.files import write_json, writing

IS_WINDOWS = os.name == "nt"
LOCK = "running.lock"
HOLDER = "running.json"  # names the process that holds the lock; meaningless while nobody holds it


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of `folder`; raise ConfigError that names the holder if another process holds it.

    Restores the folder, or removes it if it was new, unless a run was started in it.
    """
    new_folders = [path for path in (folder, *folder.parents) if not path.exists()]
    lock = FileLock(folder / LOCK, timeout=0)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except Timeout as error:
            raise ConfigError(
                f"{folder} is in use by {_holder(folder)}; wait for it to end, stop it, or choose another folder"
            ) from error
    try:
        write_json(folder / HOLDER, _this_process())
        yield
    finally:
        (folder / HOLDER).unlink(missing_ok=True)
        is_unused = not (folder / "recipe.toml").exists()
        if is_unused and not IS_WINDOWS:
            (folder / LOCK).unlink(missing_ok=True)
            _remove_empty(new_folders)
        lock.release()
        if is_unused and IS_WINDOWS:  # an open file cannot be removed there; releasing the lock removes it
            _remove_empty(new_folders)


def _remove_empty(folders: Iterable[Path]) -> None:
    with suppress(OSError):  # not empty: contains other files
        for path in folders:
            path.rmdir()


def _this_process() -> dict[str, str | int]:
    return {"process": os.getpid(), "host": platform.node(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}


def _holder(folder: Path) -> str:
    """Describe the process that holds the lock."""
    try:
        holder = json.loads((folder / HOLDER).read_text(encoding="utf-8"))
        return f"process {holder['process']} on {holder['host']}, since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
