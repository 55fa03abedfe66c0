"""One partner per module; `config.factory` finds a module in this folder by its name."""
