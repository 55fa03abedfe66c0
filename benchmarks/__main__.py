"""All races, one after another, and their tables in the documentation.

python -m benchmarks            # about an hour on two cores
python -m benchmarks --tables   # only the tables, from the results that are there
"""

from __future__ import annotations

import argparse
import subprocess
import sys

from benchmarks import tables

RACES = ("pretrained", "sampling", "training", "online", "rounds", "ledger", "schedules")


def main() -> None:
    """Runs them, each in a process of its own."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("races", nargs="*", default=RACES, metavar="RACE", help=f"of {', '.join(RACES)}; default: all")
    parser.add_argument("--tables", action="store_true", help="write the tables only")
    told = parser.parse_args()
    if unknown := set(told.races) - set(RACES):
        parser.error(f"there is no race {', '.join(sorted(unknown))}; there is {', '.join(RACES)}")
    for name in () if told.tables else told.races:
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True)
    tables.write()


if __name__ == "__main__":
    main()
