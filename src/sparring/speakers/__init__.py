"""One kind of speaker per module; `config.factory` finds a module or package in this folder by its name."""
