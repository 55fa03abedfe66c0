"""Near-duplicate detection: exact ROUGE-L, and its speed."""

import random
import time

from hypothesis import given
from hypothesis import strategies as st

from sparring.synthesis.overlap import KnownTexts, split_words

texts = st.lists(st.sampled_from("abcde"), min_size=1, max_size=12).map(tuple)


def longest_common(one, other):
    """Return the length by the definition, cell by cell."""
    row = [0] * (len(other) + 1)
    for a in one:
        diagonal = 0
        for place, b in enumerate(other, start=1):
            diagonal, row[place] = row[place], diagonal + 1 if a == b else max(row[place], row[place - 1])
    return row[-1]


def rouge_l(one, other):
    return 2 * longest_common(one, other) / (len(one) + len(other))


def known(threshold, *some):
    found = KnownTexts(threshold)
    for text in some:
        found.add(text)
    return found


@given(st.lists(texts, max_size=12), texts, st.sampled_from([0.3, 0.5, 0.7, 0.9, 1.0]))
def test_a_text_is_similar_exactly_if_its_rouge_l_with_a_known_one_is_over_the_threshold(some, text, threshold):
    assert known(threshold, *some).has_similar(text) == any(rouge_l(text, other) > threshold for other in some)


def test_rouge_l_by_hand():
    text = split_words("Write a short poem about the sea.")  # 7 words
    twin = split_words("Write a long poem about the sea!")  # six of them in order: 12 / 14 = 0.857
    assert known(0.85, text).has_similar(twin)
    assert not known(0.86, text).has_similar(twin)
    assert not known(0.7, text).has_similar(
        split_words("Sea the about poem short a write?")
    )  # the same words in another order
    assert not known(1.0, text).has_similar(text)  # nothing is over 1; that it is the same is said by `in`
    assert text in known(1.0, text)
    assert not known(0.5, ("a", "b")).has_similar(("b", "a"))  # 2 / 4 is not over a half


def test_a_word_that_stands_twice_counts_twice():
    assert known(0.7, ("buy", "milk", "and", "milk")).has_similar(("buy", "milk", "milk"))  # 6 / 7
    assert not known(0.7, ("buy", "milk")).has_similar(("milk", "milk", "milk"))


def test_words_are_folded_and_of_every_script():
    assert split_words("Don't SHOUT, it's 2:30!") == ("don", "t", "shout", "it", "s", "2", "30")
    assert split_words("Straße STRASSE") == ("strasse", "strasse")
    assert split_words("猫について書く") == tuple("猫について書く")
    assert split_words("напиши стих о море") == ("напиши", "стих", "о", "море")
    assert split_words("?!… --") == ()
    assert not known(0.7, split_words("a b")).has_similar(())


def test_the_ten_thousandth_text_is_told_in_a_few_milliseconds():
    rng = random.Random(0)
    vocabulary = [f"w{round(rng.paretovariate(0.7))}" for _ in range(20_000)]  # a few are in nearly every text
    some = [tuple(rng.choices(vocabulary, k=rng.randint(5, 40))) for _ in range(10_000)]
    found = known(0.7, *some)
    asked = [tuple(rng.choices(vocabulary, k=rng.randint(5, 40))) for _ in range(100)]
    begun = time.perf_counter()
    assert sum(found.has_similar(text) for text in asked) < 50
    assert time.perf_counter() - begun < 100 * 0.02  # pair by pair it takes ten times as long
    assert found.has_similar(some[0][:-1])
