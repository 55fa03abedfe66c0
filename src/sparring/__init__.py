"""Trains language models by letting them interact with a partner."""
