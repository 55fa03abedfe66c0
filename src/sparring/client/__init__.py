"""What it takes to ask over a network and be answered: clients, a pool of hosts, a pace, the form of the words.

Not here: when to try again (`speakers/endpoint`), what was asked before (`ledger`).
"""
