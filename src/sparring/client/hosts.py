"""A pool of servers for one model, asked in turn; a failing one is set aside and probed again later.

If all hosts are set aside, the one due back first is asked anyway: a dead server leads to errors, not to a hang. A
server's `Retry-After` is always obeyed: calls wait, or fail at once if the server stays closed for too long.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Sequence

from sparring.client.trouble import Trouble

TRIPS = 3  # consecutive failures after which a host is set aside
SHORTEST, LONGEST = 0.5, 60.0  # seconds that a failing host is set aside; each failed probe doubles them
LONG_WAIT = 5.0  # seconds; a longer one that a server asks for is said

_log = logging.getLogger(__name__)


class Host:
    """One server and its health."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.failures = 0  # consecutive
        self.back_at = 0.0  # set aside until then
        self.opens_at = 0.0  # the server asked for no requests until then

    def is_healthy(self, now: float) -> bool:
        """Whether the host is neither set aside nor closed at the time `now`."""
        return now >= max(self.back_at, self.opens_at)

    def answered(self) -> None:
        """Count a success: the host is healthy again."""
        self.failures, self.back_at = 0, 0.0

    def failed(self, is_unreachable: bool = False) -> None:
        """Count a failure. An unreachable host is set aside at once, others after TRIPS consecutive failures."""
        now = time.monotonic()
        if now >= self.back_at:  # failures of calls that were sent before it was set aside do not count
            self.failures = max(self.failures + 1, TRIPS if is_unreachable else 0)
            self._set_aside(now)

    def close_for(self, seconds: float) -> None:
        """Send the host no requests for `seconds`."""
        now = time.monotonic()
        if seconds > LONG_WAIT and self.opens_at <= now:  # once: the calls in flight are all told
            _log.warning("%s accepts no requests for %.0f s (it says so itself)", self.url, seconds)
        self.opens_at = max(self.opens_at, now + seconds)

    def start_probe(self) -> None:
        """Count the coming call to a failing host as a failure until it is answered, so that one call probes it."""
        if self.failures >= TRIPS:
            self.failures += 1
            self._set_aside(time.monotonic())

    def _set_aside(self, now: float) -> None:
        if self.failures >= TRIPS:
            self.back_at = now + min(LONGEST, SHORTEST * 2.0 ** min(self.failures - TRIPS, 30))

    async def wait_until_open(self, longest: float) -> None:
        """Return when the server accepts requests again, with a random delay so that calls do not all start at once.

        Raises Trouble at once if that is more than `longest` seconds away.
        """
        while (wait := self.opens_at - time.monotonic()) > 0:
            if wait > longest:
                raise Trouble("closed", f"{self.url} accepts no requests for another {wait:.0f} s", can_retry=False)
            await asyncio.sleep(wait + random.uniform(0, min(1.0, wait / 4)))


class Hosts:
    """The hosts of one model, in turn."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._hosts = [Host(url) for url in urls]
        self._turn = 0

    def next(self) -> Host:
        """Return the next healthy host in turn; if there is none, the one due back first."""
        now = time.monotonic()
        turns = [self._hosts[(self._turn + k) % len(self._hosts)] for k in range(len(self._hosts))]
        host = next((h for h in turns if h.is_healthy(now)), min(turns, key=lambda h: max(h.back_at, h.opens_at)))
        self._turn = (self._hosts.index(host) + 1) % len(self._hosts)
        host.start_probe()
        return host

    def has_other_healthy(self, host: Host) -> bool:
        """Whether a host other than `host` is healthy, so that a retry needs no pause."""
        now = time.monotonic()
        return any(other.is_healthy(now) for other in self._hosts if other is not host)
