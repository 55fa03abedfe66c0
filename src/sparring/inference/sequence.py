"""Requests, their completions, and the running batch: one row for each reply being decoded, as arrays for a step.

Axes: B row, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparring.common.errors import RunStopped
from sparring.core.speaker import Sampling
from sparring.inference.kv_cache import Spans, span_starts
from sparring.inference.sampling import TokenSampler


@dataclass(frozen=True)
class Request:
    """A prompt to complete; `stream` seeds the request's own random numbers.

    `watch` is called with the ids sampled so far, after each token but the last.
    """

    ids: tuple[int, ...]
    sampling: Sampling
    stream: int
    watch: Callable[[Sequence[int]], None] | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Completion:
    """The sampled tokens: `ids`, including a stop token, and their `logprobs` (natural logarithm, temperature 1, before
    top-k and top-p). `retokenised`: a stop string began inside a token, and the whole token was dropped."""

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish: Literal["stop", "length"]
    retokenised: bool = False


@dataclass(eq=False)
class RunningSequence:
    """A request and the tokens sampled for it so far."""

    ticket: int
    request: Request
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    ended: bool = False

    @property
    def position(self) -> int:
        """The position of the newest token, whose keys are computed next: the number of filled cache columns."""
        return len(self.request.ids) + len(self.ids) - 1

    @property
    def max_columns(self) -> int:
        """The most cache columns that the sequence can fill."""
        return len(self.request.ids) + self.request.sampling.max_tokens


class RunningBatch:
    """The rows of a decoding step, with their newest tokens (`ids_B`, `token_ids`), positions and cache columns."""

    def __init__(self, rows: Sequence[RunningSequence], device: torch.device) -> None:
        self.rows, self.device = rows, device
        newest = [row.ids[-1] if row.ids else row.request.ids[-1] for row in rows]
        self._newest_ids = np.array(newest, dtype=np.int64)
        self.ids_B = torch.from_numpy(self._newest_ids).to(device)
        self.positions = np.array([row.position for row in rows], dtype=np.int64)
        self.columns = self.positions.copy()  # where each row writes its keys and values
        self._is_running = np.ones(len(rows), dtype=np.int64)  # 0 for rows that have ended
        self.starts = span_starts(self.positions) if device.type == "cpu" else [0]
        requests = [row.request for row in rows]
        streams, counts = [request.stream for request in requests], [len(row.ids) for row in rows]
        self._sample = TokenSampler([request.sampling for request in requests], streams, counts, device)

    @property
    def token_ids(self) -> NDArray[np.int64]:
        """The token whose keys each row is about to write; -1 for rows that have ended."""
        return np.where(self._is_running, self._newest_ids, -1)

    @property
    def spans(self) -> Spans:
        """The rows divided into spans of similar length, for attention."""
        widths = np.maximum.reduceat(self.positions, self.starts) + 1
        return list(zip(self.starts, [*self.starts[1:], len(self.rows)], widths.tolist(), strict=True))

    def append_tokens(self, logits_BV: Tensor) -> Iterator[tuple[int, RunningSequence]]:
        """Sample one token for each row; yield the index and the sequence of each row that has not ended."""
        self.ids_B, logprobs_B = self._sample(logits_BV)
        self.positions += 1
        self.columns += self._is_running
        ids, logprobs = self.ids_B.tolist(), logprobs_B.tolist()
        if math.isnan(sum(logprobs)):
            raise RunStopped("the model's logits contain NaN; resume from an earlier checkpoint")
        self._newest_ids = np.array(ids, dtype=np.int64)
        for index, (row, token, logprob) in enumerate(zip(self.rows, ids, logprobs, strict=True)):
            if not row.ended:
                row.ids.append(token)
                row.logprobs.append(logprob)
                yield index, row

    def end(self, index: int) -> None:
        """Mark the row at `index` as ended: it reads almost no columns and rewrites only its last one."""
        self.rows[index].ended = True
        # Its position still grows by 1 a step, but stays below those of the running rows, which grow as fast.
        self.positions[index] = 0
        self.columns[index] -= 1
        self._is_running[index] = 0
