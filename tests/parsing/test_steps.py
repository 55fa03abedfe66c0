import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparring.common.errors import ConfigError, Unreadable
from sparring.parsing.steps import COMPACT, FINAL, LINES, NUMBERED, Fault, layout, order

ANSWER = "(1) A = 3 and B = 4.\n(2) A + B = 8.\n(3) Done.\n(Final response) So the answer is 8."


def test_labels_are_compared_as_numbers():
    assert sorted(["10", "9", "3.10", "3.2", FINAL, "3"], key=order) == ["3", "3.2", "3.10", "9", "10", FINAL]


def test_numbered_answers_are_split_at_their_labels():
    steps = NUMBERED.split(ANSWER)
    assert [step.label for step in steps] == ["1", "2", "3", FINAL]
    assert steps[1].text == "A + B = 8."
    assert "".join(ANSWER[s.start : s.end] for s in steps) == ANSWER
    assert NUMBERED.before(ANSWER, "2") == "(1) A = 3 and B = 4.\n"
    assert NUMBERED.write([step.text for step in steps]) == ANSWER


def test_answers_without_labels_are_split_at_lines():
    assert [s.label for s in LINES.split("a\n\nb\n  c ")] == ["1", "2", "3"]
    assert LINES.before("a\n\nb", "2") == "a\n\n"
    with pytest.raises(Unreadable, match="no step"):
        LINES.before("a", "7")


@pytest.mark.parametrize("kind", [NUMBERED, LINES, COMPACT])
@pytest.mark.parametrize("label", ["1", "2", "3"])
def test_feedback_is_read_as_it_was_worded(kind, label):
    answer = ANSWER if kind is NUMBERED else "1+2=3\n3+3=7\n7"
    step = next(s for s in kind.split(answer) if s.label == label)
    fault = Fault(label, step.text, "" if kind is COMPACT else "it is 7")
    assert kind.read_feedback(kind.write_feedback(answer, fault)) == fault
    assert kind.read_feedback(kind.write_feedback(answer, None)) is None


def test_feedback_is_worded_as_in_the_paper():
    fault = Fault("3", 'the "big" one', "it is small")
    assert NUMBERED.write_feedback(ANSWER, fault) == (
        'Step (1) to (2) are correct. In step (3) the part "the "big" one" is incorrect. This is because it is small.'
    )
    assert NUMBERED.read_feedback(NUMBERED.write_feedback(ANSWER, fault)) == Fault("3", 'the "big" one', "it is small")
    assert NUMBERED.write_feedback(ANSWER, None) == "Step (1) to (3) are correct. The final response is also correct."


@pytest.mark.parametrize("kind", [NUMBERED, LINES, COMPACT])
@pytest.mark.parametrize("words", ["", "hello", "Step (1) is fine I guess", "okay", "ok ok", "In step (2) it is bad"])
def test_what_says_neither_is_unreadable(kind, words):
    with pytest.raises(Unreadable):
        kind.read_feedback(words)


@given(st.text(max_size=200))
def test_no_words_crash_the_reader(words):
    for kind in (NUMBERED, LINES, COMPACT):
        kind.split(words)
        try:
            kind.read_feedback(words)
        except Unreadable:
            continue


def test_faults_agree_on_step_and_part_spacing_apart():
    fault = Fault("3.2", "A = 4")
    assert fault.agrees_with(Fault("3.2", "so A  =4 ."))
    assert not fault.agrees_with(Fault("3.3", "A = 4"))
    assert not fault.agrees_with(Fault("3.2", "B = 4"))
    assert not fault.agrees_with(Fault("3.2", ""))


def test_an_update_keeps_what_stands_before_the_fault_and_changes_the_step():
    attempt, fault = "1+2=3\n3+3=7\n7", Fault("2", "3+3=7")
    assert COMPACT.refusal(attempt, fault, "1+2=3\n3+3=6\n6") is None
    assert "keep" in (COMPACT.refusal(attempt, fault, "1+2= 3\n3+3=6\n6") or "")
    assert "change" in (COMPACT.refusal(attempt, fault, "1+2=3\n3+3=7 \n6") or "")
    assert "no step" in (COMPACT.refusal(attempt, fault, "1+2=3\n") or "")


def test_an_update_may_go_on_where_the_attempt_stopped_short():
    short, fault = "1+2=3", Fault("1", "1+2=3", "the answer stops here")
    assert COMPACT.refusal(short, fault, "1+2=3\n3+3=6\n6") is None
    assert COMPACT.refusal(short, fault, "1+2=3") is not None
    assert COMPACT.refusal("", Fault("1", ""), "1+2=3\n3") is None
    assert COMPACT.before("", "1") == ""


def test_spaces_that_part_words_and_indentation_count_as_a_change_of_a_step():
    attempt, fault = "if n:\nreturn fa ke", Fault("2", "return")
    for update in ("if n:\n    return fa ke", "if n:\nreturn fake"):
        assert LINES.refusal(attempt, fault, update) is None
    for update in ("if n:\nreturn  fa ke", "if n:\nreturn fa ke  "):
        assert "change" in (LINES.refusal(attempt, fault, update) or "")
    numbered = "(1) def f:\n  return 1\n(2) b."
    assert NUMBERED.refusal(numbered, Fault("1", "return"), "(1) def f:\n    return 1\n(2) b.") is None
    assert "change" in (NUMBERED.refusal(numbered, Fault("2", "b"), "(1) def f:\n  return 1\n (2) b.") or "")


def test_a_fault_is_located_by_a_step_and_a_part_that_the_answer_has():
    answer = "(1) a.\n(Final response) b."
    assert NUMBERED.locate(answer, Fault("final response", "b")) == Fault("Final response", "b")
    for fault in (Fault("2", "b"), Fault("1", "b")):
        with pytest.raises(Unreadable):
            NUMBERED.locate(answer, fault)


def test_a_label_may_be_mended_too():
    attempt, fault = "(1) a.\n(2) The answer is b.", Fault("2", "b")
    assert NUMBERED.refusal(attempt, fault, "(1) a.\n(Final response) The answer is c.") is None


def test_an_unknown_layout_is_named():
    with pytest.raises(ConfigError, match="numbered"):
        layout("numberd")
