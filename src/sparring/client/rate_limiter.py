"""A rate limit per minute, spread evenly, without a burst at the start.

An amount is reserved before it is used. If the true amount turns out different (the tokens of a reply), it is corrected
afterwards.
"""

from __future__ import annotations

import asyncio
import time


class RateLimiter:
    """Allows at most `per_minute` units; None: no limit."""

    def __init__(self, per_minute: float | None) -> None:
        self._seconds_per_unit = 60 / per_minute if per_minute else 0.0
        self._free_at = 0.0

    def reserve(self, amount: float = 1.0) -> float:
        """Reserve `amount` units and return the seconds to wait before using them."""
        now = time.monotonic()
        start = max(now, self._free_at)
        self._free_at = start + amount * self._seconds_per_unit
        return start - now

    async def wait(self, amount: float = 1.0) -> None:
        """Reserve `amount` units and return when they may be used."""
        if (seconds := self.reserve(amount)) > 0:
            await asyncio.sleep(seconds)

    def correct(self, amount: float) -> None:
        """Add `amount` units (negative: give back) to what was reserved before."""
        self._free_at += amount * self._seconds_per_unit
