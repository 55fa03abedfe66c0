"""What was sampled, written down before it is used.

A reply's key is everything that it followed from: the weights, the prompt's ids, the settings and the stream. A run
that resumes finds its replies here and never samples them again: company in a batch moves the last bits of a logit, so
bits are kept by remembering, not by hoping. A journal lasts until what came of it is saved.
"""

from __future__ import annotations

import json
import os
from dataclasses import astuple
from pathlib import Path
from typing import IO, Any

from sparring.common.files import json_lines, writing
from sparring.common.seeds import digest
from sparring.inference.sequence import Request, Sampled


def key(weights: str, request: Request) -> str:
    """The name of the reply to `request` by the model whose weights are called `weights`."""
    return digest(weights, list(request.ids), json.dumps(astuple(request.sampling)), request.stream)


class Journal:
    """Replies by key, one JSON object a line of a file that is only ever added to; memory holds where each begins."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._starts: dict[str, int] = {}
        self._end = 0
        self._file: IO[bytes] | None = None
        if path.exists():
            self._read()

    def _read(self) -> None:
        """Notes every reply; one that is damaged is sampled again."""
        for row in json_lines(self.path):
            self._end = row.end
            if row.value is not None and _is_reply(row.value):
                self._starts[row.value["key"]] = row.start
        if self._end < self.path.stat().st_size:  # the process died in mid-line
            with writing(self.path):
                os.truncate(self.path, self._end)

    def _opened(self) -> IO[bytes]:
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("a+b")
        return self._file

    def get(self, name: str) -> Sampled | None:
        """The reply called `name`, if it was sampled before."""
        if name not in self._starts:
            return None
        file = self._opened()
        file.seek(self._starts[name])
        ids, logprobs, finish, retokenised = json.loads(file.readline())["reply"]
        return Sampled(tuple(ids), tuple(logprobs), finish, retokenised)

    def put(self, name: str, sampled: Sampled) -> None:
        """Writes a reply down; it is on its way to the disk when this returns."""
        reply = [sampled.ids, sampled.logprobs, sampled.finish, sampled.retokenised]  # `astuple` copies every number
        line = f"{json.dumps({'key': name, 'reply': reply})}\n".encode()
        with writing(self.path):
            file = self._opened()
            self._end = file.seek(0, os.SEEK_END)  # not where it should be, after a write that failed
            file.write(line)
            file.flush()
        self._starts[name] = self._end
        self._end += len(line)

    def close(self, keep: bool = True) -> None:
        """Closes the file, and unless `keep` removes it: what came of it is saved elsewhere."""
        if self._file is not None:
            self._file.close()
            self._file = None
        if not keep:
            self.path.unlink(missing_ok=True)


def _is_reply(row: dict[str, Any]) -> bool:
    reply = row.get("reply")
    if not isinstance(row.get("key"), str) or not isinstance(reply, list) or len(reply) != 4:
        return False
    ids, logprobs, finish, _ = reply
    return isinstance(ids, list) and isinstance(logprobs, list) and isinstance(finish, str)
