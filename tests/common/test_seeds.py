"""Random streams named by content."""

from __future__ import annotations

from sparring.common.seeds import digest, named_rng, stream


def test_streams_depend_on_their_names_alone():
    assert stream(0, "a", 1) == stream(0, "a", 1) == 7_174_685_544_028_397_518
    assert len({stream(0, "a", n) for n in range(1000)}) == 1000
    assert digest("a", "b") != digest("ab")
    assert named_rng(1).random() == named_rng(1).random()
