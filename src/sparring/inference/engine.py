"""The decode loop: many requests, one key-value cache, slots refilled as replies end.

The rows of a step are one dense batch, the oldest first. A prompt is prefilled up to its last token, once for all
requests that share it; the last token goes through the ordinary step, which yields the first token of the reply. Rows
that ended are replaced, and the others moved up, not at once but when that is due for several.

A prompt that begins with tokens whose keys and values are still there, those of its conversation's earlier turn for
one, is prefilled from where it differs, and comes before others that wait: what it needs is overwritten otherwise. All
this only while the weights stay as they are.

Company, order and what was found computed change nothing of what a request draws but the last bits of its logits
(`draw`). Not here: the queue between tasks, and the journal (`model`).

Axes: B row, T token, C column of the cache, V vocabulary.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cache, cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from sparring.common.errors import ConfigError
from sparring.inference.fallback import generate
from sparring.inference.kv_cache import Move, Slots, attending_by_span, settled
from sparring.inference.sequence import Request, RunningBatch, RunningSequence, Sampled
from sparring.inference.stop_strings import cut
from sparring.models.introspection import arguments, cache_bytes, evaluating, free_bytes, obstacle, weight_sums, windows

MAX_PREFILL_WAIT = 8  # steps that a request waits at most for others to be prefilled with, while there is room
COMPACTION_SHARE = 6  # rows change places once one in so many does
BY_SPAN = ("cpu", torch.float32, "sdpa")  # where attention span by span is the faster one
PADDING = 32  # padded tokens that cost as much as one more forward pass; on a GPU, 32 times as many
PREFILL = 8192  # tokens of one prefill at most, for the memory that it takes
REUSED = 24  # tokens that a prompt must share with a place of the cache for its keys and values to be taken from there
FREE = 0.4  # of what a GPU has free goes to a cache that nobody bounds: while it grows, there are two
IDLE = 8192  # columns of the largest cache that is kept while there is nothing to do

_UNBOUNDED = 2**62

_log = logging.getLogger(__name__)


@cache
def tell(reason: str) -> None:
    """Says once why replies take longer."""
    _log.warning("replies are sampled by model.generate, which is slower: %s", reason)


class Engine:
    """Takes requests at any time; every `step` gives each row one more token.

    `slots` bounds the rows of a step; `cache_tokens` and `cache_gib` what the cache may hold. With neither, a
    GPU's free memory does. They are kept to by admitting fewer requests; one that is larger by itself is served alone.
    `fallback` says why `model` cannot be served this way, if so: then `model.generate` does it in batches.
    """

    def __init__(
        self,
        model: Any,
        stop_ids: Collection[int],
        decode: Callable[[Sequence[int]], str],
        *,
        slots: int = 128,
        cache_tokens: int | None = None,
        cache_gib: float | None = None,
        pad_id: int = 0,
    ) -> None:
        self._model, self._stop_ids, self._decode, self._pad_id = model, frozenset(stop_ids), decode, pad_id
        self._most_rows = slots
        in_gib = int(cache_gib * 2**30 / self._token_bytes) if cache_gib else _UNBOUNDED
        self._bound = min(cache_tokens or _UNBOUNDED, in_gib)
        self._config = model.config.get_text_config(decoder=True)
        self._last_only = {"logits_to_keep": 1} if "logits_to_keep" in arguments(model) else {}
        self._waiting: deque[RunningSequence] = deque()
        self._going_on: deque[RunningSequence] = deque()  # those waiting that find half of their prompts computed
        self._waited = 0
        self._tickets = 0
        self._batch = RunningBatch([], model.device)
        self._slots = Slots()
        self._state: list[float] = []
        self._windows = list(dict.fromkeys(windows(self._config)))
        self._dtype, self._device = model.dtype, model.device
        self._by_span = (self._device.type, self._dtype, self._config._attn_implementation) == BY_SPAN
        self.fallback = obstacle(model)
        if self.fallback:
            tell(self.fallback)

    @cached_property
    def _token_bytes(self) -> int:
        return max(1, cache_bytes(self._model))

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
        _, found = self._slots.longest(request.ids[:-1], REUSED)
        (self._going_on if 2 * found >= prompt else self._waiting).append(RunningSequence(self._tickets, request))
        self._tickets += 1
        return self._tickets - 1

    @property
    def busy(self) -> bool:
        """Whether a reply is still to come."""
        return bool(self._going_on or self._waiting) or not all(row.ended for row in self._batch.rows)

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
            self._batch = RunningBatch([], self._device)
            if math.prod(self._slots.size) > IDLE:
                self.forget()
        return ended

    def forget(self) -> None:
        """Lets go of the keys and values of replies that ended, unless others are under way."""
        if not self._batch.rows:
            self._slots = Slots()

    def _check_state(self) -> None:
        """Forgets what was computed by other weights."""
        before, self._state = self._state, weight_sums(self._model)
        if self._state != before:
            self.forget()

    def _arrange(self) -> None:
        """Admits waiting requests and closes the gaps of rows that ended, when enough rows are concerned."""
        if not self._batch.rows:
            self._check_state()
        live = [row for row in self._batch.rows if not row.ended]
        room = min(len(self._going_on) + len(self._waiting), self._most_rows - len(live))
        self._waited = self._waited + 1 if room else 0
        enough = max(1, len(live) // COMPACTION_SHARE)
        new = self._admitted(live) if room >= enough or self._waited > MAX_PREFILL_WAIT else []
        if not new and len(self._batch.rows) - len(live) < enough:
            return
        self._waited = 0
        before = {row: place for place, row in enumerate(self._batch.rows)}
        rows = settled(sorted([*live, *new], key=lambda row: -row.position), before)
        self._batch = RunningBatch(rows, self._device)
        staying = [Move(before[row], place, row.position) for place, row in enumerate(rows) if row in before]
        coming = [place for place, row in enumerate(rows) if row not in before]
        first, known, copied = self._found(coming)
        self._slots.arrange(len(rows), staying, known, self._larger())
        self._prefill(first)
        self._slots.move(copied)
        for place in coming:
            self._slots.hold(place, rows[place].request.ids[:-1])

    def _admitted(self, live: Sequence[RunningSequence]) -> list[RunningSequence]:
        """The next requests, as many as there are places and memory for beside the rows `live`."""
        new: list[RunningSequence] = []
        width, most = max((row.need for row in live), default=0), self._most()
        while (queue := self._going_on or self._waiting) and len(live) + len(new) < self._most_rows:
            width = max(width, queue[0].need)
            if (live or new) and (len(live) + len(new) + 1) * width > most:
                break
            new.append(queue.popleft())
        return new

    def _most(self) -> int:
        """The tokens that the cache may hold: as given, or as suits what the device has free beside it."""
        free = free_bytes(self._device) if self._bound == _UNBOUNDED else None
        if free is None:
            return self._bound
        return int(FREE * free / self._token_bytes + math.prod(self._slots.size) * (1 - FREE))

    def _found(self, places: Sequence[int]) -> tuple[dict[int, int], list[Move], list[Move]]:
        """How the new rows at `places` come by the keys and values of their prompts: those to be prefilled, and after
        how many tokens; what is taken from where it lies now; and what is copied when all are prefilled."""
        first: dict[int, int] = {}
        known: list[Move] = []
        copied: list[Move] = []
        homes: dict[tuple[int, ...], tuple[int, int, int]] = {}
        for place in places:
            ids = self._batch.rows[place].request.ids[:-1]
            if ids not in homes:
                homes[ids] = (place, *self._slots.longest(ids, REUSED))
                if homes[ids][2] < len(ids):
                    first[place] = homes[ids][2]
            home, source, found = homes[ids]
            if found and (place == home or found == len(ids)):
                known.append(Move(source, place, found))
            elif place != home and ids:
                copied.append(Move(home, place, len(ids)))
        return first, known, copied

    def _larger(self) -> tuple[int, int] | None:
        """The size of the cache that the batch needs, if this one is too small."""
        rows, columns = len(self._batch.rows), int(self._batch.positions.max()) + 1
        if rows <= self._slots.size[0] and columns <= self._slots.size[1]:
            return None
        most = max(row.need for row in self._batch.rows)
        room = min(2 * rows, self._most_rows), min(columns + columns // 2 + 16, most)
        size = max(self._slots.size[0], room[0]), max(self._slots.size[1], room[1])
        return size if size[0] * size[1] <= self._most() else (rows, most)

    def _prefill(self, first: Mapping[int, int]) -> None:
        """Computes the prompts of the rows at the places `first`, after so many tokens, up to their last ones."""
        rows, device = self._batch.rows, self._device
        padding = PADDING if device.type == "cpu" else 32 * PADDING
        for begun in (False, True):
            news = [(len(rows[at].request.ids) - 1 - done, at) for at, done in first.items() if bool(done) == begun]
            for places in alike(news, padding):
                begin_B = torch.tensor([first[place] for place in places], device=device)
                last_B = torch.tensor([rows[place].position for place in places], device=device)
                new = max(rows[place].position - first[place] for place in places)
                padded = [rows[place].request.ids[first[place] : -1] for place in places]
                ids_BT = torch.tensor([(*ids, *[self._pad_id] * new)[:new] for ids in padded], device=device)
                positions_BT = torch.minimum(begin_B[:, None] + torch.arange(new, device=device), last_B[:, None])
                width = int(last_B.max()) if begun else new
                self._slots.aim(torch.tensor(places, device=device), positions_BT if begun else None, width)
                self._forward(ids_BT, positions_BT, self._mask(positions_BT, width) if begun else None)

    def _decoded(self) -> Tensor:
        """The logits of the next token of every row, [B, V]."""
        batch, spans = self._batch, self._batch.spans
        width = max(columns for _, _, columns in spans)
        if width > self._slots.size[1]:
            self._slots.move([], self._larger())
        places = np.arange(len(batch.rows))
        self._slots.ids_BC[places, batch.columns] = batch.written
        columns_B = torch.from_numpy(batch.columns).to(batch.device)
        self._slots.aim(torch.from_numpy(places).to(batch.device), columns_B, width)
        ids_B1, positions_B1 = batch.ids_B[:, None], torch.from_numpy(batch.positions).to(batch.device)[:, None]
        mask = self._mask(positions_B1, width)
        if not self._by_span:
            return self._forward(ids_B1, positions_B1, mask)
        with attending_by_span(self._config):
            return self._forward(ids_B1, positions_B1, mask, spans=spans)

    def _mask(self, positions_BT: Tensor, width: int) -> Any:
        """What each token may attend to, [B, 1, T, C], in the form in which its layers expect it."""
        age_BTC = positions_BT[:, :, None] - torch.arange(width, device=positions_BT.device)
        masks = {}
        for window in self._windows:
            hidden_BTC = age_BTC < 0 if window is None else (age_BTC < 0) | (age_BTC >= window)
            mask = torch.where(hidden_BTC[:, None], -torch.inf, 0.0).to(self._dtype)
            masks["full_attention" if window is None else "sliding_attention"] = mask
        return masks if len(masks) > 1 else mask

    def _forward(self, ids_BT: Tensor, positions_BT: Tensor, mask: Any, **kwargs: Any) -> Tensor:
        kwargs |= {"input_ids": ids_BT, "position_ids": positions_BT, "attention_mask": mask}
        output = self._model(**kwargs, **self._last_only, past_key_values=self._slots, use_cache=True)
        logits_BV: Tensor = output.logits[:, -1]
        return logits_BV

    def _taken(self, batch: RunningBatch, logits_BV: Tensor) -> list[tuple[int, Sampled]]:
        """Draws a token for each row; returns the replies that ended."""
        ended = []
        for place, row in batch.take(logits_BV):
            sampled = self._ending(row)
            if sampled:
                batch.end(place)
                ended.append((row.ticket, sampled))
        return ended

    def _ending(self, row: RunningSequence) -> Sampled | None:
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
        batch = RunningBatch(self._admitted([]), self._device)

        def take(logits_BV: Tensor) -> tuple[Tensor, list[bool]]:
            ended.extend(self._taken(batch, logits_BV))
            return batch.ids_B, [row.ended for row in batch.rows]

        limit = max(row.request.sampling.max_tokens for row in batch.rows)
        generate(self._model, [row.request.ids for row in batch.rows], limit, self._pad_id, take)
        return ended


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
