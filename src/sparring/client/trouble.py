"""What can befall one exchange with a server, by name, and whether asking again may help."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from sparring.core.attempts import Tokens, clean

RATE_LIMITED = 429
FOR_NOW = (408, 409, 425)  # with 429 and every 5xx; others (400, 404, …) would be answered in the same way again
NOT_ALLOWED = (401, 403)
FORM_REFUSED = (400, 422)  # perhaps for one field only
LONGEST_WAIT = 86_400.0  # seconds; who asks for more means as much: not soon
_SECONDS = re.compile(r"[0-9]{1,12}(\.[0-9]{0,12})?")
_LONGEST_DATE = 40  # characters; the longest form of an HTTP date has 33


class Trouble(Exception):
    """An exchange without a reply.

    `outcome` is its name; `again`: whether the same request may fare better; `wait`: the seconds the server asks for;
    `sick`: whether it tells something about the health of the host; `unreachable`: nobody is there; `used`: what is
    billed all the same.
    """

    def __init__(
        self,
        outcome: str,
        error: str,
        *,
        again: bool = True,
        wait: float = 0.0,
        status: int = 0,
        sick: bool = False,
        unreachable: bool = False,
    ) -> None:
        super().__init__(f"{outcome}: {error}")
        self.outcome, self.error, self.again, self.wait = outcome, error, again, wait
        self.status, self.sick, self.unreachable = status, sick, unreachable
        self.used = Tokens()


def of_status(status: int, headers: Mapping[str, str], error: str) -> Trouble:
    """The trouble that a response with an error status is; `error`: the server's own words."""
    error = f"{status} {error}"
    wait = retry_after(headers)
    if 300 <= status < 400:
        target = _target(headers.get("location", ""))
        told = f"{status} to {target}, and no redirect is followed; give the address that replies as base_url"
        return Trouble("redirected", told, status=status, again=False)
    if status == RATE_LIMITED:
        return Trouble("rate limited", error, wait=wait, status=status, again="insufficient_quota" not in error)
    if status >= 500:
        return Trouble("server error", error, wait=wait, status=status, sick=True)
    if status in FOR_NOW:
        return Trouble("timed out" if status == 408 else "refused for now", error, wait=wait, status=status)
    return Trouble("not allowed" if status in NOT_ALLOWED else "refused", error, status=status, again=False)


def _target(location: str) -> str:
    """The host that a redirect leads to, and nothing else of its address, which may hold a secret."""
    try:
        host = urlsplit(location).hostname
    except ValueError:
        host = None
    return clean(host)[:100] if host else "another path" if location else "nowhere"


def retry_after(headers: Mapping[str, str]) -> float:
    """The seconds that `Retry-After` asks for, at most LONGEST_WAIT, given in plain digits or as an HTTP date; 0 where
    it says nothing or anything else: a header is a stranger's data."""
    said = headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(said):
        return min(float(said), LONGEST_WAIT)
    if len(said) > _LONGEST_DATE:
        return 0.0
    try:
        return min(max(0.0, parsedate_to_datetime(said).timestamp() - time.time()), LONGEST_WAIT)
    except (TypeError, ValueError, OverflowError, OSError):  # what parts of dates that are none come to
        return 0.0
