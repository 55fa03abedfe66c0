"""Integer arithmetic as people write it: expressions, normal forms, equations in prose, and whole derivations.

expressions   the syntax tree: parse, format, evaluate
forms         a normal form without redundant brackets; whether one form follows from another
equations     the equations in a text
derivation    a worked calculation, followed line by line to its first mistake
"""
