from itertools import pairwise

from sparring.core.chat import LEARNER, SYSTEM, USER, Chat, Message, Part, message, question

CHAT = question("2+2?", system="be brief").say(LEARNER, "5").say("discussant", "sure?").say("critic", "step 1")


def test_roles_depend_on_the_reader():
    assert [(t.role, t.text) for t in CHAT.seen_by(LEARNER)] == [
        ("system", "be brief"), ("user", "2+2?"), ("assistant", "5"), ("user", "sure?\n\nstep 1"),
    ]  # fmt: skip
    assert [t.role for t in CHAT.seen_by("discussant")] == ["system", "user", "assistant", "user"]


def test_neighbours_of_one_role_are_merged_for_every_reader():
    for reader in (LEARNER, "discussant", "critic", "nobody"):
        roles = [turn.role for turn in CHAT.seen_by(reader)]
        assert all(one != other for one, other in pairwise(roles))


def test_thoughts_are_seen_by_nobody_else_and_by_their_author_only_if_kept_or_newest():
    thinking = Message(LEARNER, (Part("hm", LEARNER, thought=True), Part("5", LEARNER)))
    chat = question("2+2?").then(thinking).say("discussant", "sure?")
    assert thinking.text == "5"
    assert thinking.full_text == "hm5"
    assert all("hm" not in turn.text for turn in chat.seen_by("discussant"))
    assert all("hm" not in turn.text for turn in chat.seen_by(LEARNER))
    assert "hm5" in [turn.text for turn in chat.seen_by(LEARNER, thoughts=True)]
    assert chat.messages[:-1][-1] is thinking
    assert "hm5" in [turn.text for turn in Chat(chat.messages[:-1]).seen_by(LEARNER)]


def test_a_message_keeps_who_wrote_which_part():
    turn = Message(LEARNER, (Part("1+1=3", LEARNER), Part("\n?", "marker"), Part("1 1+1=3", "critic")))
    weighed = turn.with_weight(1.5)
    assert [part.writer for part in weighed.parts] == [LEARNER, "marker", "critic"]
    assert {part.weight for part in weighed.parts} == {1.5}
    assert message(USER, "x").parts[0].weight == 0
    assert question("a").messages[0].author == USER
    assert question("a", "s").messages[0].author == SYSTEM
