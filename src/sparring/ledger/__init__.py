"""Every partner call recorded, paid once, budgeted, replayable.

A call is known by its content: the request as plain data (`attempts.Recordable`), so that a repeat is free, wherever
it is sent and whoever asks, and K samples stay K calls. `store` holds the file, `budget` the promise, `accounts` reads.
"""

from sparring.ledger.accounts import Total, entries, export, restore, runs, totals
from sparring.ledger.budget import Budget, BudgetReached, Cap, Price
from sparring.ledger.recorded import Ledger, Mode, NotRecorded, Recorded

__all__ = [
    "Budget",
    "BudgetReached",
    "Cap",
    "Ledger",
    "Mode",
    "NotRecorded",
    "Price",
    "Recorded",
    "Total",
    "entries",
    "export",
    "restore",
    "runs",
    "totals",
]
