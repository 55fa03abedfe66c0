"""The decode loop: continuous batching of many requests over one key-value cache.

A step gives each row of the batch one more token. Rows that ended are replaced by waiting requests, and the others
moved up, once that is due for several rows. A prompt is prefilled up to its last token, once for all new requests with
the same prompt; the last token goes through the ordinary step, which samples the first token of the reply.

If the cache holds the beginning of a prompt, for instance from the conversation's earlier turn, prefill begins where
the prompt differs. Such requests go first, before other requests overwrite what they need. The cache is dropped when
the model's weights have changed.

What a request samples does not depend on the batch, the order or the cache, up to the rounding of its logits
(`sampling`). Not here: the queue shared by many tasks, and the journal (`model`).

Axes: B row, T token, C column of the cache, V vocabulary.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cache, cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sparring.common.errors import ConfigError
from sparring.inference.fallback import batches, generate
from sparring.inference.kv_cache import KeyValueCache, Move, order_in_bands, span_attention
from sparring.inference.sequence import Completion, Request, RunningBatch, RunningSequence
from sparring.inference.stats import EngineStats
from sparring.inference.stop_strings import cut
from sparring.models.introspection import arguments, cache_bytes, evaluating, free_bytes, obstacle, weight_sums, windows

MAX_PREFILL_WAIT = 8  # steps that a request waits, at most, to be prefilled together with others
COMPACTION_SHARE = 6  # the batch is rebuilt once one row in this many changes
SPAN_ATTENTION = ("cpu", "sdpa")  # device and attention for which attention by span is faster
MAX_PADDING = 32  # padding tokens that cost as much as another forward pass on a CPU
GPU_PADDING_FACTOR = 32  # times as many on a GPU
MAX_PREFILL_TOKENS = 8192  # tokens in one prefill, to bound its memory
MIN_SHARED_TOKENS = 24  # leading tokens that a prompt must share with a cached row to reuse its keys and values
FREE_SHARE = 0.4  # share of a GPU's free memory for an unbounded cache: while it grows, two copies exist
MAX_IDLE_TOKENS = 8192  # rows × columns of the largest cache that an idle engine keeps

_UNBOUNDED = 2**62

_log = logging.getLogger(__name__)


@cache
def warn_slow(reason: str) -> None:
    """Log once why decoding takes longer."""
    _log.warning("replies are sampled by model.generate, which is slower: %s", reason)


class _PromptSources(NamedTuple):
    """Where the new rows of a batch get the keys and values of their prompts.

    `n_cached`: rows to prefill, and how many tokens of each are cached. `reused`: copies of cached prefixes, made
    before the prefill. `shared`: copies from a new row with the same prompt, made after it.
    """

    n_cached: dict[int, int]
    reused: list[Move]
    shared: list[Move]


class Engine:
    """Accepts requests at any time; each `step` gives every row one more token.

    `slots` is the most rows of a step. `cache_tokens` and `cache_gib` bound the cache; without either, a GPU's free
    memory does. The engine keeps within the bound by admitting fewer requests; a request that exceeds it is served
    alone. `fallback` is the reason why `model` cannot be served like this (None if it can): `model.generate` then
    serves it in batches.
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
        self.model, self._stop_ids, self._decode, self._pad_id = model, frozenset(stop_ids), decode, pad_id
        self._max_rows = slots
        tokens_in_gib = int(cache_gib * 2**30 / self._token_bytes) if cache_gib else _UNBOUNDED
        self._max_cache_tokens = min(cache_tokens or _UNBOUNDED, tokens_in_gib)
        self._config = model.config.get_text_config(decoder=True)
        self._last_logits_only = {"logits_to_keep": 1} if "logits_to_keep" in arguments(model) else {}
        self._waiting: deque[RunningSequence] = deque()
        self._waiting_cached: deque[RunningSequence] = deque()  # those with at least half of the prompt cached go first
        self._steps_waited = 0
        self._n_submitted = self._prefill_tokens = self._reused_tokens = self._decode_steps = 0
        self._batch = RunningBatch([], model.device)
        self._cache = KeyValueCache()
        self._weight_sums: list[float] = []
        self._windows = list(dict.fromkeys(windows(self._config)))
        self._dtype, self._device = model.dtype, model.device
        self._uses_spans = (self._device.type, self._config._attn_implementation) == SPAN_ATTENTION
        self.fallback = obstacle(model)
        if self.fallback:
            warn_slow(self.fallback)

    @cached_property
    def _token_bytes(self) -> int:
        return max(1, cache_bytes(self.model))

    def submit(self, request: Request) -> int:
        """Queue `request`; return the ticket under which `step` returns its completion. ConfigError if it cannot fit
        the model."""
        prompt, max_tokens = len(request.ids), request.sampling.max_tokens
        limit = getattr(self._config, "max_position_embeddings", None) or prompt + max_tokens
        if not prompt:
            raise ConfigError("the prompt is empty; begin it with the model's first token")
        if prompt + max_tokens > limit:
            raise ConfigError(
                f"a prompt of {prompt} tokens and a reply of up to {max_tokens} exceed the model's {limit} positions; "
                "shorten the prompt or lower max_tokens"
            )
        _, n_cached = self._cache.longest_prefix(request.ids[:-1], MIN_SHARED_TOKENS)
        is_mostly_cached = 2 * n_cached >= prompt
        queue = self._waiting_cached if is_mostly_cached else self._waiting
        queue.append(RunningSequence(self._n_submitted, request))
        self._n_submitted += 1
        return self._n_submitted - 1

    @property
    def busy(self) -> bool:
        """Whether any request has not been completed."""
        return bool(self._waiting_cached or self._waiting) or not all(row.ended for row in self._batch.rows)

    def stats(self) -> EngineStats:
        """Summarise what the engine holds and has computed."""
        tensors = [tensor for keys_and_values in self._cache.tensors.values() for tensor in keys_and_values]
        return EngineStats(
            rows=len(self._batch.rows),
            waiting=len(self._waiting_cached) + len(self._waiting),
            cache_rows=self._cache.size[0],
            cache_columns=self._cache.size[1],
            cache_bytes=sum(tensor.nbytes for tensor in tensors),
            prefill_tokens=self._prefill_tokens,
            reused_tokens=self._reused_tokens,
            decode_steps=self._decode_steps,
        )

    def step(self) -> list[tuple[int, Completion]]:
        """Admit what fits, give each row one more token, and return the completions that ended, with their tickets."""
        if not self.busy:
            return []
        with torch.inference_mode(), evaluating(self.model):
            if self.fallback:
                return self._generate()
            self._admit()
            ended = self._append_tokens(self._batch, self._decode_step())
        if not self.busy:
            self._batch = RunningBatch([], self._device)
            if math.prod(self._cache.size) > MAX_IDLE_TOKENS:
                self.forget()
        return ended

    def forget(self) -> None:
        """Free the keys and values of ended replies, unless others are running."""
        if not self._batch.rows:
            self._cache = KeyValueCache()

    # ── admission ───────────────────────────────────────────────────────────────────────────────────────────

    def _forget_if_weights_changed(self) -> None:
        old_sums, self._weight_sums = self._weight_sums, weight_sums(self.model)
        if self._weight_sums != old_sums:
            self.forget()

    def _admit(self) -> None:
        """Replace ended rows by waiting requests, once enough rows are concerned to pay for rebuilding the batch."""
        if not self._batch.rows:
            self._forget_if_weights_changed()
        live = [row for row in self._batch.rows if not row.ended]
        n_admissible = min(len(self._waiting_cached) + len(self._waiting), self._max_rows - len(live))
        self._steps_waited = self._steps_waited + 1 if n_admissible else 0
        enough = max(1, len(live) // COMPACTION_SHARE)
        is_due = n_admissible >= enough or self._steps_waited > MAX_PREFILL_WAIT
        new = self._dequeue(live) if is_due else []
        n_ended = len(self._batch.rows) - len(live)
        if new or n_ended >= enough:
            self._steps_waited = 0
            self._rebuild_batch(live, new)

    def _dequeue(self, live: Sequence[RunningSequence]) -> list[RunningSequence]:
        """Take the next requests, as many as there are rows and memory for beside the rows `live`."""
        new: list[RunningSequence] = []
        columns, max_cache_tokens = max((row.max_columns for row in live), default=0), self._cache_capacity()
        while (queue := self._waiting_cached or self._waiting) and len(live) + len(new) < self._max_rows:
            columns = max(columns, queue[0].max_columns)
            # The first row is admitted whatever it needs: a request that exceeds the bound is served alone.
            if (live or new) and (len(live) + len(new) + 1) * columns > max_cache_tokens:
                break
            new.append(queue.popleft())
        return new

    def _cache_capacity(self) -> int:
        """The tokens that the cache may hold: the bound given, or what the device's free memory allows."""
        free = free_bytes(self._device) if self._max_cache_tokens == _UNBOUNDED else None
        if free is None:
            return self._max_cache_tokens
        # held + FREE_SHARE × (free − held): while the cache grows, its old copy takes memory beside the new one.
        held = math.prod(self._cache.size)
        return int(FREE_SHARE * free / self._token_bytes + held * (1 - FREE_SHARE))

    def _rebuild_batch(self, live: Sequence[RunningSequence], new: Sequence[RunningSequence]) -> None:
        """Make `live` and `new` the batch, longest first, and fill the cache with the new prompts."""
        old_index = {row: index for index, row in enumerate(self._batch.rows)}
        rows = order_in_bands(sorted([*live, *new], key=lambda row: -row.position), old_index)
        self._batch = RunningBatch(rows, self._device)
        staying = [Move(old_index[row], index, row.position) for index, row in enumerate(rows) if row in old_index]
        new_rows = [index for index, row in enumerate(rows) if row not in old_index]
        sources = self._find_prompts(new_rows)
        # Prefill reads the reused prefixes and writes the shared prompts, so it comes between the two copies.
        self._cache.rearrange(len(rows), staying, sources.reused, self._grown_size())
        self._prefill(sources.n_cached)
        self._cache.move(sources.shared)
        for index in new_rows:
            self._cache.record(index, rows[index].request.ids[:-1])

    def _find_prompts(self, new_rows: Sequence[int]) -> _PromptSources:
        """Decide for each of `new_rows` whether its prompt is cached, computed, or copied from another new row."""
        n_cached_of: dict[int, int] = {}
        reused: list[Move] = []
        shared: list[Move] = []
        first_with: dict[tuple[int, ...], tuple[int, int, int]] = {}  # prompt → (new row, cached row, cached tokens)
        for index in new_rows:
            ids = self._batch.rows[index].request.ids[:-1]
            if ids not in first_with:
                cached_row, n_cached = self._cache.longest_prefix(ids, MIN_SHARED_TOKENS)
                first_with[ids] = (index, cached_row, n_cached)
                if n_cached < len(ids):
                    n_cached_of[index] = n_cached
            first, cached_row, n_cached = first_with[ids]
            is_all_cached = n_cached == len(ids)
            if n_cached and (index == first or is_all_cached):
                reused.append(Move(cached_row, index, n_cached))
            elif index != first and ids:  # a prompt of one token has nothing to copy
                shared.append(Move(first, index, len(ids)))
        self._reused_tokens += sum(move.width for move in reused)
        return _PromptSources(n_cached_of, reused, shared)

    def _grown_size(self) -> tuple[int, int] | None:
        """The size (rows, columns) of a cache large enough for the batch; None if the present one is."""
        rows, columns = len(self._batch.rows), int(self._batch.positions.max()) + 1
        if rows <= self._cache.size[0] and columns <= self._cache.size[1]:
            return None
        max_columns = max(row.max_columns for row in self._batch.rows)
        # With room to grow, so that it is seldom copied.
        roomy_rows, roomy_columns = min(2 * rows, self._max_rows), min(columns + columns // 2 + 16, max_columns)
        size = max(self._cache.size[0], roomy_rows), max(self._cache.size[1], roomy_columns)
        return size if math.prod(size) <= self._cache_capacity() else (rows, max_columns)

    # ── forward passes ──────────────────────────────────────────────────────────────────────────────────────

    def _prefill(self, n_cached: Mapping[int, int]) -> None:
        """Compute the prompts of the rows in `n_cached`, up to their last tokens, after that many cached ones."""
        max_padding = MAX_PADDING if self._device.type == "cpu" else GPU_PADDING_FACTOR * MAX_PADDING
        for is_continued in (False, True):  # rows with nothing cached see only themselves, which is cheaper
            lengths = [
                (len(self._batch.rows[row].request.ids) - 1 - begin, row)
                for row, begin in n_cached.items()
                if bool(begin) == is_continued
            ]
            for rows in similar_lengths(lengths, max_padding):
                self._prefill_rows(rows, [n_cached[row] for row in rows], is_continued)

    def _prefill_rows(self, rows: Sequence[int], begins: Sequence[int], is_continued: bool) -> None:
        device, prompts = self._device, [self._batch.rows[row].request.ids for row in rows]
        last = [len(prompt) - 1 for prompt in prompts]
        uncached = [prompt[begin:-1] for prompt, begin in zip(prompts, begins, strict=True)]
        longest = max(map(len, uncached))
        padded = [[*ids, *[self._pad_id] * (longest - len(ids))] for ids in uncached]
        ids_BT = torch.tensor(padded, device=device)
        begin_B, last_B = torch.tensor(begins, device=device), torch.tensor(last, device=device)
        # Padding goes to the column of the prompt's last token, which the next step overwrites.
        positions_BT = torch.minimum(begin_B[:, None] + torch.arange(longest, device=device), last_B[:, None])
        width = max(last) if is_continued else longest
        self._cache.select(torch.tensor(rows, device=device), positions_BT if is_continued else None, width)
        self._forward(ids_BT, positions_BT, self._mask(positions_BT, width) if is_continued else None)
        self._prefill_tokens += ids_BT.numel()

    def _decode_step(self) -> Tensor:
        """Compute the logits of the next token of every row, [B, V]."""
        batch, spans = self._batch, self._batch.spans
        width = max(columns for _, _, columns in spans)
        if width > self._cache.size[1]:
            self._cache.move([], self._grown_size())
        row_indices = np.arange(len(batch.rows))
        self._cache.ids_BC[row_indices, batch.columns] = batch.token_ids
        columns_B = torch.from_numpy(batch.columns).to(batch.device)
        self._cache.select(torch.from_numpy(row_indices).to(batch.device), columns_B, width)
        ids_B1, positions_B1 = batch.ids_B[:, None], torch.from_numpy(batch.positions).to(batch.device)[:, None]
        mask = self._mask(positions_B1, width)
        self._decode_steps += 1
        if not self._uses_spans:
            return self._forward(ids_B1, positions_B1, mask)
        with span_attention(self._config):
            return self._forward(ids_B1, positions_B1, mask, spans=spans)

    def _mask(self, positions_BT: Tensor, width: int) -> Any:
        """The additive mask over the first `width` columns, [B, 1, T, C]; a dict by layer type if layers differ."""
        distance_BTC = positions_BT[:, :, None] - torch.arange(width, device=positions_BT.device)
        masks = {}
        for window in self._windows:
            is_future_BTC = distance_BTC < 0
            is_hidden_BTC = is_future_BTC if window is None else is_future_BTC | (distance_BTC >= window)
            mask = torch.where(is_hidden_BTC[:, None], -torch.inf, 0.0).to(self._dtype)
            layer_type = "full_attention" if window is None else "sliding_attention"  # transformers' names
            masks[layer_type] = mask
        return masks if len(masks) > 1 else mask

    def _forward(self, ids_BT: Tensor, positions_BT: Tensor, mask: Any, **kwargs: Any) -> Tensor:
        kwargs |= {"input_ids": ids_BT, "position_ids": positions_BT, "attention_mask": mask}
        output = self.model(**kwargs, **self._last_logits_only, past_key_values=self._cache, use_cache=True)
        logits_BV: Tensor = output.logits[:, -1]
        return logits_BV

    # ── completions ─────────────────────────────────────────────────────────────────────────────────────────

    def _append_tokens(self, batch: RunningBatch, logits_BV: Tensor) -> list[tuple[int, Completion]]:
        """Sample a token for each row of `batch`; return the completions that ended."""
        ended = []
        for index, row in batch.append_tokens(logits_BV):
            completion = self._completion(row)
            if completion:
                batch.end(index)
                ended.append((row.ticket, completion))
            elif row.request.watch:
                row.request.watch(row.ids)
        return ended

    def _completion(self, row: RunningSequence) -> Completion | None:
        """The completion, if the last token of `row` ended it."""
        sampling, length, is_exact = row.request.sampling, len(row.ids), True
        finish: Literal["stop", "length"] = "stop"
        if row.ids[-1] not in self._stop_ids:
            # A stop string may begin inside a token: then the whole token is cut off, and the cut is not exact.
            match = cut(row.ids, sampling.stop, self._decode) if sampling.stop else None
            if match:
                length, is_exact = match
            elif length == sampling.max_tokens:
                finish = "length"
            else:
                return None
        return Completion(tuple(row.ids[:length]), tuple(row.logprobs[:length]), finish, not is_exact)

    def _generate(self) -> list[tuple[int, Completion]]:
        """Complete the next waiting requests by `model.generate`."""
        ended: list[tuple[int, Completion]] = []
        for rows in batches(self._dequeue([])):
            batch = RunningBatch(rows, self._device)

            def take(logits_BV: Tensor, batch: RunningBatch = batch) -> tuple[Tensor, list[bool]]:
                ended.extend(self._append_tokens(batch, logits_BV))
                return batch.ids_B, [row.ended for row in batch.rows]

            max_tokens = max(row.request.sampling.max_tokens for row in rows)
            generate(self.model, [row.request.ids for row in rows], max_tokens, self._pad_id, take)
        return ended


def similar_lengths(prompts: Collection[tuple[int, int]], max_padding: int) -> Iterator[list[int]]:
    """Divide `prompts`, pairs (length, row), into groups of similar length; yield the rows of each, the shortest first.

    Padding a group to its longest prompt takes at most `max_padding` tokens. Prompts of length 0 are left out.
    """
    group: list[int] = []
    padding = longest = 0
    for length, row in sorted(pair for pair in prompts if pair[0]):
        padding += len(group) * (length - longest)
        if group and (padding > max_padding or (len(group) + 1) * length > MAX_PREFILL_TOKENS):
            yield group
            group, padding = [], 0
        group.append(row)
        longest = length
    if group:
        yield group
