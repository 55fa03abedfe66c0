"""Replies on their way: what was asked, what was sampled, and the rows of a step as arrays.

Axes: B row, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparring.common.errors import RunStopped
from sparring.core.speaker import Sampling
from sparring.inference.kv_cache import Spans, starts
from sparring.inference.sampling import Draw


@dataclass(frozen=True)
class Request:
    """A prompt to be gone on with; `stream` seeds this request's own random numbers."""

    ids: tuple[int, ...]
    sampling: Sampling
    stream: int


@dataclass(frozen=True)
class Sampled:
    """What was sampled: `ids`, with the stop token where one ended it, and the `logprobs` of each (natural logarithm,
    temperature 1, unfiltered). `retokenised`: a stop string began inside a token, which was dropped whole."""

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish: Literal["stop", "length"]
    retokenised: bool = False


@dataclass(eq=False)
class RunningSequence:
    """A request on its way."""

    ticket: int
    request: Request
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    ended: bool = False

    @property
    def position(self) -> int:
        """Where the token stands that is to be computed next; how many columns of the cache are filled."""
        return len(self.request.ids) + len(self.ids) - 1

    @property
    def need(self) -> int:
        """The columns that it may come to fill."""
        return len(self.request.ids) + self.request.sampling.max_tokens


class RunningBatch:
    """The rows of a step, and what the step needs of them as arrays."""

    def __init__(self, rows: Sequence[RunningSequence], device: torch.device) -> None:
        self.rows, self.device = rows, device
        self._written = np.array([row.ids[-1] if row.ids else row.request.ids[-1] for row in rows], dtype=np.int64)
        self.ids_B = torch.from_numpy(self._written).to(device)
        self.positions = np.array([row.position for row in rows], dtype=np.int64)
        self.columns = self.positions.copy()  # where each row writes
        self._going = np.ones(len(rows), dtype=np.int64)
        self.starts = starts(self.positions) if device.type == "cpu" else [0]
        requests = [row.request for row in rows]
        streams, counts = [request.stream for request in requests], [len(row.ids) for row in rows]
        self._draw = Draw([request.sampling for request in requests], streams, counts, device)

    @property
    def written(self) -> NDArray[np.int64]:
        """The token that each row is about to write; -1 for those that ended."""
        return np.where(self._going, self._written, -1)

    @property
    def spans(self) -> Spans:
        """The rows in spans of like age, for attention."""
        widths = np.maximum.reduceat(self.positions, self.starts) + 1
        return list(zip(self.starts, [*self.starts[1:], len(self.rows)], widths.tolist(), strict=True))

    def take(self, logits_BV: Tensor) -> Iterator[tuple[int, RunningSequence]]:
        """Gives each row one more token; yields those that had not ended, by their places."""
        self.ids_B, logprobs_B = self._draw(logits_BV)
        self.positions += 1
        self.columns += self._going
        ids, logprobs = self.ids_B.tolist(), logprobs_B.tolist()
        if math.isnan(sum(logprobs)):
            raise RunStopped("the model computes logits that are not numbers; go on from an earlier checkpoint")
        self._written = np.array(ids, dtype=np.int64)
        for place, (row, token, logprob) in enumerate(zip(self.rows, ids, logprobs, strict=True)):
            if not row.ended:
                row.ids.append(token)
                row.logprobs.append(logprob)
                yield place, row

    def end(self, place: int) -> None:
        """The row at `place` has ended: from now on no columns are read for its sake, and only its last is written."""
        self.rows[place].ended = True
        self.positions[place] = 0  # it counts on, but stays behind the others, which all go on
        self.columns[place] -= 1
        self._going[place] = 0
