"""One exam per module; `runs.examination` finds a module in this folder by its name."""
