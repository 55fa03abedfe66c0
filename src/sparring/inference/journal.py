"""A journal of sampled replies, written before they are used, so that a resumed run does not sample them again.

A reply's key is a digest of all that determines it: the weights, the prompt's ids, the settings and the random stream.
Sampling again would not reproduce its bits, because the other rows of a batch change the last bits of a logit. A
journal is removed once the experience made from its replies is saved.
"""

from __future__ import annotations

import json
import os
from dataclasses import astuple
from pathlib import Path
from typing import IO, Any, Self

from sparring.common.files import json_lines, writing
from sparring.common.seeds import digest
from sparring.inference.sequence import Completion, Request


def key(weights: str, request: Request) -> str:
    """Return the key of the completion of `request` by the model whose weights are named `weights`."""
    return digest(weights, list(request.ids), json.dumps(astuple(request.sampling)), request.stream)


class Journal:
    """Replies by key in an append-only file, one JSON object a line; memory holds only the offset of each line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._starts: dict[str, int] = {}
        self._end = 0
        self._file: IO[bytes] | None = None
        if path.exists():
            self._read()

    def _read(self) -> None:
        """Index the replies; damaged lines are skipped, so their replies are sampled again."""
        for row in json_lines(self.path):
            self._end = row.end
            if row.value is not None and _is_reply(row.value):
                self._starts[row.value["key"]] = row.start
        if self._end < self.path.stat().st_size:  # the process died while it wrote a line
            with writing(self.path):
                os.truncate(self.path, self._end)

    def _open(self) -> IO[bytes]:
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("a+b")
        return self._file

    def get(self, name: str) -> Completion | None:
        """Return the reply with the key `name`, or None if it was not sampled before."""
        if name not in self._starts:
            return None
        file = self._open()
        file.seek(self._starts[name])
        ids, logprobs, finish, retokenised = json.loads(file.readline())["reply"]
        return Completion(tuple(ids), tuple(logprobs), finish, retokenised)

    def put(self, name: str, completion: Completion) -> None:
        """Append a reply under the key `name` and flush it to the operating system."""
        # Not `astuple`, which copies every number.
        reply = [completion.ids, completion.logprobs, completion.finish, completion.retokenised]
        line = f"{json.dumps({'key': name, 'reply': reply})}\n".encode()
        with writing(self.path):
            file = self._open()
            self._end = file.seek(0, os.SEEK_END)  # a failed write may have moved the end of the file
            file.write(line)
            file.flush()
        self._starts[name] = self._end
        self._end += len(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self, keep: bool = True) -> None:
        """Close the file; unless `keep`, remove it."""
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
