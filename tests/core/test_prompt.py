"""Prompt texts with placeholders."""

from __future__ import annotations

import pytest

from sparring.common.errors import ConfigError
from sparring.core.prompt import check_placeholders, fill


def test_what_goes_into_a_blank_is_never_a_template():
    assert fill("Q: {question} {gold}", question="{gold} {x}", gold="4") == "Q: {gold} {x} 4"
    assert fill('{"json": [1]} {question}', question="a") == '{"json": [1]} a'


def test_a_blank_without_words_is_an_error():
    with pytest.raises(ConfigError, match=r"\{qestion\}.*\{question\}"):
        fill("Q: {qestion}", question="a")
    with pytest.raises(ConfigError, match="answer"):
        check_placeholders("{answer}", ("question",))
