"""One objective's computation a file. The folder is the register: a file dropped in here is found by its name."""
