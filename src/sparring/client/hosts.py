"""Several servers of one model, asked in turn; a sick one is set aside and looked at again later.

Set aside is only a preference: where no host is well, the one that comes back first is asked all the same, so that a
dead server shows as failures and not as silence. What a server itself asks for (`Retry-After`) is binding for everyone.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence

TRIPS = 3  # failures in a row: fewer may be chance
SHORTEST, LONGEST = 0.5, 60.0  # seconds that a sick host is set aside; the time doubles with each look that fails


class Host:
    """One server and its health."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.failures = 0  # in a row
        self.back_at = 0.0  # set aside until then
        self.opens_at = 0.0  # asked us not to come before then

    def well(self, now: float) -> bool:
        """Whether it may be asked before others."""
        return now >= max(self.back_at, self.opens_at)

    def answered(self) -> None:
        """It is well again."""
        self.failures, self.back_at = 0, 0.0

    def failed(self, unreachable: bool = False) -> None:
        """Counts a failure; `unreachable` sets it aside at once, others after a few in a row."""
        now = time.monotonic()
        if now >= self.back_at:  # what was under way when it was set aside tells nothing new
            self.failures = max(self.failures + 1, TRIPS if unreachable else 0)
            self._set_aside(now)

    def close_for(self, seconds: float) -> None:
        """Nobody asks it for `seconds`."""
        self.opens_at = max(self.opens_at, time.monotonic() + seconds)

    def look(self) -> None:
        """Counts the coming call as failed until it is answered: one call only finds out how a host set aside is."""
        if self.failures >= TRIPS:
            self.failures += 1
            self._set_aside(time.monotonic())

    def _set_aside(self, now: float) -> None:
        if self.failures >= TRIPS:
            self.back_at = now + min(LONGEST, SHORTEST * 2.0 ** min(self.failures - TRIPS, 30))

    async def open(self) -> None:
        """Returns when the server lets us come; not all at the same moment."""
        while (wait := self.opens_at - time.monotonic()) > 0:
            await asyncio.sleep(wait + random.uniform(0, min(1.0, wait / 4)))


class Hosts:
    """The pool."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._hosts = [Host(url) for url in urls]
        self._turn = 0

    def next(self) -> Host:
        """The next well host in turn; where none is well, the one that is back first."""
        now = time.monotonic()
        turns = [self._hosts[(self._turn + k) % len(self._hosts)] for k in range(len(self._hosts))]
        host = next((h for h in turns if h.well(now)), min(turns, key=lambda h: max(h.back_at, h.opens_at)))
        self._turn = (self._hosts.index(host) + 1) % len(self._hosts)
        host.look()
        return host

    def well_besides(self, host: Host) -> bool:
        """Whether another one than `host` is well: then there is no need to pause."""
        now = time.monotonic()
        return any(other.well(now) for other in self._hosts if other is not host)
