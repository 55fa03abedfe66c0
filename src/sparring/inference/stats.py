"""What an engine reports about its batch, its cache and its work."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EngineStats:
    """What an engine holds now, and what it has computed since it was created.

    `rows`: rows of the batch, including ended ones not yet replaced. `waiting`: requests not yet admitted.
    `cache_rows`, `cache_columns`, `cache_bytes`: the size of the key-value cache. `prefill_tokens`: tokens computed by
    prefills, padding included. `reused_tokens`: prompt tokens whose keys and values were cached already.
    `decode_steps`: forward passes with one token in each row.
    """

    rows: int
    waiting: int
    cache_rows: int
    cache_columns: int
    cache_bytes: int
    prefill_tokens: int
    reused_tokens: int
    decode_steps: int
