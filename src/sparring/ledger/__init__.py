"""A record of every partner call: it is paid once, counts towards a budget, and can be replayed.

A call is identified by the content of its request (`attempts.Recordable`), the sample number included. So a repeated
call is free, whichever role or host it is for. `recorded` caches calls, `store` writes the file, `budget` has the caps,
`prices` the prices, `accounts` reads.
"""

from sparring.ledger.accounts import Total, entries, export, restore, runs, totals
from sparring.ledger.budget import Budget, BudgetReached, Cap, Price
from sparring.ledger.prices import Prices, addresses
from sparring.ledger.recorded import Ledger, Mode, NotRecorded, Recorded

__all__ = [
    "Budget",
    "BudgetReached",
    "Cap",
    "Ledger",
    "Mode",
    "NotRecorded",
    "Price",
    "Prices",
    "Recorded",
    "Total",
    "addresses",
    "entries",
    "export",
    "restore",
    "runs",
    "totals",
]
