"""Moving weights: batches, losses, log-probabilities, optimiser, checkpoints."""
