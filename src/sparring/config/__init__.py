"""Recipes: a TOML file as the objects of a run, and back."""
