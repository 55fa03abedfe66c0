"""`sparring schema`: prints the JSON schema of recipes, with which editors complete and check them."""

from __future__ import annotations

import json

from sparring.cli.shared import say


def schema() -> None:
    """Print the JSON schema of recipes, for the completion and the checks of an editor."""
    from sparring.config.json_schema import recipe_schema

    say(json.dumps(recipe_schema(), indent=2, ensure_ascii=False))
