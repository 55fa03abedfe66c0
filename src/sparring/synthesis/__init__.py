"""Writing training data with a speaker: new instructions, and rationales for problems that lack them.

A `WritingOrder` names the task, the speaker and the kind of data; `write_data` writes the data into a folder, with
every call on the ledger. The data depends on the replies and the seed, not on the order in which replies arrive.
"""

from sparring.synthesis.order import WritingOrder
from sparring.synthesis.writing import SynthesisResult, write_data

__all__ = ["SynthesisResult", "WritingOrder", "write_data"]
