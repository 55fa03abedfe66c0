"""What every package may use: errors, seeds, files, concurrency, the terminal."""
