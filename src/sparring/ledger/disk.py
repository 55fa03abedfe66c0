"""Opening a ledger's SQLite file, with one-line errors for disk problems.

Write-ahead logging needs memory shared by all processes. Network file systems do not offer it: SQLite fails late there
or corrupts the file. So known network file systems are rejected before anything is paid.
"""

from __future__ import annotations

import os
import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sparring.common.errors import ConfigError, RunStopped
from sparring.common.files import writing
from sparring.ledger import schema

BUSY_TIMEOUT = 60.0  # seconds to wait while another process writes
_NETWORK = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "fuse.sshfs")
_MOUNTS = Path("/proc/self/mounts")


def file_system(path: Path, mounts: Path = _MOUNTS) -> str:
    """Return the type of the file system of `path`, "" if this machine does not list its mounts."""
    if not mounts.exists():
        return ""
    target, best_depth, kind = path.resolve(), -1, ""
    for line in mounts.read_text(encoding="utf-8", errors="replace").splitlines():
        _, mount_point, mount_kind, *_ = line.split()
        folder = Path(mount_point.replace("\\040", " "))
        if (target == folder or folder in target.parents) and len(folder.parts) >= best_depth:
            best_depth, kind = len(folder.parts), mount_kind
    return kind


def open_for_writing(path: Path) -> sqlite3.Connection:
    """Open the ledger at `path` in WAL mode, creating it if it is missing; raises ConfigError."""
    if (kind := file_system(path)) in _NETWORK:
        raise ConfigError(_unsuitable_disk(path, kind))
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with sqlite_errors(path):
        connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
        try:
            schema.has_tables(connection, path)  # raises before anything is changed in a file that is no ledger
            mode = _enable_wal(connection)
            if mode != "wal":
                raise ConfigError(_unsuitable_disk(path, f"its journal stays {mode!r}"))
            schema.create_tables(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


def _enable_wal(connection: sqlite3.Connection) -> str:
    """Turn write-ahead logging on and return the journal mode that is then set.

    If several processes open a new file at once, SQLite rejects all but one without waiting; the others retry here.
    """
    deadline = time.monotonic() + BUSY_TIMEOUT
    while True:
        try:
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
            return str(mode)
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(random.uniform(0.001, 0.01))


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Open the ledger at `path` read-only, on any file system; raises ConfigError if there is none."""
    if not path.exists():
        raise ConfigError(f"there is no ledger at {path}; name an existing file")
    # in a read-only folder SQLite cannot create the side files of WAL mode, and no writer needs them
    immutable = "" if os.access(path.parent, os.W_OK) else "&immutable=1"
    with sqlite_errors(path):
        uri = f"{path.resolve().as_uri()}?mode=ro{immutable}"
        connection = sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
        try:
            if not schema.has_tables(connection, path):
                raise ConfigError(f"there is no ledger at {path} (the file is empty); name another file")
        except BaseException:
            connection.close()
            raise
        connection.row_factory = sqlite3.Row
    return connection


@contextmanager
def sqlite_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors about the ledger at `path` into RunStopped or ConfigError with one line."""
    try:
        yield
    except sqlite3.OperationalError as error:  # full, read-only, locked for too long, on a network share
        raise RunStopped(
            f"cannot use the ledger {path}: {error}; put it on a local disk with free space, and end other processes "
            "that lock it"
        ) from error
    except sqlite3.DatabaseError as error:
        raise ConfigError(f"{path} is not a readable ledger ({error}); name another file") from error


def _unsuitable_disk(path: Path, reason: str) -> str:
    return f"the ledger {path} is on a file system that cannot hold it ({reason}); put it on a disk of this machine"
