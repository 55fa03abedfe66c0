"""A user's own rows as problems."""

import pytest
from pydantic import TypeAdapter

from sparring.common.errors import ConfigError
from sparring.common.schema import build, plain
from sparring.core.chat import LEARNER, SYSTEM, USER
from sparring.core.task import Task, offers
from sparring.parsing.steps import COMPACT, NUMBERED
from sparring.tasks.table import Table


@pytest.fixture
def table(rows):
    """A table of rows that are all training rows."""

    def make(*found, **settings):
        return Table(rows(*found), **{"development_size": 0, "test_size": 0} | settings)

    return make


# ---- questions


def test_a_row_is_a_problem(table):
    row = {"prompt": "Why?", "answer": "So", "rationale": "Thus.\nThe answer is so.", "category": "deep"}
    (problem,) = table(row).problems("train")
    assert [(said.author, said.text) for said in problem.chat.messages] == [(USER, "Why?")]
    assert (problem.gold, problem.rationale, problem.bin) == ("So", "Thus.\nThe answer is so.", "deep")


def test_a_question_is_all_a_row_needs(table):
    task = table({"prompt": "Write a poem."})
    (problem,) = task.problems("train")
    assert (problem.gold, problem.rationale, problem.bin) == (None, None, "all")
    assert isinstance(task, Task)
    assert offers(task) == {"question"}
    assert not task.is_right(problem, "")
    with pytest.raises(ConfigError, match=r"a row without an answer .* answer_column"):
        task.is_right(problem, "A rose is a rose.")


def test_columns_are_named_by_the_recipe_even_in_nested_cells(table):
    row = {"q": {"stem": "Why?"}, "a": [{"text": "So"}], "how": "Thus, so", "kind": 3, "answer": "no"}
    named = {"prompt_column": "q.stem", "answer_column": "a.0.text", "rationale_column": "how"}
    (problem,) = table(row, **named, category_column="kind").problems("train")
    assert (problem.chat.text, problem.gold, problem.bin) == ("Why?", "So", "3")
    assert problem.rationale == "Thus, so\nThe answer is So."


def test_messages_keep_system_prompt_and_earlier_turns_and_end_in_a_rationale(table):
    said = [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello"), ("user", "Why?"), ("assistant", "So.")]
    row = {"messages": [turn(role, content, tool_calls=None) for role, content in said]}
    (problem,) = table(row, system="Not taken").problems("train")
    assert [m.text for m in problem.chat.messages] == ["Be brief.", "Hi", "Hello", "Why?"]
    assert [m.author for m in problem.chat.messages] == [SYSTEM, USER, LEARNER, USER]
    assert problem.rationale == "So."


def test_a_system_prompt_stands_before_each_question_and_changes_no_id(table):
    plain, prompted = table({"prompt": "Why?"}), table({"prompt": "Why?"}, system="Be brief.")
    chat = prompted.problems("train")[0].chat
    assert [(m.author, m.text) for m in chat.messages] == [(SYSTEM, "Be brief."), (USER, "Why?")]
    assert plain.problems("train")[0].id == prompted.problems("train")[0].id


def turn(role, content="a", **more):
    return {"role": role, "content": content, **more}


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([], "unknown format of rows .columns none."),
        ([turn("system")], "messages has no message of the user; add one"),
        ([turn("assistant")], "messages has no message of the user; add one"),
        (["Why?"], "messages, message 1 is not an object with role and content"),
        ([turn("usr")], r"unknown role 'usr' \(did you mean 'user'\?\)"),
        ([turn("user", None)], "messages, message 1 is empty"),
        ([turn("user", 3)], r"messages, message 1 is a number \(3\), not text"),
        (
            [turn("user", ["Look:", {"type": "image_url", "image_url": {}}])],
            "message 1, part 2 is 'image_url'; only text",
        ),
        ([turn("user", [{"type": "text"}])], 'message 1, part 1 is not {"type": "text"'),
        ([turn("user"), turn("assistant", weight=-1)], "message 2: weight = -1 is not a weight"),
        ([turn("user"), turn("assistant", weight=10**400)], "message 2: weight = 1000.* is not a weight"),
        ([turn("assistant", tool_calls=[{}])], "message 1: a tool call needs a function with a name"),
    ],
)
def test_messages_that_are_no_conversation_are_refused(table, messages, message):
    with pytest.raises(ConfigError, match=rf"rows.jsonl, row 1: .*{message}"):
        table({"messages": messages}).problems("train")


@pytest.mark.parametrize(
    ("row", "settings", "message"),
    [
        (
            {"question": "x"},
            {},
            "unknown format of rows .columns question.; rename .* or name the question's in prompt_column",
        ),
        ({"prompt": "x"}, {"answer_column": "promp"}, r"unknown column 'promp' \(did you mean 'prompt'\?\)"),
        ({"prompt": 3}, {}, r"prompt is a number \(3\), not text"),
        ({"prompt": ""}, {}, "prompt is empty"),
        ({"prompt": "x", "answer": ["a"]}, {}, "answer is a list .*, not text"),
        ({"prompt": "x", "answer": "many"}, {"right": "number"}, "answer is 'many', which is not a number"),
        ({"prompt": "x", "answer": "(a"}, {"right": "regex"}, "answer is not a regular expression"),
        ({"prompt": "x", "answer": "mall"}, {"right": "choice"}, "not a letter; name the column"),
        ({"prompt": "x", "choices": ["a", "b"]}, {"right": "exact"}, "right = 'exact' cannot be combined with choices"),
        ({"messages": [turn("user"), turn("assistant")], "rationale": "b"}, {}, "two rationales"),
    ],
)
def test_a_bad_row_is_one_clear_line_with_its_number(table, row, settings, message):
    good = {"prompt": "fine", "answer": "B" if settings else "fine"}
    bare = {"answer_column", "right"} & set(settings) or "messages" in row or "question" in row
    task = table(*([] if bare else [good]), row, **settings)
    with pytest.raises(ConfigError, match=rf"rows.jsonl, row {1 if bare else 2}: .*{message}") as caught:
        task.problems("train")
    assert "\n" not in str(caught.value)


# ---- choices


@pytest.mark.parametrize("answer", ["B", "b", "(B)", "mall", 1, 1.0])
@pytest.mark.parametrize(
    "choices",
    [
        ["bank", "mall"],
        [{"label": "A", "text": "bank"}, {"label": "B", "text": "mall"}],
        {"label": ["A", "B"], "text": ["bank", "mall"]},
    ],
)
def test_choices_are_listed_and_the_answer_becomes_a_letter(table, choices, answer):
    task = table({"prompt": "Where?", "choices": choices, "answer": answer})
    (problem,) = task.problems("train")
    assert problem.chat.text == "Where?\nA. bank\nB. mall"
    assert problem.gold == "B"
    assert task.is_right(problem, "The answer is a mall.")
    assert not task.is_right(problem, "A mall is a place.")
    assert not task.is_right(problem, "(A)")


@pytest.mark.parametrize(
    ("choices", "answer", "letter"),
    [
        (["0", "2", "1"], "1", "C"),
        (["0", "2", "1"], 1, "B"),
        (["x", "y"], "1", "B"),
        ([0.5, 2], "2", "B"),
        ({"label": ["1", "2"], "text": ["x", "y"]}, "1", "A"),
    ],
)
def test_a_number_is_an_index_unless_it_is_a_label_or_the_words_of_a_choice(table, choices, answer, letter):
    (problem,) = table({"prompt": "Which?", "choices": choices, "answer": answer}).problems("train")
    assert problem.gold == letter


@pytest.mark.parametrize(
    ("choices", "answer", "message"),
    [
        (["a", "b"], "c", r"answer is 'c', which is not among the choices A. a, B. b \(an index counts from 0\)"),
        (["a", "b"], 2, "answer is '2', which is not among"),
        (["a", "b"], -1, "answer is '-1', which is not among"),
        (["a", "b"], True, "answer is 'true', which is not among"),
        (["3", "5"], "1", "answer is '1', which is not among"),
        (["B", "A"], "A", "answer is 'A', which names two of"),
        ("a|b", "a", "choices is not a list of 2 to 26 choices"),
        (["a"], "a", "choices is not a list of 2 to 26 choices"),
        (["a", None], "a", "choices, choice 2 is empty"),
        ({"label": ["A"], "text": ["a", "b"]}, "a", "choices is not a list"),
    ],
)
def test_an_answer_that_is_no_choice_is_refused(table, choices, answer, message):
    with pytest.raises(ConfigError, match=rf"rows.jsonl, row 1: {message}"):
        table({"prompt": "Which?", "choices": choices, "answer": answer}).problems("train")


def test_rows_with_and_without_choices_may_stand_together(table):
    task = table({"prompt": "a?", "choices": ["x", "y"], "answer": 0}, {"prompt": "b?", "choices": None, "answer": "z"})
    first, second = task.problems("train")
    assert task.is_right(first, "A")
    assert task.is_right(second, "So it is.\nThe answer is Z.")


# ---- right answers


@pytest.mark.parametrize(
    ("right", "answer", "good", "bad"),
    [
        (None, "Rome", "The answer is rome.", "The answer is Rome or Paris."),
        ("number", 1000, "The answer is $1,000.00", "The answer is 1001"),
        ("choice", "(B)", "So (B).\nThe answer is (B).", "The answer is (C)."),
        ("regex", r"\d+ apples?", "The answer is 3 apples.", "The answer is 3 pears."),
    ],
)
def test_the_rule_is_the_recipe_s(table, right, answer, good, bad):
    task = table({"prompt": "?", "answer": answer}, right=right)
    (problem,) = task.problems("train")
    assert task.is_right(problem, good)
    assert not task.is_right(problem, bad)
    assert not task.is_right(problem, " ")


def test_a_function_of_the_user_s_judges_even_rows_without_answers(table, tmp_path):
    (tmp_path / "judging.py").write_text(
        "def short(response, problem):\n    return len(response) < len(problem.chat.text)\n"
    )
    task = table({"prompt": "In brief: why?"}, right=f"{tmp_path}/judging.py:short")
    (problem,) = task.problems("train")
    assert task.is_right(problem, "So.")
    assert not task.is_right(problem, "Because it is so, and always was.")
    assert not task.is_right(problem, "")


def test_settings_are_checked_before_any_row_is_read():
    with pytest.raises(ConfigError, match=r"unknown rule for right answers 'numbr' \(did you mean 'number'\?\)"):
        Table("missing.jsonl", right="numbr")
    with pytest.raises(ConfigError, match=r"no function at 'missing.py:right'"):
        Table("missing.jsonl", right="missing.py:right")
    with pytest.raises(ConfigError, match="unknown layout 'numbred'"):
        build(Table, {"train": "missing.jsonl", "layout": "numbred"}, "[task]")
    with pytest.raises(ConfigError, match=r"test_size = 3 is for a split without a source, but test is 'b.jsonl'"):
        Table("a.jsonl", test="b.jsonl", test_size=3)
    with pytest.raises(ConfigError, match=r"test_size = 1.5: give a number of rows, or a share"):
        Table("a.jsonl", test_size=1.5)


def test_the_layout_is_named_in_a_recipe():
    settings = build(Table, {"train": "a.jsonl", "layout": "compact"}, "[task]")
    assert settings.layout == COMPACT
    assert TypeAdapter(Table).dump_python(settings)["layout"] == "compact"
    assert build(Table, plain(settings), "[task]") == settings


# ---- rationales


def test_a_rationale_is_made_to_end_in_its_answer(table):
    task = table(
        {"prompt": "a?", "answer": 5, "rationale": "2 + 3 = 5"},
        {"prompt": "b?", "answer": 5, "rationale": "2 + 3, which is five"},
        {"prompt": "c?", "answer": 5, "rationale": "The answer is 6."},
        right="number",
    )
    assert [problem.rationale for problem in task.problems("train")] == [
        "2 + 3 = 5",
        "2 + 3, which is five\nThe answer is 5.",
        "The answer is 6.",
    ]
    assert task.notes[1:] == (
        "rationales to which the answer was added: 1",
        "rationales that end in another answer than their row's: 1",
    )


def test_a_pattern_is_not_added_to_a_rationale(table):
    (problem,) = table({"prompt": "?", "answer": r"\d+", "rationale": "Count."}, right="regex").problems("train")
    assert problem.rationale == "Count."


def test_a_numbered_layout_numbers_the_lines_of_a_rationale_and_keeps_labels(table):
    task = table(
        {"prompt": "a?", "answer": 5, "rationale": "2 + 3\nis five"},
        {"prompt": "b?", "answer": 5, "rationale": "(1) 2 + 3 is five."},
        {"prompt": "c?", "answer": 5, "rationale": "(1) Add.\n(Final response) So the answer is 5."},
        right="number",
        layout=NUMBERED,
    )
    assert [problem.rationale for problem in task.problems("train")] == [
        "(1) 2 + 3\n(2) is five\n(Final response) The answer is 5.",
        "(1) 2 + 3 is five.\n(Final response) The answer is 5.",
        "(1) Add.\n(Final response) So the answer is 5.",
    ]
    assert all(task.is_right(problem, problem.rationale) for problem in task.problems("train"))
