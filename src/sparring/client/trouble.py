"""Failures of one exchange with a server: their names, and whether a retry may help."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from sparring.core.attempts import Tokens, clean

RATE_LIMITED = 429
TEMPORARY = (408, 409, 425)  # a retry may help, as with 429 and every 5xx; with 400, 404, … it does not
NOT_ALLOWED = (401, 403)
FORM_REJECTED = (400, 422)  # the server may reject a single field (`completion.ServerQuirks`)
LONGEST_WAIT = 86_400.0  # seconds; any longer request to wait counts as this one
_SECONDS = re.compile(r"[0-9]{1,12}(\.[0-9]{0,12})?")
_LONGEST_DATE = 40  # characters; the longest form of an HTTP date has 33


class Trouble(Exception):
    """An exchange that brought no reply.

    `outcome` names the failure and `error` describes it. `can_retry`: whether the same request may succeed later.
    `wait`: seconds that the server asks to wait. `status`: the HTTP status, 0 if there is none. `is_host_failure`:
    whether the failure counts against the host's health. `is_unreachable`: whether no server answered at the address.
    `used`: tokens that are billed although there is no reply; None: unknown, since the server may have worked.
    """

    def __init__(
        self,
        outcome: str,
        error: str,
        *,
        can_retry: bool = True,
        wait: float = 0.0,
        status: int = 0,
        is_host_failure: bool = False,
        is_unreachable: bool = False,
        used: Tokens | None = Tokens(),  # noqa: B008 (frozen)
    ) -> None:
        super().__init__(f"{outcome}: {error}")
        self.outcome, self.error, self.can_retry, self.wait = outcome, error, can_retry, wait
        self.status, self.is_host_failure, self.is_unreachable = status, is_host_failure, is_unreachable
        self.used = used


def from_status(status: int, headers: Mapping[str, str], error: str) -> Trouble:
    """Return the Trouble for a response with the error `status`; `error` is the server's message."""
    error = f"{status} {error}"
    wait = retry_after(headers)
    if 300 <= status < 400:
        target = _redirect_host(headers.get("location", ""))
        reason = f"{status} to {target}; redirects are not followed; set base_url to the final address"
        return Trouble("redirected", reason, status=status, can_retry=False)
    if status == RATE_LIMITED:
        return Trouble("rate limited", error, wait=wait, status=status, can_retry="insufficient_quota" not in error)
    if status >= 500:
        return Trouble("server error", error, wait=wait, status=status, is_host_failure=True)
    if status in TEMPORARY:
        return Trouble("timed out" if status == 408 else "refused for now", error, wait=wait, status=status)
    return Trouble("not allowed" if status in NOT_ALLOWED else "refused", error, status=status, can_retry=False)


def _redirect_host(location: str) -> str:
    """Return the host of a redirect's target, without the rest of the address, which may contain a secret."""
    try:
        host = urlsplit(location).hostname
    except ValueError:
        host = None
    return clean(host)[:100] if host else "another path" if location else "nowhere"


def retry_after(headers: Mapping[str, str]) -> float:
    """Return the seconds in the header `Retry-After`, at most LONGEST_WAIT.

    The header holds digits or an HTTP date; 0 if it is missing or malformed.
    """
    value = headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(value):
        return min(float(value), LONGEST_WAIT)
    if len(value) > _LONGEST_DATE:
        return 0.0
    try:
        return min(max(0.0, parsedate_to_datetime(value).timestamp() - time.time()), LONGEST_WAIT)
    except (TypeError, ValueError, OverflowError, OSError):  # each is raised for some malformed date
        return 0.0
