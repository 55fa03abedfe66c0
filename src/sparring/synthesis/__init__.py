"""Writing training data with a speaker: new instructions, and rationales for problems that lack them.

A `SynthesisRecipe` names the task, the speaker and the kind of data; `synthesize` writes the data into a folder, with
every call on the ledger. The data depends on the replies and the seed, not on the order in which replies arrive.
"""

from sparring.synthesis.recipe import SynthesisRecipe
from sparring.synthesis.writing import SynthesisResult, synthesize

__all__ = ["SynthesisRecipe", "SynthesisResult", "synthesize"]
