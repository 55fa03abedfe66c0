"""Writes and reads a gzipped tar of plain files.

The same files make the same bytes. The reader does not trust the archive: it accepts only plain files, each name once
and inside the target folder. It limits the number of files and the unpacked size, and counts both while it reads
instead of trusting the headers.
"""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from sparring.common.errors import ConfigError
from sparring.common.files import writing

MEMBERS = 100_000  # files at most
SMALL = 4 * 2**20  # bytes at most of a file that is read into memory whole
_FREE_BYTES, _RATIO = 64 * 2**20, 32  # unpacked bytes: this many, plus _RATIO per archive byte; text packs to a tenth
_BLOCK = 2**20  # bytes copied at a time
_NAME_LENGTH = 1000  # characters at most


def largest(packed: int) -> int:
    """Return how many bytes may be unpacked from an archive of `packed` bytes."""
    return _FREE_BYTES + _RATIO * packed


def pack_archive(output: Path, members: Iterable[tuple[str, Path | bytes]]) -> None:
    """Write `members` (name; file or bytes) to `output` in this order, without times or owners."""
    partial, unpacked = output.with_name(output.name + ".partial"), 0
    with writing(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        with (
            partial.open("wb") as raw,
            gzip.GzipFile("", "wb", compresslevel=6, fileobj=raw, mtime=0) as zipped,
            tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as tar,
        ):
            for name, content in members:
                member = tarfile.TarInfo(name)
                member.size = len(content) if isinstance(content, bytes) else content.stat().st_size
                unpacked += member.size
                with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as file:
                    tar.addfile(member, file)
        if unpacked > largest(partial.stat().st_size):
            partial.unlink()
            raise ConfigError(f"{output} would unpack to more bytes than `sparring replay` accepts; pack less")
        partial.replace(output)


def unpack_archive(source: Path, folder: Path, small: Iterable[str] = ()) -> None:
    """Unpack the files in `source` into `folder`. Files named in `small` may have at most SMALL bytes.

    Raises ConfigError if the archive is damaged or breaks a rule.
    """
    seen: set[str] = set()
    try:
        with gzip.open(source) as zipped:
            limited = _LimitedReader(zipped, source)
            with tarfile.open(fileobj=limited, mode="r|") as tar:  # type: ignore[call-overload]  # it only needs read()
                for member in tar:
                    _check(source, member, seen)
                    seen.add(member.name)
                    if member.name in small and member.size > SMALL:
                        raise ConfigError(f"{source}: {member.name} has {member.size:,} bytes; {SMALL:,} are allowed")
                    content = tar.extractfile(member)
                    assert content is not None  # _check accepts plain files only
                    _copy(content, folder / member.name)
    except (tarfile.TarError, EOFError, zlib.error, OSError, ValueError, RecursionError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ConfigError(f"{source} is not a readable bundle: {reason}; get it again") from error


def _check(source: Path, member: tarfile.TarInfo, seen: set[str]) -> None:
    """Raise ConfigError if `member` breaks a rule; `seen` holds the names before it."""
    name, parts = member.name, member.name.split("/")
    if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse():
        raise ConfigError(f"{source} contains {name!a}, which is not a plain file; do not use this bundle")
    is_forbidden = "\\" in name or not name.isprintable() or (os.name == "nt" and ":" in name)  # C:file has a drive
    if len(name) > _NAME_LENGTH or is_forbidden or not {"", ".", ".."}.isdisjoint(parts):
        raise ConfigError(f"{source} contains a forbidden file name (got {name[:100]!a}); do not use this bundle")
    if name in seen:
        raise ConfigError(f"{source} contains {name!r} twice; do not use this bundle")
    if len(seen) == MEMBERS:
        raise ConfigError(f"{source} contains more than {MEMBERS:,} files; do not use this bundle")


def _copy(content: IO[bytes], to: Path) -> None:
    """Write `content` to the file `to`, a block at a time."""
    block = content.read(_BLOCK)  # outside `writing`: an error of the archive is not an error of the disk
    with writing(to):
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_bytes(block)
    while block := content.read(_BLOCK):
        with writing(to), to.open("ab") as file:
            file.write(block)


class _LimitedReader:
    """Reads the unpacked bytes of an archive; raises ConfigError beyond the limit."""

    def __init__(self, zipped: gzip.GzipFile, source: Path) -> None:
        self._zipped, self._source = zipped, source
        self._remaining = self._limit = largest(source.stat().st_size)

    def read(self, size: int) -> bytes:
        block = self._zipped.read(size)
        self._remaining -= len(block)
        if self._remaining < 0:
            raise ConfigError(
                f"{self._source} unpacks to more than {self._limit:,} bytes, too many for its size; "
                "do not use this bundle"
            )
        return block
