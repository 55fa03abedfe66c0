"""Expressions, what they say, and equations in prose; the derivation is tested with the task that is checked by it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparring.common.errors import Unreadable
from sparring.parsing.arithmetic.derivation import Derivation
from sparring.parsing.arithmetic.equations import explained, statements
from sparring.parsing.arithmetic.expressions import (
    MOST_CHARACTERS,
    MOST_DIGITS,
    Operation,
    format_expression,
    names,
    parse,
    ready_operations,
    reductions,
    substitute,
    value_of,
)
from sparring.parsing.arithmetic.forms import follows, form, number_form, operands, replaced

operations = st.recursive(
    st.integers(-9, 9),
    lambda inner: st.builds(Operation, inner, st.sampled_from("+-*"), inner),
    max_leaves=8,
)


def shape(text):
    return form(parse(text), {})


# ---- expressions


@given(operations)
def test_what_is_written_is_read_back(expression):
    assert parse(format_expression(expression)) == expression
    assert parse(format_expression(expression, "")) == expression


@given(operations)
def test_values_are_those_of_python(expression):
    assert value_of(expression) == eval(format_expression(expression)) == shape(format_expression(expression)).value


@given(operations)
def test_reductions_do_one_operation_each_and_keep_the_value(expression):
    value, before = value_of(expression), expression
    for done, after in reductions(expression):
        assert done in ready_operations(before)
        assert value_of(after) == value
        assert len(ready_operations(Operation(before, "+", 0))) >= 1
        before = after
    assert before == value


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("5+2*-3 - 6", "((5 + (2 * -3)) - 6)"),
        ("-(-4)", "4"),
        ("5 - -3", "(5 - -3)"),
        ("+7", "7"),
        ("(2)(3)", "(2 * 3)"),
        ("4(2 + 1)", "(4 * (2 + 1))"),
        ("((5 + 4", "(5 + 4)"),
        ("(5 + 4))", "(5 + 4)"),
        ("1,000 * A", "(1000 * A)"),
        ("-(A + 2)", "((-1 * A) - 2)"),
    ],
)
def test_expressions_are_read_as_people_mean_them(text, written):
    assert format_expression(parse(text)) == written


@pytest.mark.parametrize(
    "text",
    [
        "",
        "()",
        "3 +",
        "* 3",
        "3 4",
        "(3 + 4) - 3) * 2",
        "2 ** 3",
        "7/2",
        "3.5",
        "٣",
        "²",
        "a.b",
        "3\x00",
        "9" * (MOST_DIGITS + 1),
        "(" * 10_000 + "1",
        "-" * 10_000 + "1",
        "1+" * MOST_CHARACTERS + "1",
    ],
)
def test_what_is_no_expression_is_unreadable(text):
    with pytest.raises(Unreadable):
        parse(text)


def test_names_are_found_and_filled():
    expression = parse("(A - B) * A")
    assert names(expression) == {"A", "B"}
    assert format_expression(substitute(expression, {"A": 3, "B": parse("1 + 1")})) == "((3 - (1 + 1)) * 3)"


# ---- forms


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("(2 + 3) + 4", "2 + (4 + 3)"),
        ("5 - -3", "5 + 3"),
        ("5 - (4 - 3)", "(5 - 4) + 3"),
        ("2 * (3 * 4)", "4 * 2 * 3"),
        ("7 * 5 - 7 * 1", "7 * (5 - 1)"),
        ("-(7 + 16)", "-7 - 16"),
        ("-2 * 3", "-(2 * 3)"),
    ],
)
def test_regrouping_is_the_same_calculation(one, other):
    assert shape(one).mark == shape(other).mark


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2 + 2", "2 * 2"),
        ("0 * 5", "0 * 4"),
        ("5 - 5", "7 - 7"),
        ("3 * (5 - 5)", "4 * (5 - 5)"),
        ("5 - 0", "5"),
        ("6", "2 * 3"),
    ],
)
def test_the_same_value_is_not_the_same_calculation(one, other):
    assert shape(one).value == shape(other).value
    assert shape(one).mark != shape(other).mark


@given(operations)
def test_every_reduction_follows_and_so_do_several_at_once(expression):
    forms = [form(expression, {}), *(form(after, {}) for _, after in reductions(expression))]
    for place, before in enumerate(forms):
        assert all(follows(before, after) for after in forms[place:])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("5 + 2 * -3 - 6", "5 - (6 + 6)"),
        ("4 - (7 - 3) + 2", "6 - 4"),
        ("5 - 5 + 3 * 2", "3 * 2"),
        ("(4 - 3) * (5 + 2)", "5 + 2"),
        ("0 * 5 * 3 - 1", "0 - 1"),
        ("-4 * (3 - 5)", "4 * 2"),
        ("-2 * -3 * 4 + 1", "6 * 4 + 1"),
        ("23 * 19", "23 * 20 - 23"),
        ("(2 + 3) * 4 + 0", "(2 + 3) * 4"),
    ],
)
def test_people_regroup_and_do_several_things_at_once(before, after):
    assert follows(shape(before), shape(after))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("2 + 2 - 6", "2 * 2 - 6"),
        ("0 * 5 - 1", "0 * 4 - 1"),
        ("8 - 3 + 1", "9 - 3 + 0 - 0 + 1"),
        ("7 + 3 + 1", "6 + 5"),
    ],
)
def test_a_value_that_is_right_by_accident_does_not_follow(before, after):
    if len(operands(shape(after))) <= len(operands(shape(before))):
        assert shape(before).value == shape(after).value
    assert not follows(shape(before), shape(after))


@pytest.mark.parametrize(
    ("whole", "head", "rest"),
    [
        ("4 - 7 * 3", "7 * 3", ["4 - 21"]),
        ("4 - 7 * 3", "3 * 7", ["4 - 21"]),
        ("4 + 7 + 3", "4 + 3", ["7 + 7"]),
        ("4 - (7 + 3)", "4 - 7", ["-3 - 3"]),
        ("4 - (7 - 3)", "7 - 3", ["4 - 4"]),
        ("2 + 3 - (2 + 3)", "2 + 3", ["5 - (2 + 3)", "2 + 3 - 5"]),
        ("4 - 7 * 3", "4 - 7", []),
        ("(4 - 3) + 7", "3 - 4", []),
        ("-4 * 3", "4 * 3", []),
    ],
)
def test_a_head_is_replaced_where_it_stands(whole, head, rest):
    by = number_form(shape(head).value)
    assert {found.mark for found in replaced(shape(whole), shape(head), by)} == {shape(text).mark for text in rest}


# ---- equations in prose


def said(text):
    return [
        (" = ".join(format_expression(side.expression) for side in found.sides), found.says)
        for found in statements(text, 0, len(text), explained(text))
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Let's calculate A = (7 - -1) = 8.", [("A = (7 - -1) = 8", "")]),
        ('It is "A - B", where A = 3 and B = 4.', [("(A - B)", ""), ("A = 3", ""), ("B = 4", "")]),
        ("So A is 5, and x=2, so x + A equals 7.", [("A = 5", ""), ("x = 2", ""), ("(x + A) = 7", "")]),
        ("Let P be (3 + 4).", [("P = (3 + 4)", "")]),
        ("B: 3 + 4 = 7", [("B = (3 + 4) = 7", "")]),
        ("7 x 3 = 7×3 = 7x3 = 7 \\times 3 = 21", [("(7 * 3) = (7 * 3) = (7 * 3) = (7 * 3) = 21", "")]),
        ("$5 − 3 = \\boxed{2}$", [("(5 - 3) = 2", "")]),
        ("**7*3 = 21**", [("(7 * 3) = 21", "")]),
        ("The answer is 1,234.", [("1234", "answer")]),
        ("the final answer: **-5**.", [("-5", "answer")]),
        ("#### 12", [("12", "answer")]),
        ("The result is 7", [("7", "alone")]),
        ("-17", [("-17", "alone")]),
        ("= -17.", [("-17", "alone")]),
        ("(3 + 4) =", [("(3 + 4)", "alone")]),
        ("1. 3 + 4 = 7", [("(3 + 4) = 7", "")]),
        ("Step 2: 3 + 4 = 7", [("(3 + 4) = 7", "")]),
        ("- (3 + 4) = 7", [("(3 + 4) = 7", "")]),
        ("There are 2 brackets, and I add.", [("2", "")]),
        ("a 4-step plan: no numbers", [("4", "")]),
        ("nothing", []),
        ("* + - = ( )", []),
    ],
)
def test_statements_are_read_out_of_prose(text, found):
    assert said(text) == found


def test_a_line_that_begins_with_an_equals_sign_goes_on():
    text = "(3 + 4) * 2\n= 7 * 2\n= 14"
    assert said(text) == [("((3 + 4) * 2) = (7 * 2) = 14", "")]
    only = next(statements("= 14", 0, 4, frozenset()))
    assert only.goes_on
    assert only.value == 14


@pytest.mark.parametrize("text", ["A = 14 / 2", "2 ** 3 = 8", "(3 + 4) - 3) * 2 = 8", "3.5 = 7", "9" * 60 + " = 1"])
def test_an_equation_that_cannot_be_read_is_kept_as_such(text):
    assert [found.unreadable is not None for found in statements(text, 0, len(text), explained(text))] == [True]


def test_spans_are_those_of_the_text():
    text = "Let's see: (7 - -1) = 8."
    (found,) = statements(text, 0, len(text), frozenset())
    assert [text[side.start : side.end] for side in found.sides] == ["(7 - -1)", "8"]


@given(st.text("0123456789()+-*=. \n,ABx²٣\x00^/{}\\"))
def test_any_text_can_be_read(text):
    for found in statements(text, 0, len(text), explained(text)):
        assert all(0 <= side.start < side.end <= len(text) for side in found.sides)


# ---- derivations


def test_a_derivation_knows_what_is_left():
    derivation = Derivation("((2 + 3) * (4 - 1)) =", frozenset("AB"))
    assert derivation.next_operation() == Operation(2, "+", 3)
    for text in ("4 - 1 = 3", "B = (4 - 1)", "A = 2 + 3"):
        for found in statements(text, 0, len(text), frozenset("AB")):
            assert derivation.take(found) is None
    assert not derivation.is_done
    assert derivation.next_operation() == Operation(2, "+", 3)
    assert format_expression(derivation.in_names()) == "(A * B)"
    for text in ("A = 5", "5 * 3 = 15"):
        for found in statements(text, 0, len(text), frozenset("AB")):
            assert derivation.take(found) is None
    assert derivation.is_done
    assert derivation.next_operation() is None
