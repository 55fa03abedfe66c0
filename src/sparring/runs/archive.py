"""Many files in one: a gzipped tar of plain files, written the same each time and read with bounds.

Whoever made an archive that is read here may mean harm. So it holds plain files alone, under names that lead nowhere
else, and none twice; how many there are and how much comes out of it is bounded, and counted as it is read, whatever
its headers say.
"""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from sparring.common.errors import ConfigError
from sparring.common.files import writing

MEMBERS = 100_000
SMALL = 4 * 2**20  # bytes; of a file that is read into memory as one
_ALLOWED, _RATIO = 64 * 2**20, 32  # bytes in all, and as many more for each byte of the archive; text packs to a tenth
_BLOCK = 2**20
_NAME = 1000  # characters


def largest(packed: int) -> int:
    """How many bytes may come out of an archive of so many bytes, in all."""
    return _ALLOWED + _RATIO * packed


def pack_archive(output: Path, members: Iterable[tuple[str, Path | bytes]]) -> None:
    """Everything in one file, in the order of `members`; no time, owner or order of a folder gets in."""
    partial, count = output.with_name(output.name + ".partial"), 0
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
                count += member.size
                with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as file:
                    tar.addfile(member, file)
        if count > largest(partial.stat().st_size):
            partial.unlink()
            raise ConfigError(f"{output} would hold more than its reader takes from so small a file; pack less")
        partial.replace(output)


def unpack_archive(source: Path, folder: Path, small: Iterable[str] = ()) -> None:
    """Puts the files in `source` into `folder`; ConfigError where it is damaged or breaks a rule. Files that are named
    in `small` have at most SMALL bytes."""
    seen: set[str] = set()
    try:
        with gzip.open(source) as zipped:
            bounded = _Bounded(zipped, source)
            with tarfile.open(fileobj=bounded, mode="r|") as tar:  # type: ignore[call-overload]  # all it needs is read
                for member in tar:
                    _check(source, member, seen)
                    seen.add(member.name)
                    if member.name in small and member.size > SMALL:
                        raise ConfigError(f"{source}: {member.name} has {member.size:,} bytes; {SMALL:,} are allowed")
                    content = tar.extractfile(member)
                    assert content is not None  # it is a plain file
                    _copy(content, folder / member.name)
    except (tarfile.TarError, EOFError, zlib.error, OSError, ValueError, RecursionError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ConfigError(f"{source} is no bundle that can be read: {reason}") from error


def _check(source: Path, member: tarfile.TarInfo, seen: set[str]) -> None:
    name, steps = member.name, member.name.split("/")
    if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse():
        raise ConfigError(f"{source} holds {name!a}, which is no plain file; get a bundle from who trained the run")
    if len(name) > _NAME or "\\" in name or not name.isprintable() or not {"", ".", ".."}.isdisjoint(steps):
        raise ConfigError(f"{source} holds a file named {name[:100]!a}, which no bundle has; do not use it")
    if name in seen:
        raise ConfigError(f"{source} holds {name!r} twice, which no bundle does; do not use it")
    if len(seen) == MEMBERS:
        raise ConfigError(f"{source} holds more than {MEMBERS:,} files, which no bundle does; do not use it")


def _copy(content: IO[bytes], to: Path) -> None:
    block = content.read(_BLOCK)  # not within `writing`: what is wrong with the archive is no trouble of the disk's
    with writing(to):
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_bytes(block)
    while block := content.read(_BLOCK):
        with writing(to), to.open("ab") as file:
            file.write(block)


class _Bounded:
    """What comes out of an archive, up to its bound."""

    def __init__(self, zipped: gzip.GzipFile, source: Path) -> None:
        self._zipped, self._source = zipped, source
        self._left = self._most = largest(source.stat().st_size)

    def read(self, size: int) -> bytes:
        found = self._zipped.read(size)
        self._left -= len(found)
        if self._left < 0:
            raise ConfigError(
                f"{self._source} unpacks to more than {self._most:,} bytes, which is too much for its size"
            )
        return found
