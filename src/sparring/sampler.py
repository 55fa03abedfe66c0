"""The decode loop: many requests, one key-value cache, slots refilled as replies end.

The rows of a step are one dense batch, the oldest first. A prompt is prefilled up to its last token, once for all
requests that share it; the last token goes through the ordinary step, which yields the first token of the reply. Rows
that ended are replaced, and the others moved up, not at once but when that is due for several.

Company and order change nothing of what a request draws but the last bits of its logits (`draw`). Not here: the queue
between tasks, and the journal (`model`).

Axes: B row, T token, C column of the cache, V vocabulary.
"""

from __future__ import annotations

import math
import warnings
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from transformers import GenerationConfig

from sparring.anatomy import arguments, evaluating, obstacle, windows
from sparring.draw import Draw
from sparring.errors import ConfigError, RunStopped
from sparring.slots import BAND, Move, Slots, Spans, attending_by_span, starts
from sparring.speaker import Sampling

PATIENCE = 8  # steps that a request waits at most for others to be prefilled with, while there is room
SHARE = 6  # rows change places once one in so many does
BY_SPAN = ("cpu", torch.float32, "sdpa")  # where attention span by span is the faster one
PADDING = 32  # padded tokens that cost as much as one more forward pass; on a GPU, 32 times as many
PREFILL = 8192  # tokens of one prefill at most, for the memory that it takes


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
class Row:
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


class Batch:
    """The rows of a step, and what the step needs of them as arrays."""

    def __init__(self, rows: Sequence[Row], device: torch.device) -> None:
        self.rows, self.device = rows, device
        self.ids_B = torch.tensor([row.ids[-1] if row.ids else row.request.ids[-1] for row in rows], device=device)
        self.positions = np.array([row.position for row in rows], dtype=np.int64)
        self.starts = starts(self.positions) if device.type == "cpu" else [0]
        requests = [row.request for row in rows]
        streams, counts = [request.stream for request in requests], [len(row.ids) for row in rows]
        self._draw = Draw([request.sampling for request in requests], streams, counts, device)

    @property
    def spans(self) -> Spans:
        """The rows in spans of like age, for attention."""
        widths = np.maximum.reduceat(self.positions, self.starts) + 1
        return list(zip(self.starts, [*self.starts[1:], len(self.rows)], widths.tolist(), strict=True))

    def take(self, logits_BV: Tensor) -> Iterator[tuple[int, Row]]:
        """Gives each row one more token; yields those that had not ended, by their places."""
        self.ids_B, logprobs_B = self._draw(logits_BV)
        self.positions += 1
        logprobs = logprobs_B.tolist()
        if math.isnan(sum(logprobs)):
            raise RunStopped("the model computes logits that are not numbers; go on from an earlier checkpoint")
        for place, (row, token, logprob) in enumerate(zip(self.rows, self.ids_B.tolist(), logprobs, strict=True)):
            if not row.ended:
                row.ids.append(token)
                row.logprobs.append(logprob)
                yield place, row

    def end(self, place: int) -> None:
        """The row at `place` has ended: from now on no columns are read for its sake."""
        self.rows[place].ended = True
        self.positions[place] = 0  # it counts on, but stays behind the others, which all go on


class Sampler:
    """Takes requests at any time; every `step` gives each row one more token.

    `slots` bounds the rows of a step, `cache_tokens` what the cache may hold, in tokens; one request alone is always
    served. `fallback` says why `model` cannot be served this way, if so: then `model.generate` does it in batches.
    """

    def __init__(
        self,
        model: Any,
        stop_ids: Collection[int],
        decode: Callable[[Sequence[int]], str],
        *,
        slots: int = 128,
        cache_tokens: int | None = None,
        pad_id: int = 0,
    ) -> None:
        self._model, self._stop_ids, self._decode, self._pad_id = model, frozenset(stop_ids), decode, pad_id
        self._most_rows, self._most_tokens = slots, cache_tokens or 2**62
        self._config = model.config.get_text_config(decoder=True)
        self._last_only = {"logits_to_keep": 1} if "logits_to_keep" in arguments(model) else {}
        self._waiting: deque[Row] = deque()
        self._waited = 0
        self._tickets = 0
        self._batch = Batch([], model.device)
        self._slots = Slots()
        self._windows = list(dict.fromkeys(windows(self._config)))
        self._dtype, self._device = model.dtype, model.device
        self._by_span = (self._device.type, self._dtype, self._config._attn_implementation) == BY_SPAN
        self.fallback = obstacle(model)
        if self.fallback:
            warnings.warn(f"replies are sampled by model.generate, which is slower: {self.fallback}", stacklevel=2)

    def submit(self, request: Request) -> int:
        """Puts `request` in the queue; returns the ticket under which `step` will return its reply."""
        prompt, reply = len(request.ids), request.sampling.max_tokens
        limit = getattr(self._config, "max_position_embeddings", None) or prompt + reply
        if not prompt:
            raise ConfigError("a prompt of no tokens cannot be gone on with; begin it with the model's first token")
        if prompt + reply > limit:
            raise ConfigError(
                f"a prompt of {prompt} tokens and a reply of up to {reply} do not fit the {limit} positions of the "
                "model; shorten the prompt or lower max_tokens"
            )
        self._waiting.append(Row(self._tickets, request))
        self._tickets += 1
        return self._tickets - 1

    @property
    def busy(self) -> bool:
        """Whether a reply is still to come."""
        return bool(self._waiting) or not all(row.ended for row in self._batch.rows)

    def step(self) -> list[tuple[int, Sampled]]:
        """Admits what fits, gives each row one more token, and returns the replies that ended, by ticket."""
        if not self.busy:
            return []
        with torch.inference_mode(), evaluating(self._model):
            if self.fallback:
                return self._generated()
            self._arrange()
            ended = self._taken(self._batch, self._decoded())
        if not self.busy:
            self._batch, self._slots = Batch([], self._device), Slots()
        return ended

    def _arrange(self) -> None:
        """Admits waiting requests and closes the gaps of rows that ended, when enough rows are concerned."""
        live = [row for row in self._batch.rows if not row.ended]
        room = min(len(self._waiting), self._most_rows - len(live))
        self._waited = self._waited + 1 if room else 0
        enough = max(1, len(live) // SHARE)
        new = self._admitted(live) if room >= enough or self._waited > PATIENCE else []
        if not new and len(self._batch.rows) - len(live) < enough:
            return
        self._waited = 0
        before = {row: place for place, row in enumerate(self._batch.rows)}
        rows = settled(sorted([*live, *new], key=lambda row: -row.position), before)
        self._batch = Batch(rows, self._device)
        self._settle([Move(before[row], place, row.position) for place, row in enumerate(rows) if row in before])
        self._prefill([place for place, row in enumerate(rows) if row not in before])

    def _admitted(self, live: Sequence[Row]) -> list[Row]:
        """The next requests, as many as there are places and memory for beside the rows `live`."""
        new: list[Row] = []
        width = max((row.need for row in live), default=0)
        while self._waiting and len(live) + len(new) < self._most_rows:
            width = max(width, self._waiting[0].need)
            if (live or new) and (len(live) + len(new) + 1) * width > self._most_tokens:
                break
            new.append(self._waiting.popleft())
        return new

    def _settle(self, moves: Collection[Move]) -> None:
        """Moves rows to their places in the batch; into a larger cache, if this one is too small for the batch."""
        rows, columns = len(self._batch.rows), int(self._batch.positions.max()) + 1
        size = None
        if rows > self._slots.size[0] or columns > self._slots.size[1]:
            most = max(row.need for row in self._batch.rows)
            room = min(2 * rows, self._most_rows), min(columns + columns // 2 + 16, most)
            size = max(self._slots.size[0], room[0]), max(self._slots.size[1], room[1])
            size = size if size[0] * size[1] <= self._most_tokens else (rows, most)
        self._slots.move([move for move in moves if size or move.source != move.target], size)

    def _prefill(self, places: Sequence[int]) -> None:
        """Computes the prompts of the rows at `places` up to their last tokens, each prompt once."""
        rows, device, new = self._batch.rows, self._batch.device, set(places)
        home = {row.request.ids: place for place, row in enumerate(rows) if place not in new}
        fresh = [place for place in places if home.setdefault(rows[place].request.ids, place) == place]
        padding = PADDING if device.type == "cpu" else 32 * PADDING
        for some in alike([(len(rows[place].request.ids) - 1, place) for place in fresh], padding):
            width = len(rows[some[-1]].request.ids) - 1
            padded = [(*rows[place].request.ids[:-1], *[self._pad_id] * width)[:width] for place in some]
            self._slots.aim(torch.tensor(some, device=device), None, width)
            self._forward(torch.tensor(padded, device=device), torch.arange(width, device=device)[None], None)
        homes = [home[rows[place].request.ids] for place in places]
        pairs = zip(homes, places, strict=True)
        self._slots.move([Move(home, place, rows[place].position) for home, place in pairs if home != place])

    def _decoded(self) -> Tensor:
        """The logits of the next token of every row, [B, V]."""
        batch, spans = self._batch, self._batch.spans
        width = max(columns for _, _, columns in spans)
        if width > self._slots.size[1]:
            self._settle([Move(place, place, row.position) for place, row in enumerate(batch.rows)])
        rows_B = torch.arange(len(batch.rows), device=batch.device)
        columns_B = torch.from_numpy(batch.positions).to(batch.device)
        self._slots.aim(rows_B, columns_B, width)
        ids_B1, positions_B1, mask = batch.ids_B[:, None], columns_B[:, None], self._mask(columns_B, width)
        if not self._by_span:
            return self._forward(ids_B1, positions_B1, mask)
        with attending_by_span(self._config):
            return self._forward(ids_B1, positions_B1, mask, spans=spans)

    def _mask(self, columns_B: Tensor, width: int) -> Any:
        """What each row may attend to, [B, 1, 1, C], in the form in which its layers expect it."""
        age_BC = columns_B[:, None] - torch.arange(width, device=columns_B.device)
        masks = {}
        for window in self._windows:
            hidden_BC = age_BC < 0 if window is None else (age_BC < 0) | (age_BC >= window)
            mask = torch.where(hidden_BC[:, None, None], -torch.inf, 0.0).to(self._dtype)
            masks["full_attention" if window is None else "sliding_attention"] = mask
        return masks if len(masks) > 1 else mask

    def _forward(self, ids_BT: Tensor, positions_BT: Tensor, mask: Any, **kwargs: Any) -> Tensor:
        kwargs |= {"input_ids": ids_BT, "position_ids": positions_BT, "attention_mask": mask}
        output = self._model(**kwargs, **self._last_only, past_key_values=self._slots, use_cache=True)
        logits_BV: Tensor = output.logits[:, -1]
        return logits_BV

    def _taken(self, batch: Batch, logits_BV: Tensor) -> list[tuple[int, Sampled]]:
        """Draws a token for each row; returns the replies that ended."""
        ended = []
        for place, row in batch.take(logits_BV):
            sampled = self._ending(row)
            if sampled:
                batch.end(place)
                ended.append((row.ticket, sampled))
        return ended

    def _ending(self, row: Row) -> Sampled | None:
        """The reply, if the last token of `row` ended it."""
        sampling, keep, whole = row.request.sampling, len(row.ids), True
        finish: Literal["stop", "length"] = "stop"
        if row.ids[-1] not in self._stop_ids:
            found = cut(row.ids, sampling.stop, self._decode) if sampling.stop else None
            if found:
                keep, whole = found
            elif keep == sampling.max_tokens:
                finish = "length"
            else:
                return None
        return Sampled(tuple(row.ids[:keep]), tuple(row.logprobs[:keep]), finish, not whole)

    def _generated(self) -> list[tuple[int, Sampled]]:
        """Whole replies to the next waiting requests, by `model.generate`."""
        ended: list[tuple[int, Sampled]] = []
        batch = Batch(self._admitted([]), self._device)
        generate(self._model, batch, self._pad_id, lambda logits_BV: ended.extend(self._taken(batch, logits_BV)))
        return ended


def generate(model: Any, batch: Batch, pad_id: int, take: Callable[[Tensor], None]) -> None:
    """Lets `model.generate` run until all rows of `batch` have ended; `take` draws the tokens from the logits."""
    longest = int(batch.positions.max()) + 1
    pads = [longest - len(row.request.ids) for row in batch.rows]
    ids_BT = [[pad_id] * pad + list(row.request.ids) for pad, row in zip(pads, batch.rows, strict=True)]
    mask_BT = torch.arange(longest) >= torch.tensor(pads)[:, None]

    def forced(_: Tensor, logits_BV: Tensor) -> Tensor:
        take(logits_BV)
        return torch.full_like(logits_BV, -torch.inf).scatter(1, batch.ids_B[:, None], 0.0)

    def ended(_ids: Tensor, _scores: Tensor, **kwargs: Any) -> Tensor:
        return torch.tensor([row.ended for row in batch.rows], device=batch.device)

    # Without its own settings: a repetition penalty, say, would change the logits, and its stop tokens are not ours.
    settings, model.generation_config = model.generation_config, GenerationConfig()
    try:
        model.generate(
            torch.tensor(ids_BT, device=batch.device),
            attention_mask=mask_BT.long().to(batch.device),
            do_sample=False,
            max_new_tokens=max(row.request.sampling.max_tokens for row in batch.rows),
            pad_token_id=pad_id,
            logits_processor=[forced],
            stopping_criteria=[ended],
        )
    finally:
        model.generation_config = settings


def settled(rows: Sequence[Row], before: Mapping[Row, int]) -> list[Row]:
    """The `rows`, sorted by age, so ordered within each band that as many as possible stay where they were `before`."""
    result: list[Row] = []
    for begin in range(0, len(rows), BAND):
        band = rows[begin : begin + BAND]
        places = range(begin, begin + len(band))
        staying = {before[row]: row for row in band if before.get(row) in places}
        coming = iter([row for row in band if before.get(row) not in places])
        result += [staying.get(place) or next(coming) for place in places]
    return result


def alike(prompts: Collection[tuple[int, int]], padding: int) -> Iterator[list[int]]:
    """The names in `prompts`, pairs of a length and a name, in batches with `padding` wasted tokens each at most, the
    shortest first; prompts of length 0 are left out."""
    some: list[int] = []
    wasted = longest = 0
    for length, name in sorted(pair for pair in prompts if pair[0]):
        wasted += len(some) * (length - longest)
        if some and (wasted > padding or (len(some) + 1) * length > PREFILL):
            yield some
            some, wasted = [], 0
        some.append(name)
        longest = length
    if some:
        yield some


def cut(ids: Sequence[int], stops: Sequence[str], decode: Callable[[Sequence[int]], str]) -> tuple[int, bool] | None:
    """How many tokens of `ids` lie whole before the first of the strings `stops`, and whether they are all the text
    before it; None where there is no such string. Only the last token can have completed one."""
    reach = max(len(stop.encode()) for stop in stops) + 8  # a token is a byte at least, but for a few that show nothing
    tail = decode(ids[-reach:])
    text = decode(ids) if any(stop in tail for stop in stops) else ""
    begins = [text.index(stop) for stop in stops if stop in text]
    if not begins:
        return None
    before = text[: min(begins)]
    keep = len(ids) - 1
    while not before.startswith(decode(ids[:keep])):
        keep -= 1
    return keep, decode(ids[:keep]) == before
