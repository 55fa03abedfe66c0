"""A steady pace: so much a minute, evenly spread, with no burst at the start.

An amount is booked before it is spent, which fixes the moment it may be; what was booked too much or too little (the
tokens of a reply that was not yet written) is put right afterwards.
"""

from __future__ import annotations

import asyncio
import time


class RateLimiter:
    """At most `per_minute` of something; None: as much as one likes."""

    def __init__(self, per_minute: float | None) -> None:
        self._each = 60 / per_minute if per_minute else 0.0
        self._free_at = 0.0

    def book(self, amount: float = 1.0) -> float:
        """Books `amount`; the seconds to wait before it may be spent."""
        now = time.monotonic()
        start = max(now, self._free_at)
        self._free_at = start + amount * self._each
        return start - now

    async def wait(self, amount: float = 1.0) -> None:
        """Books `amount` and returns when it may be spent."""
        if (seconds := self.book(amount)) > 0:
            await asyncio.sleep(seconds)

    def correct(self, amount: float) -> None:
        """Books `amount` more (less where negative) than was booked before."""
        self._free_at += amount * self._each
