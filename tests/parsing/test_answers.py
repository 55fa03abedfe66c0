"""What a response states as its answer, and whether it is right."""

import re
import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparring.parsing import answers

PLACES = ("bank", "library", "department store", "mall", "new york")
plain_words = st.from_regex(r"[a-z0-9]+( [a-z0-9]+){0,3}", fullmatch=True).filter(
    lambda text: not re.search("answer|option|choice", text)
)


# ---- the final answer


@pytest.mark.parametrize(
    ("response", "stated"),
    [
        ("6 * 3 = 18\n#### 18", "18"),
        ("So \\boxed{\\text{the mall}}.", "the mall"),
        ("Hence \\boxed{{a}{b}} holds.", "{a}{b}"),
        ("The answer is **mall**.\nI hope that helps!", "mall"),
        ("**Final Answer:** mall", "mall"),
        ("The answer to the question is: mall.", "mall"),
        ("The answer is:\n\nmall", "mall"),
        ("The answer is 5. No: the answer is 6.", "6"),
        ("The answer is not given.", "not given"),
        ("First this.\nThen mall.\n", "Then mall"),
        ("#### Answer: mall", "mall"),
        ("  ", ""),
    ],
)
def test_final_is_what_is_stated_last_and_otherwise_the_last_line(response, stated):
    assert answers.final(response) == stated


def test_a_response_states_its_answer_only_if_it_says_so():
    assert answers.states("The answer is 5.")
    assert not answers.states("3 + 2 = 5")
    assert not answers.states("He will answer it; this is 5.")


@given(plain_words)
def test_exact_accepts_every_usual_wording(gold):
    for response in (gold, gold.upper(), f"The answer is {gold}.", f"Well.\n#### **{gold}**", f"\\boxed{{{gold}}}"):
        assert answers.exact(gold, response)
        assert not answers.exact(gold + " x", response)


@given(st.text(min_size=1).filter(str.strip))
def test_exact_accepts_the_gold_answer_itself(gold):
    assert answers.exact(gold, gold)


def test_exact_compares_whole_answers():
    assert answers.exact("42", "The answer is 42. I hope this helps!")
    assert answers.exact("St. Louis", "The answer is St. Louis.")
    assert answers.exact("a b", "It is sorted.\nA  b")
    assert not answers.exact("mall", "The answer is small.")
    assert not answers.exact("mall", "mall bank")
    assert not answers.exact(".", "!")


def test_regex_matches_the_whole_final_answer():
    assert answers.regex(r"\d+ (apples|pears)", "The answer is 12 apples.")
    assert not answers.regex(r"\d+", "The answer is 12 apples.")
    assert not answers.regex(".*", " ")


@given(st.text())
def test_an_empty_response_is_never_right(gold):
    for empty in ("", " \n"):
        rules = (answers.exact, answers.number, answers.choice)
        assert not any(rule(gold, empty) for rule in rules)


# ---- numbers


@pytest.mark.parametrize(
    ("response", "value"),
    [
        ("#### $1,234.50", Fraction("1234.5")),
        ("#### Step 3: the total\n3+4 = 7\nShe has 7", 7),
        ("So \\boxed{\\frac{3}{4}}", Fraction(3, 4)),
        ("Answer: 1\\frac{1}{2}", Fraction(3, 2)),
        ("The answer is 1 1/2 cups.", Fraction(3, 2)),
        ("The answer is −5", -5),
        ("The answer is -$5 and no more", -5),
        ("The answer is $-5", -5),
        ("The answer is 5 + 3 = 8.", 8),
        ("So the answer is 16 - 3 - 4 = 9, 9 * 2 = 18.", 18),
        ("The answer is 16 - 3 - 4 = 9 eggs, and 2 * 9 = 18 dollars.", 18),
        ("The answer is 4 * 2 = 8 because 2 + 2 = 4.", 8),
        ("The answer is 4 + 4 = 8, or 8 * 2 pairs.", 8),
        ("The answer is 8, as 8 * 2 = 16.", 8),
        ("There are 9 * 2 of them. Answer: 18, or 6 * 3", 18),
        ("The answer is 5 apples + 3 apples = 8 apples", 8),
        ("The answer is 5*-3 = -15", -15),
        ("The answer is 10 (5 * 2 = 10)", 10),
        ("The answer is 10 because 4 = 2*2", 10),
        ("The answer is 18.\nI am sure that the answer is right.", 18),
        ("The answer is as follows:\n5+3 = 8", 8),
        ("She has 3 more than 5, or 8", 8),
        ("between 3–5", 5),
        ("18% of them", 18),
        ("1{,}234", 1234),
        ("1.5e3", 1500),
        (".5", Fraction(1, 2)),
        ("The answer is eighteen. 3 cheers", 3),
        ("The answer is not 5.\nIt is 6.", 6),
        ("The answer is 6 / 2 = 3", 3),
        ("The answer is 6/2", None),
        ("The answer is 3 + 4", None),
        ("The answer is 5 = 3 + 2", None),
        ("The answer is 5. No, wait: the answer is 6.", 6),
        ("#### 5\nNo, wait.\n#### 6", 6),
        ("The answer is 3/0", None),
        ("none at all", None),
        ("", None),
        ("9" * 10_000, None),
    ],
)
def test_the_number_that_a_response_ends_in(response, value):
    assert answers.stated_number(response) == value


@given(
    st.fractions(min_value=-(10**9), max_value=10**9, max_denominator=1).map(int),
    st.integers(0, 3),
    st.sampled_from(["The answer is {}.", "so\n#### {}", "\\boxed{{{}}}", "It comes to {}", "**Answer:** {} apples"]),
    st.sampled_from(["", "$"]),
)
def test_a_number_is_right_however_it_is_written_and_another_never(gold, places, wording, currency):
    zeros = "." + "0" * places if places else ""
    shown = f"{'-' if gold < 0 else ''}{currency}{abs(gold):,}{zeros}"
    assert answers.number(str(gold), wording.format(shown))
    assert not answers.number(str(gold + 1), wording.format(shown))
    assert not answers.number(f"{gold}.001", wording.format(shown))


def test_numbers_are_compared_exactly():
    assert answers.number("0.1", "1/10")
    assert not answers.number("0.3333333333333333", "1/3")
    assert not answers.number("100000000000000000001", "100000000000000000000")


@pytest.mark.parametrize("text", ["18", "$18", " 18.", "18%", "18 dollars", "1,800 km/h", "-3/4"])
def test_read_number_takes_a_number_with_its_unit(text):
    assert answers.read_number(text) is not None


@pytest.mark.parametrize("text", ["", "mall", "18 = 18", "48/2 = 24 clips.\n#### 24", "3 or 4", "1/0"])
def test_read_number_takes_nothing_else(text):
    assert answers.read_number(text) is None


# ---- choices


@pytest.mark.parametrize(
    ("response", "letter"),
    [
        ("B", "B"),
        ("b", "B"),
        ("(b)", "B"),
        ("**B**", "B"),
        ("B. library", "B"),
        ("**B.** library", "B"),
        ("library", "B"),
        ("The answer is (B)", "B"),
        ("The answer is B because A is wrong", "B"),
        ("\\boxed{\\text{B}}", "B"),
        ("The correct option is B.", "B"),
        ("Answer: option (B)", "B"),
        ("The bank is closed. Answer: B", "B"),
        ("Banks are for money, so the answer: (B)", "B"),
        ("A mall has shops! **Final answer:** B", "B"),
        ("The answer is the library, of course.", "B"),
        ("The answer is:\n\nB", "B"),
        ("Because of the books.\n(B)", "B"),
        ("B. library\n\nA library has books.", "B"),
        ("A", "A"),
        ("The answer is a.", "A"),
        ("The answer is A because", "A"),
        ("The answer is A: bank", "A"),
        ("A mall", "D"),
        ("The answer is a mall", "D"),
        ("The answer is A mall", "D"),
        ("The answer is A mall, since", "D"),
        ("The answer is not a mall but (B)", None),
        ("A mall has doors", None),
        ("A bank is one thing\nA mall is another", None),
        ("A. bank is wrong\nE. new york is wrong", None),
        ("The answer is B or C", None),
        ("The answer is (B) or (C)", None),
        ("The answer is (b) or (c)", None),
        ("The answer is B, C", None),
        ("The answer is mall or bank", None),
        ("B. mall", None),
        ("The answer is B. mall", None),
        ("F", None),
        ("", None),
    ],
)
def test_the_choice_that_a_response_makes(response, letter):
    assert answers.chosen(response, PLACES) == letter


def test_a_choice_within_another_is_not_taken_for_it():
    texts = ("york", "new york")
    assert answers.chosen("The answer is surely new york", texts) == "B"
    assert answers.chosen("The answer is surely york", texts) == "A"


def test_an_option_may_begin_with_not():
    assert answers.chosen("The answer is Not wrong, Wrong.", ("Wrong, Wrong", "Not wrong, Wrong")) == "B"


def test_letters_alone_are_read_where_the_options_are_unknown():
    assert answers.chosen("So the answer is (Q).") == "Q"
    assert answers.chosen("So it is Q, then") is None


@given(st.sampled_from("ABCDE"), st.sampled_from(["{}", "({})", "{}.", "The answer is {}", "#### {}", "So:\n**({})**"]))
def test_a_letter_is_read_in_every_usual_wording(letter, wording):
    assert answers.choice(letter, wording.format(letter), PLACES)


@given(st.sampled_from(range(5)), st.sampled_from(["{}", "The answer is {}.", "the {}", "\\boxed{{{}}}"]))
def test_the_words_of_an_option_are_read_in_every_usual_wording(place, wording):
    assert answers.chosen(wording.format(PLACES[place]), PLACES) == "ABCDE"[place]


# ---- what models write


@given(st.text(alphabet="The answerisABC(){}\\boxed#$.,-/=0123456789 \n*", max_size=200))
def test_no_text_breaks_the_reading(response):
    answers.final(response)
    answers.stated_number(response)
    answers.chosen(response, PLACES)
    answers.exact("x", response)


@pytest.mark.parametrize(
    "piece",
    ["answer is ", "\\boxed{", "#### ", "1,", "1 1/", "9", "a ", "*", "$", "-", "1e", "1=", "(A) ", "\\frac{1", "\n "],
)
def test_reading_takes_time_in_proportion_to_the_length(piece):
    response = "The answer is " + piece * (200_000 // len(piece))
    start = time.process_time()
    answers.stated_number(response)
    answers.chosen(response, PLACES)
    answers.exact("x", response)
    assert time.process_time() - start < 3
