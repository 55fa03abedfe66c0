"""One loss per file. The folder is the register: a class in a file placed here is found by its `name`."""
