"""Golden token tables for several families of chat templates, and what must hold for each of them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparring.common.errors import ConfigError
from sparring.core.chat import GOLD, LEARNER, PLAIN, SYSTEM, Chat, Message, Part, message, question
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
    template, special = {**FAMILIES, **MORE}[family]
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
    first = parts[0]
    if family == "mistral" and first.ids is None and not first.text[:1].isspace() and first.text:
        parts[0] = Part(" " + first.text, "critic")  # as the template begins a reply
    said = tuple(token for part in parts for token in tongue.ids(part))
    parts[0] = first
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


# ── conversations from data ─────────────────────────────────────────────────────────────────────────────────

QWEN = (  # what Qwen's template does with thoughts, calls and results
    "{% if tools %}<|im_start|>system\n{% for t in tools %}{{ t | tojson }}{% endfor %}<|im_end|>\n{% endif %}"
    "{% for m in messages %}{% if m.role == 'tool' %}<|im_start|>user\n<tool_response>\n{{ m.content }}\n</tool_response><|im_end|>\n"
    "{% else %}<|im_start|>{{ m.role }}\n"
    "{% if m.reasoning_content and loop.index0 + 2 >= messages | length %}<think>\n{{ m.reasoning_content }}\n</think>\n\n{% endif %}"
    "{{ m.content }}{% for c in m.tool_calls or [] %}<tool_call>\n{{ c.function | tojson }}\n</tool_call>{% endfor %}"
    "<|im_end|>\n{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
HARMONY = (  # as gpt-oss: a channel for thoughts
    "{% for m in messages %}<|im_start|>{{ m.role }}"
    "{% if m.thinking %}<channel>analysis<message>{{ m.thinking }}<|im_end|><|im_start|>assistant<channel>final<message>{% endif %}"
    "{{ m.content }}<|im_end|>{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant{% endif %}"
)
PREFILLED = CHATML.replace("<|im_start|>assistant\n{% endif %}", "<|im_start|>assistant\n<think>\n{% endif %}")
MORE = {
    name: (template, FAMILIES["chatml"][1])
    for name, template in (("qwen", QWEN), ("harmony", HARMONY), ("prefilled", PREFILLED))
}
THINKING = Message(LEARNER, (Part("hm", GOLD, weight=1.0, thought=True), Part("4", GOLD, weight=1.0)))


@pytest.mark.parametrize(
    ("family", "trained"),
    [
        ("chatml", "<|im_start|>assistant\n‹<think>\nhm\n</think>\n\n4<|im_end|>›"),
        ("qwen", "<|im_start|>assistant\n‹<think>\nhm\n</think>\n\n4<|im_end|>›"),
        ("harmony", "‹<channel>analysis<message>hm<|im_end|><|im_start|>assistant<channel>final<message>4<|im_end|>›"),
    ],
)
def test_a_thought_in_the_data_is_trained_as_the_template_writes_thoughts(family, trained):
    tongue = dialect(family)
    [row] = tongue.rows(question("2+2?").then(THINKING), LEARNER)
    assert shown(tongue, row).endswith(trained)


def test_each_thought_is_trained_once_and_hidden_from_later_turns():
    tongue, later = dialect("chatml"), message("user", "Sure?")
    chat = question("2+2?").then(THINKING, later, THINKING)
    first, second = (shown(tongue, row) for row in tongue.rows(chat, LEARNER))
    assert first.endswith("user\n2+2?<|im_end|>\n<|im_start|>assistant\n‹<think>\nhm\n</think>\n\n4<|im_end|>›")
    assert second.count("hm") == second.count("‹") == 1
    assert "assistant\n4<|im_end|>\n<|im_start|>user\nSure?" in second
    [row] = dialect("chatml", keeps_thoughts=True).rows(chat, LEARNER)
    assert shown(tongue, row).count("‹<think>\nhm\n</think>\n\n4<|im_end|>›") == 2


def test_a_thought_in_words_does_not_open_again_where_the_prompt_has_opened_it():
    tongue = dialect("prefilled")
    for opened in ("<think>hm</think>4", "<think>\nhm</think>4"):
        [row] = tongue.rows(question("2+2?").then(message(LEARNER, opened, GOLD, weight=1.0)), LEARNER)
        assert shown(tongue, row).endswith("assistant\n<think>\n‹hm</think>4<|im_end|>›")
    started = Message(LEARNER, (Part("<think></think>", "protocol"),), open=True)
    prompt = tongue.prompt(question("2+2?").then(started), LEARNER)
    assert tongue.decode(prompt).endswith("assistant\n<think>\n</think>")


def test_a_reply_begins_with_the_space_that_the_template_writes_before_it():
    tongue = dialect("mistral")
    chat = question("a").then(
        message(LEARNER, "1", GOLD, weight=1.0), message("user", "b"), message(LEARNER, " 2", GOLD, weight=1.0)
    )
    [row] = tongue.rows(chat, LEARNER)
    assert shown(tongue, row) == "<bos>[INST] a [/INST]‹ 1<end>›[INST] b [/INST]‹ 2<end>›"
    sampled = Message(LEARNER, (Part(" 1", LEARNER, tongue.ids(Part(" 1", LEARNER))),))
    later = tongue.prompt(question("a").then(sampled, message("user", "b")), LEARNER)
    assert tongue.decode(later) == "<bos>[INST] a [/INST] 1<end>[INST] b [/INST]"


@pytest.mark.parametrize("words", ["what is \u24020\u2403 here?", "a \u24027\u2403", "\u2402\u24020\u2403 and \u2402"])
def test_words_that_look_like_a_placeholder_stay_words(words):
    tongue = dialect("chatml")
    chat = question("hi").then(
        message(LEARNER, "yo", weight=1.0), message("user", words), message(LEARNER, "1", weight=1.0)
    )
    [row] = tongue.rows(chat, LEARNER)
    assert tongue.decode(row.ids).endswith(
        f"\nyo<|im_end|>\n<|im_start|>user\n{words}<|im_end|>\n<|im_start|>assistant\n1<|im_end|>"
    )


def test_a_prompt_that_rules_thoughts_out_leaves_them_out():
    tongue = dialect("stripping", template_kwargs={"enable_thinking": False})
    [row] = tongue.rows(question("2+2?").then(THINKING), LEARNER)
    assert shown(tongue, row).endswith("<think>\n\n</think>\n\n‹4<|im_end|>›")


TOOLS = (
    Message("user", (Part("1+1?", "user"),), tools='{"tools": [{"name": "add"}]}'),
    Message(LEARNER, (), tools='{"tool_calls": [{"function": {"name": "add", "arguments": {"x": 1}}}]}'),
    Message("tool", (Part('{"sum": 2}', "tool"),), tools="{}"),
    Message("tool", (Part("and 3", "tool"),), tools="{}"),
    message(LEARNER, "Two.", GOLD, weight=1.0),
)


@pytest.mark.parametrize(
    ("family", "text"),
    [
        (
            "qwen",
            '<|im_start|>system\n{"name": "add"}<|im_end|>\n<|im_start|>user\n1+1?<|im_end|>\n<|im_start|>assistant\n'
            '<tool_call>\n{"name": "add", "arguments": {"x": 1}}\n</tool_call><|im_end|>\n'
            '<|im_start|>user\n<tool_response>\n{"sum": 2}\n</tool_response><|im_end|>\n'
            "<|im_start|>user\n<tool_response>\nand 3\n</tool_response><|im_end|>\n<|im_start|>assistant\n‹Two.<|im_end|>›",
        ),
        (
            "chatml",
            '<|im_start|>system\nYou can call these tools:\n{"name": "add"}<|im_end|>\n<|im_start|>user\n1+1?<|im_end|>\n'
            '<|im_start|>assistant\n{"name": "add", "arguments": {"x": 1}}<|im_end|>\n'
            '<|im_start|>user\n{"sum": 2}\n\nand 3<|im_end|>\n<|im_start|>assistant\n‹Two.<|im_end|>›',
        ),
    ],
)
def test_tools_are_shown_by_the_template_or_as_text_and_never_trained(family, text):
    tongue = dialect(family)
    [row] = tongue.rows(Chat(TOOLS), LEARNER)
    assert shown(tongue, row) == text
    assert tongue.prompt(Chat(TOOLS[:-1]), LEARNER) == row.ids[: row.weights.index(1.0)]


def test_others_read_calls_and_results_as_text():
    roles = [(turn.role, turn.text) for turn in Chat(TOOLS).seen_by("discussant")]
    assert {role for role, _ in roles} == {"user"}
    assert '"add"' in "".join(text for _, text in roles)
    assert "and 3" in "".join(text for _, text in roles)


def test_a_late_system_prompt_stays_where_the_template_shows_it_and_is_the_user_s_elsewhere():
    chat = question("a").say(LEARNER, "b").say(SYSTEM, "Be kind.").say("user", "c")
    assert "<|im_start|>system\nBe kind." in (tongue := dialect("chatml")).decode(tongue.prompt(chat, LEARNER))
    assert "user\nBe kind.\n\nc<end" in (tongue := dialect("gemma")).decode(tongue.prompt(chat, LEARNER))


def test_a_chat_that_the_template_rejects_is_one_line():
    chat = Chat((message(LEARNER, "Hi"), message("user", "a"), message(LEARNER, "b", weight=1.0)))
    with pytest.raises(
        ConfigError, match=r"rejects a chat .*must alternate; its roles: assistant, user\); change the data"
    ):
        dialect("gemma").rows(chat, LEARNER)


def test_plain_text_is_trained_without_a_template_in_pieces_of_the_model_s_length():
    tongue = dialect("chatml")
    text = message(PLAIN, "Hi<|im_end|>you", GOLD, weight=0.5)
    [row] = tongue.rows(Chat((text,)), LEARNER)
    assert shown(tongue, row) == "H‹i<|im_end|>you<end>›"
    assert tongue.tokenizer.convert_ids_to_tokens(row.ids[2]) == "<|im_end|>"
    assert set(row.weights[1:]) == {0.5}
    [ended] = tongue.rows(Chat((message(PLAIN, "Hi<end>", GOLD, weight=1.0),)), LEARNER)
    assert shown(tongue, ended) == "H‹i<end>›"
    pieces = dialect("chatml", longest=4).rows(Chat((text,)), LEARNER)
    assert [shown(tongue, piece) for piece in pieces] == ["H‹i<|im_end|>y›", "y‹ou<end>›"]
    trained = [token for piece in pieces for token in piece.ids[1:]]
    assert trained == list(row.ids[1:])


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
