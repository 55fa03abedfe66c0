"""Tasks, one per file. The folder is the registry: a file in it is found by its name."""
