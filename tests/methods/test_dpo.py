"""Off-line DPO: a row's replies as they are, and nobody is asked."""

import random
from dataclasses import replace

from sparring.core.chat import GOLD, LEARNER, message
from sparring.core.objective import DPO
from sparring.methods.dpo import OfflineDPO
from sparring.parsing.steps import COMPACT
from tests.methods.conftest import account, play


def test_a_row_is_a_preference_as_it_stands(problem, arithmetic, script, golden):
    worked = problem.chat.then(message(LEARNER, "3+7=10\n10+5=15\n15", GOLD, weight=1.0))
    compared = replace(problem, worked=worked, rejected=message(LEARNER, "3+7=11\n16", GOLD, weight=1.0))
    method, speaker = OfflineDPO(), script(["never asked"])
    episode = play(method, compared, arithmetic, speaker)
    golden("dpo", account(episode, method.harvest([episode], [], COMPACT, random.Random(0))))
    assert method.harvest([play(method, problem, arithmetic, speaker)], [], COMPACT, random.Random(0)) == []


def test_its_keys_are_the_loss_s():
    assert OfflineDPO(beta=0.3, nll_weight=2.0).objective == DPO(0.3, 2.0)
