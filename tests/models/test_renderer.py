"""Golden token tables for several families of chat templates, and what must hold for each of them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparring.common.errors import ConfigError
from sparring.core.chat import LEARNER, Chat, Message, Part, message, question
from sparring.models.renderer import Renderer
from sparring.models.tiny import tiny_tokenizer

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n"
    "{{ m['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate') }}{% endif %}"
    "<start_of_turn>{{ 'model' if m['role'] == 'assistant' else 'user' }}\n{{ m['content'] | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'assistant' %} {{ m['content'] }}<end>"
    "{% else %}[INST] {{ m['content'] }} [/INST]{% endif %}{% endfor %}"
)
STRIPPING = (  # shows thoughts of the last turn only, as several models that think by themselves do
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['role'] == 'assistant' and not loop.last %}{{ m['content'].split('</think>')[-1].lstrip() }}"
    "{% else %}{{ m['content'] }}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% if enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
REWRITING = (  # an empty thought before the newest assistant turn only: earlier turns look different once there are later ones
    "{% for m in messages %}{{ m['role'] }}: {% if m['role'] == 'assistant' and loop.last %}(new) {% endif %}"
    "{{ m['content'] }}<end>{% endfor %}{% if add_generation_prompt %}assistant: (new) {% endif %}"
)
FAMILIES = {
    "chatml": (CHATML, ["<|im_start|>", "<|im_end|>"]),
    "llama3": (LLAMA3, ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]),
    "gemma": (GEMMA, ["<start_of_turn>", "<end_of_turn>"]),
    "mistral": (MISTRAL, []),
    "stripping": (STRIPPING, ["<|im_start|>", "<|im_end|>"]),
    "rewriting": (REWRITING, []),
}


def dialect(family: str, **kwargs) -> Renderer:
    template, special = FAMILIES[family]
    tokenizer = tiny_tokenizer()
    tokenizer.add_special_tokens({"extra_special_tokens": [*tokenizer.extra_special_tokens, *special]})
    tokenizer.chat_template = template
    return Renderer(tokenizer, **kwargs)


ASKED = question("2+2?", system="Be brief.")
TALK = ASKED.say(LEARNER, "5").say("discussant", "Sure?").then(message(LEARNER, " 4\n", weight=1.0))

TABLE = {  # the row of TALK in each family; ‹› around what is trained
    "chatml": "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n5<|im_end|>\n"
    "<|im_start|>user\nSure?<|im_end|>\n<|im_start|>assistant\n‹ 4\n<|im_end|>›",
    "llama3": "<bos><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
    "2+2?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n5<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
    "Sure?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n‹ 4\n<|eot_id|>›",
    "gemma": "<bos><start_of_turn>user\nBe brief.\n\n2+2?<end_of_turn>\n<start_of_turn>model\n5<end_of_turn>\n"
    "<start_of_turn>user\nSure?<end_of_turn>\n<start_of_turn>model\n‹ 4\n<end_of_turn>›",
    "mistral": "<bos>[INST] Be brief. [/INST][INST] 2+2? [/INST] 5<end>[INST] Sure? [/INST]‹ 4\n<end>›",
    "stripping": "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n5<|im_end|>\n"
    "<|im_start|>user\nSure?<|im_end|>\n<|im_start|>assistant\n‹ 4\n<|im_end|>›",
    "rewriting": "system: Be brief.<end>user: 2+2?<end>assistant: 5<end>user: Sure?<end>assistant: (new) ‹ 4\n<end>›",
}


def shown(tongue: Renderer, row) -> str:
    marked, inside = "", False
    for token, weight in zip(row.ids, row.weights, strict=True):
        if bool(weight) != inside:
            marked, inside = marked + ("‹" if weight else "›"), bool(weight)
        marked += tongue.decode([token])
    return marked + ("›" if inside else "")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_row_of_a_discussion(family):
    tongue = dialect(family)
    [row] = tongue.rows(TALK, LEARNER)
    assert shown(tongue, row) == TABLE[family]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_prompt_is_a_prefix_of_the_row_and_one_bos_and_one_stop_token_are_there(family):
    tongue = dialect(family)
    prompt = tongue.prompt(Chat(TALK.messages[:-1]), LEARNER)
    [row] = tongue.rows(TALK, LEARNER)
    assert row.ids[: len(prompt)] == prompt
    assert not any(row.weights[: len(prompt)])
    bos = tongue.tokenizer.bos_token_id
    assert row.ids.count(bos) == (1 if "bos_token" in FAMILIES[family][0] else 0)
    assert row.ids[-1] == tongue.stop_id
    assert row.weights[-1] == 1.0
    assert tongue.stop_id in tongue.stop_ids


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=20, deadline=None)
@given(words=st.lists(st.text(max_size=12), min_size=1, max_size=4), sampled=st.lists(st.integers(10, 250), max_size=6))
def test_sampled_ids_stand_in_the_row_as_they_were_sampled(family, words, sampled):
    tongue = dialect(family)
    parts = [Part(text, "critic", weight=1.5) for text in words]
    parts.insert(1, Part(tongue.decode(sampled), LEARNER, tuple(sampled), 1.0))
    chat = ASKED.then(Message(LEARNER, tuple(parts)))
    rows = tongue.rows(chat, LEARNER)
    prompt = tongue.prompt(ASKED, LEARNER)
    said = tuple(token for part in parts for token in tongue.ids(part))
    assert rows[0].ids == (*prompt, *said, tongue.stop_id)
    assert tongue.prompt(Chat((*ASKED.messages, Message(LEARNER, tuple(parts), open=True))), LEARNER) == (
        *prompt,
        *said,
    )


def test_a_turn_that_was_cut_has_no_stop_token_and_the_next_one_begins_all_the_same():
    tongue = dialect("chatml")
    cut = Message(LEARNER, (Part("ab", LEARNER, weight=1.0),), open=True)
    prompt = tongue.prompt(ASKED, LEARNER)
    [row] = tongue.rows(ASKED.then(cut), LEARNER)
    assert row.ids == (*prompt, *tongue.ids(Part("ab", LEARNER)))
    assert row.weights == (0.0,) * len(prompt) + (1.0, 1.0)
    later = ASKED.then(cut, message("discussant", "b"), message(LEARNER, "2", weight=1.0))
    whole = tongue.rows(later, LEARNER)[-1]
    assert whole.ids[: len(row.ids) + 1] == (*row.ids, tongue.stop_id)
    assert whole.weights[len(row.ids)] == 0


def test_parts_weigh_on_exact_token_boundaries():
    tongue = dialect("chatml")
    turn = Message(
        LEARNER, (Part("abc", LEARNER, weight=0.0), Part("\n?", "m", weight=1.5), Part("é", "c", weight=2.0))
    )
    [row] = tongue.rows(ASKED.then(turn), LEARNER)
    assert row.weights[-8:] == (0.0, 0.0, 0.0, 1.5, 1.5, 2.0, 2.0, 2.0)  # é is two tokens here, and the stop token


def test_two_trained_turns_are_one_row_where_the_template_only_appends():
    chat = question("a").then(
        message(LEARNER, "1", weight=1.0), message("discussant", "b"), message(LEARNER, "2", weight=1.0)
    )
    tongue = dialect("chatml")
    [row] = tongue.rows(chat, LEARNER)
    assert shown(tongue, row).count("‹") == 2
    rewriting = dialect("rewriting")
    rows = rewriting.rows(chat, LEARNER)
    assert [shown(rewriting, row) for row in rows] == [
        "user: a<end>assistant: (new) ‹1<end>›",
        "user: a<end>assistant: 1<end>user: b<end>assistant: (new) ‹2<end>›",
    ]


def test_a_template_cannot_strip_the_thoughts_that_are_to_be_kept():
    thinking = Message(LEARNER, (Part("<think>hm</think>", LEARNER, thought=True), Part("5", LEARNER)))
    chat = ASKED.then(thinking).say("discussant", "sure?")
    kept = dialect("stripping", keeps_thoughts=True)
    hidden = dialect("stripping")
    assert "<think>hm</think>5" in kept.decode(kept.prompt(chat, LEARNER))
    assert "hm" not in hidden.decode(hidden.prompt(chat, LEARNER))
    off = dialect("stripping", template_kwargs={"enable_thinking": False})
    assert off.decode(off.prompt(chat, LEARNER)).endswith("<think>\n\n</think>\n\n")


def test_what_the_partner_learns_is_seen_from_its_side():
    tongue = dialect("chatml")
    chat = question("2+2?").say(LEARNER, "5").then(message("discussant", "no", weight=1.0))
    [row] = tongue.rows(chat, "discussant")
    assert shown(tongue, row).endswith("<|im_start|>user\n2+2?\n\n5<|im_end|>\n<|im_start|>assistant\n‹no<|im_end|>›")


def test_a_tokenizer_without_a_template_is_told_with_the_remedy():
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = None
    with pytest.raises(ConfigError, match=r"has no chat template; give one with chat_template = "):
        Renderer(tokenizer)
