"""What was sampled, written down before it is used.

A reply's key is everything that it followed from: the weights, the prompt's ids, the settings and the stream. A run
that resumes finds its replies here and never samples them again: company in a batch moves the last bits of a logit, so
bits are kept by remembering, not by hoping. A journal lasts until what came of it is saved.
"""

from __future__ import annotations

import json
from dataclasses import astuple
from pathlib import Path
from typing import IO

from sparring.files import writing
from sparring.sampler import Request, Sampled
from sparring.seeds import digest


def key(weights: str, request: Request) -> str:
    """The name of the reply to `request` by the model whose weights are called `weights`."""
    return digest(weights, list(request.ids), json.dumps(astuple(request.sampling)), request.stream)


class Journal:
    """Replies by key, in a file of one JSON object a line that is only ever added to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[str, Sampled] = {}
        self._file: IO[str] | None = None
        if path.exists():
            self._read()

    def _read(self) -> None:
        with self.path.open("r+") as file:
            while line := file.readline():
                if not line.endswith("\n"):  # the process died in mid-line
                    file.seek(file.tell() - len(line))
                    file.truncate()
                    break
                ids, logprobs, finish, retokenised = (entry := json.loads(line))["reply"]
                self._known[entry["key"]] = Sampled(tuple(ids), tuple(logprobs), finish, retokenised)

    def get(self, name: str) -> Sampled | None:
        """The reply called `name`, if it was sampled before."""
        return self._known.get(name)

    def put(self, name: str, sampled: Sampled) -> None:
        """Writes a reply down; it is on its way to the disk when this returns."""
        with writing(self.path):
            if self._file is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self.path.open("a")
            self._file.write(json.dumps({"key": name, "reply": astuple(sampled)}) + "\n")
            self._file.flush()
        self._known[name] = sampled

    def close(self, keep: bool = True) -> None:
        """Closes the file, and unless `keep` removes it: what came of it is saved elsewhere."""
        if self._file is not None:
            self._file.close()
            self._file = None
        if not keep:
            self.path.unlink(missing_ok=True)
