"""The order of a few objects: reading claims about it, and following an argument from clues to it."""
