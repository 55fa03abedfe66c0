"""Experience and its replay."""

from __future__ import annotations

from sparring.core.chat import Chat
from sparring.core.experience import Demonstration, Memory


def test_memory_replays_the_newest_of_earlier_rounds():
    memory: Memory = Memory(3)
    a, b, c, d = ([Demonstration(name, Chat())] * 2 for name in "abcd")
    for fresh, replayed in ((a, a), (b, [*b, *a]), (c, [*c, a[0], *b])):
        assert memory.replay(fresh) == replayed
        assert memory.replay(fresh) == replayed  # a round that is begun again replays the same
        memory.remember(fresh)
    none = Memory(0)
    none.remember(d)
    assert none.replay(d) == d
