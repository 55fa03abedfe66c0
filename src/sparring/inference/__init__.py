"""Sampling: the engine, its key-value cache, and a model as a speaker."""
