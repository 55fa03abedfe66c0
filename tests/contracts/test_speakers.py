"""Every speaker keeps its word: it can be made from a table, replies to a chat, and ignores nothing it is told."""

from __future__ import annotations

import asyncio
import inspect
from dataclasses import is_dataclass

import pytest

from sparring.common.errors import ConfigError, SparringError, Unavailable
from sparring.common.registry import first_sentence
from sparring.common.schema import plain
from sparring.config.factory import SPEAKERS, make_speaker
from sparring.core.chat import USER, Chat, question
from sparring.core.speaker import Sampling, Speaker
from sparring.models.tiny import tiny_model, tiny_tokenizer

NAMES = ["command", "endpoint", "human", "local", "reward", "scripted"]


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> dict[str, dict]:
    folder = tmp_path_factory.mktemp("model")
    tiny_model(0).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return {
        "command": {"command": ["false"]},
        "human": {"person": "ann"},
        "endpoint": {"model": "m", "base_url": "http://127.0.0.1:9/v1", "retries": 0, "timeout": 2.0},
        "local": {"model": str(folder), "device": "cpu"},
        "reward": {"model": "owner/model", "device": "cpu"},
        "scripted": {"replies": ["one", "two"]},
    }


@pytest.fixture(params=list(SPEAKERS))
def name(request) -> str:
    return request.param


def test_the_catalogue_holds_six_speakers(tables):
    assert list(SPEAKERS) == NAMES
    assert set(tables) == set(SPEAKERS)


def test_it_is_a_speaker_and_says_in_a_line_what_it_is(name, tables):
    found = SPEAKERS[name]
    made = make_speaker(name, tables[name], name)
    assert isinstance(made, Speaker)
    assert is_dataclass(found)
    assert first_sentence(found).endswith(".")
    assert inspect.iscoroutinefunction(found.reply)
    assert list(inspect.signature(found.reply).parameters) == ["self", "chat", "sampling", "sample"]
    assert inspect.signature(found.reply).parameters["sample"].default == 0


def test_the_table_that_it_tells_makes_it_again(name, tables):
    made = make_speaker(name, tables[name], name)
    assert plain(make_speaker(name, plain(made), name)) == plain(made)


def test_an_unknown_key_of_it_is_named_with_the_nearest(name, tables):
    known = max(tables[name], key=len)
    with pytest.raises(ConfigError, match=f"in the role: unknown key '{known}s' .did you mean '{known}'"):
        make_speaker(name, {**tables[name], f"{known}s": 1}, "the role")


def replies(speaker: Speaker, *samples: int, sampling: Sampling) -> list:
    chat = Chat().say(USER, "Hello?")

    async def all_() -> list:
        return [await speaker.reply(chat, sampling, sample) for sample in samples]

    return asyncio.run(all_())


@pytest.mark.parametrize("name", ["local", "scripted"])
def test_a_reply_of_it_is_words(name, tables):
    (reply,) = replies(make_speaker(name, tables[name], name), 0, sampling=Sampling(max_tokens=8))
    assert isinstance(reply.text, str)
    assert reply.finish in ("stop", "length")


@pytest.mark.parametrize("name", ["endpoint", "command"])
def test_where_nobody_is_it_says_so_in_a_line(name, tables):
    with pytest.raises(SparringError) as error:
        replies(make_speaker(name, tables[name], name), 0, sampling=Sampling(max_tokens=8))
    assert len(str(error.value).splitlines()) == 1


def test_a_local_model_draws_each_sample_anew_and_the_same_one_again(tables):
    speaker = make_speaker("local", tables["local"], "x")
    first, second, again = replies(speaker, 0, 1, 0, sampling=Sampling(temperature=1.0, max_tokens=16))
    assert first.text != second.text
    assert first == again
    assert first.finish == "length"
    ids = [token for part in first.parts for token in part.ids]
    assert len(ids) == len(first.logprobs) == first.completion_tokens == 16


def test_local_models_of_one_folder_share_their_weights(tables):
    one, other = (make_speaker("local", tables["local"], "x") for _ in range(2))
    assert one.language_model is other.language_model
    assert not any(parameter.requires_grad for parameter in one.language_model.network.parameters())


def test_a_script_begins_again_or_is_used_up():
    async def say(loop: bool, times: int) -> list[str]:
        speaker = make_speaker("scripted", {"replies": ["one", "two"], "loop": loop}, "x")
        return [(await speaker.reply(question("?"), Sampling())).text for _ in range(times)]

    assert asyncio.run(say(True, 5)) == ["one", "two", "one", "two", "one"]
    with pytest.raises(Unavailable, match="only 2 replies"):
        asyncio.run(say(False, 3))
