"""Runs: training by a recipe in a folder, and what is done with a finished run."""
