"""Rows in the formats of other tools: what is recognised, what is read, and what is refused."""

import json

import pytest

from sparring.common.errors import ConfigError
from sparring.core.chat import LEARNER, PLAIN, SYSTEM, TOOL, USER
from sparring.core.task import offers
from sparring.tasks.table import Table


def user(text):
    return {"role": "user", "content": text}


def assistant(text, **more):
    return {"role": "assistant", "content": text, **more}


def read(*rows, **settings):
    """The training problems of rows, none held out, and the task."""
    task = Table(train=list(rows), **{"development_size": 0, "test_size": 0} | settings)
    return list(task.problems("train")), task


def said(chat):
    return [(message.author, message.text) for message in chat.messages]


def weights(chat):
    return [message.parts[0].weight for message in chat.messages]


# ---- recognition


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({"prompt": "a", "answer": "b"}, "prompt"),
        ({"prompt": "a", "question": "c", "answer": "b"}, "prompt"),
        ({"prompt": "a", "completion": "b", "text": "ab"}, "prompt-completion"),
        ({"prompt": "a", "messages": [user("a"), assistant("b")]}, "messages"),
        ({"prompt": "a", "prompt_id": 1, "messages": [{"role": "system", "content": "s"}, user("a")]}, "messages"),
        ({"prompt": "a", "answer": "b", "messages": None}, "prompt"),
        ({"conversations": [{"from": "human", "value": "a"}]}, "sharegpt"),
        ({"conversations": [user("a")]}, "messages"),
        ({"problem": "a", "solution": "so", "answer": "b"}, "question-answer"),
        ({"query": "a", "response": "b"}, "question-answer"),
        ({"instruction": "a", "input": None, "output": "b", "text": "all of it"}, "alpaca"),
        ({"instruction": "a", "context": "c", "response": "b"}, "alpaca"),
        ({"prompt": "a", "messages": [user("a")], "chosen": "b", "rejected": "c"}, "preference"),
        ({"prompt": "a", "chosen": [], "rejected": []}, "prompt"),
        ({"text": "a", "label": 3}, "text"),
    ],
)
def test_a_format_is_recognised_by_its_columns_and_named_in_a_note(row, name):
    _, task = read(row)
    assert task.notes[0] == f"format of the rows: {name} (1), recognised by the columns"


@pytest.mark.parametrize(
    ("row", "settings", "message"),
    [
        (
            {"body": "a", "id": 1, "none": None},
            {},
            r"unknown format of rows \(columns body, id\); .* prompt_column",
        ),
        (
            {"prompt": "x", "messages": [user("y"), assistant("b")]},
            {},
            'read as "prompt" or "messages"; set format',
        ),
        ({"messages": [user("y")], "question": "a", "answer": "b"}, {}, '"messages" or "question-answer"; set format'),
        (
            {"prompt": "a", "completion": "b", "label": False},
            {},
            "marked as good or bad, which no method reads",
        ),
        ({"text": "a"}, {"format": "messages"}, "unknown column 'messages'"),
        ({"prompt": "a", "images": [b"x".hex()]}, {}, "it has an image, in the column images"),
        ({"instruction": "a", "output": "b", "history": "c"}, {}, "history is .* not a list of pairs"),
        ({"chosen": "b", "rejected": "c"}, {}, "chosen and rejected have no prompt in common"),
        ({"prompt": "a", "chosen": [user("a")], "rejected": "c"}, {}, "chosen must be one reply .*messages of: user"),
    ],
)
def test_what_fits_no_format_or_several_is_one_line_with_its_columns(row, settings, message):
    with pytest.raises(ConfigError, match=rf"\.jsonl, row 1: .*{message}") as caught:
        read(row, **settings)
    assert "\n" not in str(caught.value)


def test_a_key_overrides_what_is_recognised():
    row = {"prompt": "x", "messages": [user("y"), assistant("b")], "question": "z", "body": "once"}
    [problem], task = read(row, format="messages")
    assert (problem.chat.text, problem.rationale, task.notes) == ("y", "b", ("format of the rows: messages (1)",))
    [problem], _ = read(row, format="text", prompt_column="body")
    assert said(problem.worked) == [(PLAIN, "once")]


# ---- what is read


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "a", "completion": " b "},
        {"prompt": [user("a")], "completion": [assistant("b")]},
        {"prompt": [user("a")], "completion": "b"},
        {"messages": [user("a"), assistant("b")]},
        {"messages": [user([{"type": "text", "text": "a"}]), assistant([{"type": "text", "text": "b"}], weight=1.0)]},
        {"messages": [{"role": "system", "content": ""}, user("a"), assistant("b", train=True), user("bye")]},
        {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b", "weight": None}]},
        {"instruction": "a", "input": "", "output": "b"},
        {"prompt": "a", "chosen": "b", "rejected": "c"},
        {"instruction": "a", "chosen": {"from": "gpt", "value": "b"}, "rejected": {"from": "gpt", "value": "c"}},
        {"prompt": "a", "chosen": [user("a"), assistant("b")], "rejected": [user("a"), assistant("c")]},
        {"prompt": [user("a")], "chosen": [assistant("b")], "rejected": [assistant("c")]},
        {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c"},
        {"chosen": "a b", "rejected": "a c"},
    ],
)
def test_all_of_them_teach_the_same(row):
    [problem], task = read(row)
    assert said(problem.worked) == [(USER, "a"), (LEARNER, "b")]
    assert weights(problem.worked) == [0, 1]
    assert said(problem.chat)[:1] == [(USER, "a")]
    assert weights(problem.chat) == [0] * len(problem.chat.messages)
    assert problem.rationale in ("b", None)  # None: the last message is the user's
    assert {"question", "worked"} <= offers(task)
    assert ("preference" in offers(task)) == ("chosen" in row) == (problem.rejected is not None)
    assert problem.rejected is None or problem.rejected.text == "c"


def test_a_conversation_keeps_its_weights_thoughts_and_system_prompts():
    first = {"role": "developer", "content": "Be kind."}
    turns = [first, {"role": "system", "content": "Be brief."}, user("a"), user("really"), assistant("b", weight=0.5)]
    turns += [assistant("c", train=False), user("d"), assistant("<think>hm</think>\n\ne")]
    [problem], _ = read({"messages": turns})
    assert said(problem.worked) == [
        (SYSTEM, "Be kind."), (SYSTEM, "Be brief."), (USER, "a"), (USER, "really"), (LEARNER, "b\n\nc"), (USER, "d"),
        (LEARNER, "e"),
    ]  # fmt: skip
    parts = [(part.text, part.weight, part.thought) for turn in problem.worked.messages[4:] for part in turn.parts]
    assert parts == [
        ("b", 0.5, False), ("\n\n", 0, False), ("c", 0, False), ("d", 0, False), ("hm", 1, True), ("e", 1, False)
    ]  # fmt: skip
    assert (problem.chat.text, problem.rationale) == ("d", "e")
    assert not any(part.weight or part.thought for turn in problem.chat.messages for part in turn.parts)


def test_a_prompt_of_messages_is_context_and_history_is_taught():
    [problem], _ = read({"prompt": [user("a"), assistant("b"), user("c")], "completion": [assistant("d")]})
    assert weights(problem.worked) == [0, 0, 0, 1]
    [problem], _ = read(
        {"instruction": "c", "input": "x", "output": "d", "history": [["a", "b"]], "system": "Be kind."}
    )
    assert said(problem.worked) == [(SYSTEM, "Be kind."), (USER, "a"), (LEARNER, "b"), (USER, "c\nx"), (LEARNER, "d")]
    assert weights(problem.worked) == [0, 0, 1, 0, 1]
    assert weights(problem.chat) == [0, 0, 0, 0]


def test_calls_of_tools_are_read_in_both_formats_and_weigh_nothing():
    tools = [{"type": "function", "function": {"name": "add"}}]
    call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"x": 1}'}}
    openai = [user("a"), assistant("I add.", tool_calls=[call]), {"role": "tool", "content": "2", "tool_call_id": "1"}]
    sharegpt = [("human", "a"), ("function_call", '{"name": "add", "arguments": {"x": 1}}'), ("observation", "2")]
    rows = (
        {"messages": [*openai, assistant("Two.")], "tools": tools},
        {
            "conversations": [{"from": w, "value": v} for w, v in [*sharegpt, ("gpt", "Two.")]],
            "tools": json.dumps(tools),
        },
    )
    for row in rows:
        [problem], _ = read(row)
        question, called, result, reply = problem.worked.messages
        assert json.loads(question.tools) == {"tools": tools}
        [made] = json.loads(called.tools)["tool_calls"]
        assert made["function"] == {"name": "add", "arguments": {"x": 1}}
        assert (result.author, result.text, reply.text) == (TOOL, "2", "Two.")
        assert [sum(p.weight for p in m.parts) for m in problem.worked.messages] == [0, 0, 0, 1]
        assert said(problem.chat) == [(USER, "a")]
        assert problem.rationale == "Two."


def test_a_reply_to_which_the_answer_is_added_is_taught_with_it():
    row = {"messages": [user("a"), assistant("2 + 3", reasoning_content="hm")], "answer": "5"}
    [problem], task = read(row, right="number")
    assert problem.rationale == problem.worked.text == "2 + 3\nThe answer is 5."
    assert problem.worked.last.full_text == "hm2 + 3\nThe answer is 5."
    assert task.notes[1:] == ("rationales to which the answer was added: 1",)


def test_a_gold_answer_after_gsm8k_s_mark_is_found_and_the_steps_are_taught():
    [problem], task = read({"question": "a", "answer": "2+3=5\n#### 5"}, right="number")
    assert (problem.gold, problem.rationale) == ("5", "2+3=5\n#### 5")
    assert task.is_right(problem, "It is 5.")
    [problem], _ = read({"problem": "a", "solution": r"So \boxed{5}.", "answer": "5"})
    assert (problem.gold, problem.rationale) == ("5", r"So \boxed{5}.")


# ---- many rows


def test_rows_that_teach_nothing_are_left_out_and_counted():
    good = {"instruction": "a", "output": "b"}
    problems, task = read(
        good, {"instruction": "c", "output": ""}, {"text": " "}, {"messages": [user("d"), assistant("")]}
    )
    assert len(problems) == 1
    assert set(task.notes[1:]) == {"rows without a reply: 2", "rows without text: 1"}
    _, task = read(good, {"prompt": "a", "chosen": "b", "rejected": "b"})
    assert task.notes[-1] == "rows whose chosen and rejected replies are equal: 1"


def test_different_replies_to_one_question_are_all_kept_in_one_split():
    rows = [{"prompt": f"q{n // 4}", "completion": f"r{n}"} for n in range(80)]
    task = Table(train=[*rows, *rows[:3]], development_size=8, test_size=8)
    asked = [{p.chat.text for p in task.problems(split)} for split in ("train", "development", "test")]
    assert [len(task.problems(split)) for split in ("train", "development", "test")] == [64, 8, 8]
    assert sum(map(len, asked)) == len(set.union(*asked)) == 20
    assert task.notes[1:] == ("train: 3 dropped (asked before)",)


@pytest.mark.parametrize("reply", ["rationale", "solution", "response", "output"])
@pytest.mark.parametrize("asked", ["prompt", "question"])
def test_a_worked_answer_beside_a_final_one_is_taught_and_each_of_several_is_kept(asked, reply):
    rows = [{asked: "2+3?", reply: f"{n} more: 2+3=5", "answer": "5"} for n in range(8)]
    problems, task = read(*rows, rows[0], right="number")
    assert [problem.rationale for problem in problems] == [row[reply] for row in rows]
    assert {problem.gold for problem in problems} == {"5"}
    assert task.notes[-1] == "train: 1 dropped (asked before)"


def test_a_column_that_holds_the_final_answer_is_no_worked_one():
    [problem], _ = read({"q": "2+3?", "output": "5"}, prompt_column="q", answer_column="output")
    assert (problem.gold, problem.rationale) == ("5", None)


def test_the_sides_of_a_pair_stay_as_they_are_whatever_the_answer():
    row = {"prompt": "2+3?", "chosen": "Add them.", "rejected": "Subtract.", "answer": "5"}
    [problem], _ = read(row, right="number", layout="numbered")
    assert (problem.worked.last.text, problem.rejected.text) == ("Add them.", "Subtract.")


def test_choices_stand_in_the_conversation_that_is_taught():
    more = {"choices": ["oven", "fridge"], "answer": "B"}
    talk = {"messages": [user("Hi"), assistant("Hi"), user("Milk?"), assistant("B")]}
    for row in ({"prompt": "Milk?", "completion": "B"}, talk):
        [problem], _ = read(row | more)
        assert problem.worked.messages[-2].text == problem.chat.text == "Milk?\nA. oven\nB. fridge"


def test_a_call_without_content_is_read():
    call = {"type": "function", "function": {"name": "add", "arguments": {"a": 2}}}
    [problem], _ = read({"messages": [user("a"), {"role": "assistant", "tool_calls": [call]}, assistant("b")]})
    assert '"add"' in problem.worked.messages[1].tools


def test_a_table_too_large_for_memory_has_the_same_problems(monkeypatch):
    rows = [{"prompt": f"q{n}", "completion": f"r{n}"} for n in range(50)] + [{"prompt": "q", "completion": ""}]
    held = Table(train=rows, seed=3)
    problems = {split: list(held.problems(split)) for split in ("train", "development", "test")}
    monkeypatch.setattr("sparring.tasks.table.HELD_ROWS", 10)
    read_again = Table(train=rows, seed=3)
    for split, expected in problems.items():
        found = read_again.problems(split)
        assert not isinstance(found, list)
        assert list(found) == list(found[:]) == expected
        assert list(found[:3]) == expected[:3]
    assert offers(read_again) == offers(held) == {"question", "rationale", "worked"}
    assert read_again.notes == held.notes


@pytest.mark.parametrize("column", ["messages", "conversations", "prompt"])
def test_what_the_assistant_says_before_the_user_is_context_and_counted(column):
    turns = [assistant("Hello, I am Bot."), user("2?"), assistant("Two.")]
    if column == "conversations":
        words = {"user": "human", "assistant": "gpt"}
        turns = [{"from": words[turn["role"]], "value": turn["content"]} for turn in turns]
    row = {"prompt": turns[:2], "completion": turns[2:]} if column == "prompt" else {column: turns}
    [problem], task = read(row)
    assert said(problem.chat) == [(LEARNER, "Hello, I am Bot."), (USER, "2?")]
    assert said(problem.worked) == [*said(problem.chat), (LEARNER, "Two.")]
    assert weights(problem.worked) == [0, 0, 1]
    assert "conversations that begin with the assistant, whose first turn is context: 1" in task.notes


def test_an_assistant_that_only_begins_has_not_replied():
    [problem], task = read({"messages": [assistant("Hello, I am Bot."), user("2?")]})
    assert problem.worked is None
    assert offers(task) == {"question"}
