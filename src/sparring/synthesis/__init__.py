"""Data that a speaker writes: new instructions, and the worked answers that a data set lacks.

A `WritingOrder` says what is wanted, of whom and for which task; `write_data` has it written in a folder, every call on
the ledger. What is kept follows from the replies and the seed, never from the order in which they arrive.
"""

from sparring.synthesis.order import WritingOrder
from sparring.synthesis.writing import Written, write_data

__all__ = ["WritingOrder", "Written", "write_data"]
