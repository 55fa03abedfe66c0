"""Data that a speaker writes: new instructions, and the worked answers that a data set lacks.

An `Order` says what is wanted, of whom and for which task; `write` has it written in a folder, every call on the
ledger. What is kept follows from the replies and the seed, never from the order in which they arrive.
"""

from sparring.synthesis.order import Order
from sparring.synthesis.writing import Written, write

__all__ = ["Order", "Written", "write"]
