import ast
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sparring
from sparring.common.errors import ConfigError, Unreadable
from sparring.core.chat import question
from sparring.core.prompt import ask_for_thought
from sparring.parsing.thought import GENERIC, NONE, SPECIFIC, THINK, thought_format

FORMATS = [GENERIC, SPECIFIC, THINK]
WORDS = st.text(st.characters(blacklist_characters="<>:"), min_size=1).filter(str.strip)


@pytest.mark.parametrize("form", FORMATS)
@given(thought=WORDS, response=WORDS)
def test_what_was_joined_is_told_apart_again(form, thought, response):
    found = form.split(form.join(thought, response))
    assert (found.thought, found.answer.text) == (thought.strip(), response.strip())


@pytest.mark.parametrize(
    "text",
    [
        "4",  # no marker
        "<think>2 and 2</think>",  # nothing after it
        "<think>2 and 2</think>  \n",
        "<think>2 and 2",  # cut off
        "2 and 2</think>4",  # no opening
        "<think>a</think>4</think>5",  # repeated
        "<think><think>a</think>4",  # nested
        "so <think>a</think>4",  # not at the start
        "",
    ],
)
def test_a_form_that_is_not_kept_is_unreadable_never_guessed_at(text):
    with pytest.raises(Unreadable):
        THINK.split(text)


def test_the_specific_format_has_a_marker_alone():
    assert SPECIFIC.split("draft: 5. hm, no.\n<R> 4").answer.text == "4"
    with pytest.raises(Unreadable):
        SPECIFIC.split("draft <R> a <R> b")


def test_without_a_format_all_is_response():
    assert NONE.split(" 4 ").answer.text == "4"
    assert NONE.split("4").thought is None
    with pytest.raises(Unreadable):
        NONE.split("  ")


def test_the_prompt_stands_before_the_last_message_and_can_be_reworded():
    chat = question("2+2?", "be brief")
    assert ask_for_thought(GENERIC, chat).text.endswith("User query: 2+2?")
    assert ask_for_thought(GENERIC, chat, "Think! ").text == "Think! 2+2?"
    assert ask_for_thought(GENERIC, chat, "") == chat
    assert ask_for_thought(GENERIC, chat).messages[0] == chat.messages[0]


def test_an_unknown_format_is_named():
    with pytest.raises(ConfigError, match="did you mean 'generic'"):
        thought_format("generick")


def test_only_the_thought_module_makes_answers():
    package = Path(sparring.__file__).parent
    makers = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Answer"
    }
    assert makers == {"parsing/thought.py"}
