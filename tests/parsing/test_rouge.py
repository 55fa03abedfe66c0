"""ROUGE-L by published examples, by hand, and against the textbook's table."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparring.parsing.rouge import common_length, rouge_l


@pytest.mark.parametrize(
    ("text", "reference", "f1"),
    [
        ("police kill the gunman", "police killed the gunman", 3 / 4),  # Lin 2004, section 3: S2
        ("the gunman kill police", "police killed the gunman", 2 / 4),  # Lin 2004, section 3: S3
        # the README of rouge-score: precision 5/8, recall 5/9
        ("The quick brown dog jumps on the log.", "The quick brown fox jumps over the lazy dog", 10 / 17),
        ("3+7=10\n10+5=16\n16", "3+7=10; 10+5=15; 15", 2 * 5 / 14),  # 3 7 10 10 5 | 16 16
        ("Ünïcode's", "n code s", 1.0),  # letters outside a–z separate tokens, as in rouge-score
        ("same", "same", 1.0),
        ("other", "words", 0.0),
        ("", "words", 0.0),
        ("—", "!", 0.0),
    ],
)
def test_rouge_l_by_hand(text, reference, f1):
    assert rouge_l(text, reference) == pytest.approx(f1)


def by_table(one: str, other: str) -> int:
    table = [[0] * (len(other) + 1) for _ in range(len(one) + 1)]
    for i, a in enumerate(one):
        for j, b in enumerate(other):
            table[i + 1][j + 1] = table[i][j] + 1 if a == b else max(table[i][j + 1], table[i + 1][j])
    return table[-1][-1]


@given(st.text("abc", max_size=90), st.text("abc", max_size=90))
def test_the_length_is_that_of_the_textbooks_table(one, other):
    assert common_length(one, other) == by_table(one, other)
