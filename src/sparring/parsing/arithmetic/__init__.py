"""Integer arithmetic as people write it down: expressions, what they say, equations in prose, and whole derivations.

expressions   the tree that was written: read, write, work out
forms         what it says, brackets that change nothing apart; what follows from what
equations     what a text says equals what
derivation    a worked calculation, followed line by line to the first thing that is wrong
"""
