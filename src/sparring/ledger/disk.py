"""Opening the SQLite file of a ledger, and what a disk may have against it, in one clear line.

Write-ahead logging needs memory that all processes share, which network file systems do not offer: there SQLite fails
late or corrupts the file, so they are refused by name before anything is paid.
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

BUSY = 60.0  # seconds to wait for another process that is writing
_NETWORK = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "fuse.sshfs")
_MOUNTS = Path("/proc/self/mounts")


def file_system(path: Path, mounts: Path = _MOUNTS) -> str:
    """The kind of file system that `path` lies on ("" where this machine does not tell)."""
    if not mounts.exists():
        return ""
    place, best, kind = path.resolve(), -1, ""
    for line in mounts.read_text(errors="replace").splitlines():
        _, point, found, *_ = line.split()
        folder = Path(point.replace("\\040", " "))
        if (place == folder or folder in place.parents) and len(folder.parts) >= best:
            best, kind = len(folder.parts), found
    return kind


def open_for_writing(path: Path) -> sqlite3.Connection:
    """A connection to the ledger at `path`, made where there is none, in WAL mode; raises ConfigError."""
    if (kind := file_system(path)) in _NETWORK:
        raise ConfigError(_on_a_network(path, kind))
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with refusing(path):
        connection = sqlite3.connect(path, timeout=BUSY, isolation_level=None, check_same_thread=False)
        try:
            schema.is_made(connection, path)  # before anything is changed in a file that is not ours
            mode = _write_ahead(connection)
            if mode != "wal":
                raise ConfigError(_on_a_network(path, f"its journal stays {mode!r}"))
            schema.make(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


def _write_ahead(connection: sqlite3.Connection) -> str:
    """Turns write-ahead logging on; the mode that is then set. Where several open a new file at the same moment SQLite
    refuses all but one at once, without waiting as it does elsewhere."""
    until = time.monotonic() + BUSY
    while True:
        try:
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
            return str(mode)
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(random.uniform(0.001, 0.01))


def open_for_reading(path: Path) -> sqlite3.Connection:
    """A connection that cannot write, on any file system; raises ConfigError where there is no ledger."""
    if not path.exists():
        raise ConfigError(f"there is no ledger at {path}")
    # where nobody can write, SQLite cannot make the side files that it reads a WAL file with, and needs none
    still = "" if os.access(path.parent, os.W_OK) else "&immutable=1"
    with refusing(path):
        address = f"{path.resolve().as_uri()}?mode=ro{still}"
        connection = sqlite3.connect(address, uri=True, timeout=BUSY, isolation_level=None, check_same_thread=False)
        try:
            if not schema.is_made(connection, path):
                raise ConfigError(f"there is no ledger at {path} (the file is empty); name another file")
        except BaseException:
            connection.close()
            raise
        connection.row_factory = sqlite3.Row
    return connection


@contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Turns what SQLite has against `path` into one line."""
    try:
        yield
    except sqlite3.OperationalError as error:  # full, read-only, locked for a minute, a share
        raise RunStopped(
            f"the ledger {path} cannot be used: {error}; it needs a local disk with room, locked by nobody else"
        ) from error
    except sqlite3.DatabaseError as error:
        raise ConfigError(f"{path} is no ledger that can be read ({error}); name another file") from error


def _on_a_network(path: Path, reason: str) -> str:
    return f"the ledger {path} lies on a file system that cannot hold it ({reason}): put it on a disk of this machine"
