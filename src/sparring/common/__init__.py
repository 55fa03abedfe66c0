"""Utilities for every package: errors, seeds, files, concurrency, the terminal."""
