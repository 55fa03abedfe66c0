"""Things chosen by name."""

from __future__ import annotations

import pytest

from sparring.common.errors import ConfigError
from sparring.common.registry import Catalogue, first_sentence


def test_an_unknown_name_is_told_with_all_known_ones():
    with pytest.raises(
        ConfigError, match=r"unknown method 'tripos' \(did you mean 'tripost'\?\); choose from .*saie.*sft"
    ):
        Catalogue("sparring.methods", "method")["tripos"]


def test_a_dotted_path_admits_things_from_outside():
    methods = Catalogue("sparring.methods", "method")
    assert methods["sparring.parsing.steps.Fault"].__name__ == "Fault"
    with pytest.raises(ConfigError, match="not a dataclass"):
        methods["fractions.Fraction"]
    with pytest.raises(ConfigError, match=r"no_such"):
        methods["no_such.Thing"]
    with pytest.raises(ConfigError, match="not a dataclass"):
        methods["math.pi"]


def test_a_summary_is_the_first_sentence_of_the_docstring():
    assert first_sentence(Catalogue("sparring.partners", "partner")["model_critic"]) == (
        "Asks a speaker where an attempt first goes wrong."
    )


def test_a_module_that_cannot_be_imported_is_one_line(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    for name, body, says in (("broken", "def (", "SyntaxError"), ("leaving", "raise SystemExit(3)", "SystemExit: 3")):
        (tmp_path / f"{name}_tasks.py").write_text(body)
        with pytest.raises(ConfigError, match=f"cannot import the task '{name}_tasks.Task': {says}"):
            Catalogue("sparring.tasks", "task")[f"{name}_tasks.Task"]
