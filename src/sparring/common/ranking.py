"""Scores from pairwise results, and comparable scores. Pure arithmetic: no models, no files.

Bradley-Terry over both orders and the standardised length penalty are from "Thinking LLMs" (arXiv 2410.10630). The
prior is ours: without it the likelihood has no maximum if one side wins every game.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence


def standardise(values: Sequence[float]) -> list[float]:
    """Return (value − mean) / standard deviation over `values`; all zeros if they do not vary."""
    mean = math.fsum(values) / len(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / len(values)
    deviation = math.sqrt(variance)
    if deviation <= 1e-12 * max(1.0, abs(mean)):  # equal values: only rounding errors are left
        return [0.0] * len(values)
    return [(value - mean) / deviation for value in values]


def with_length_penalty(scores: Sequence[float], lengths: Sequence[int], penalty: float) -> list[float]:
    """Return standardised score − penalty · standardised length, for the samples of one problem."""
    pairs = zip(standardise(scores), standardise(lengths), strict=True)
    return [score - penalty * length for score, length in pairs]


def bradley_terry(wins: Sequence[Sequence[float]], prior: float = 0.5) -> list[float]:
    """Return log-strengths, mean zero, that maximise the likelihood of `wins[i][j]`, the times that i beat j.

    `prior` adds that many wins in each direction for every two players that met (ours: 0.5, Jeffreys' for a single
    comparison). It keeps the strength of an unbeaten player finite. Players without games score 0. Computed by
    minorisation-maximisation (Hunter 2004) to 1e-10.
    """
    everyone = range(len(wins))
    games = [[wins[i][j] + wins[j][i] for j in everyone] for i in everyone]
    players = [i for i in everyone if any(games[i][j] for j in everyone if j != i)]
    opponents = {i: [j for j in players if j != i and games[i][j]] for i in players}
    total_wins = {i: math.fsum(wins[i][j] + prior for j in opponents[i]) for i in players}
    strength = dict.fromkeys(players, 1.0)
    for _ in range(10_000):
        # Hunter's update: a player's wins over the sum of games / (own strength + opponent's strength).
        updated = {}
        for i in players:
            weighted_games = ((games[i][j] + 2 * prior) / (strength[i] + strength[j]) for j in opponents[i])
            updated[i] = total_wins[i] / math.fsum(weighted_games)
        # The likelihood depends on ratios alone: fix the scale by a geometric mean of 1.
        geometric_mean = math.exp(math.fsum(map(math.log, updated.values())) / max(1, len(players)))
        updated = {i: value / geometric_mean for i, value in updated.items()}
        largest_change = max((abs(math.log(updated[i] / strength[i])) for i in players), default=0.0)
        strength = updated
        if largest_change < 1e-10:
            break
    return [math.log(strength.get(i, 1.0)) for i in everyone]


def swiss_rounds(players: int) -> int:
    """Return the default number of rounds of a Swiss tournament (ours): one more than a knock-out tournament has."""
    return math.ceil(math.log2(players)) + 1 if players > 1 else 0


def swiss_pairs(standing: Sequence[int], met: Collection[frozenset[int]]) -> list[tuple[int, int]]:
    """Pair neighbours in `standing` (best first) for one round; no pair of `met` meets again.

    With an odd number of players, one in the middle sits out, since the best and the worst matter most. Two players
    without a new opponent split an earlier pair between them. That always succeeds in the first half of all possible
    rounds; later such players may sit out.
    """
    waiting, pairs, unpaired = list(standing), list[tuple[int, int]](), list[int]()
    if len(waiting) % 2:
        waiting.remove(_sits_out(standing, met))
    while waiting:
        player = waiting.pop(0)
        opponent = next((other for other in waiting if frozenset((player, other)) not in met), None)
        if opponent is None:
            unpaired.append(player)
        else:
            waiting.remove(opponent)
            pairs.append((player, opponent))
    while len(unpaired) > 1:
        one, other = unpaired.pop(), unpaired.pop()
        _split_a_pair(pairs, one, other, met)
    return pairs


def _sits_out(standing: Sequence[int], met: Collection[frozenset[int]]) -> int:
    """Return the player nearest to the middle among those with the most games."""
    games = {player: sum(player in pair for pair in met) for player in standing}
    middle = len(standing) // 2
    return max(standing, key=lambda player: (games[player], -abs(standing.index(player) - middle)))


def _split_a_pair(pairs: list[tuple[int, int]], one: int, other: int, met: Collection[frozenset[int]]) -> None:
    """Split the lowest pair whose players are new opponents for `one` and `other`, who have met each other already."""
    for index, (first, second) in reversed(list(enumerate(pairs))):
        for opponent_of_one, opponent_of_other in ((first, second), (second, first)):
            if frozenset((one, opponent_of_one)) not in met and frozenset((other, opponent_of_other)) not in met:
                pairs[index : index + 1] = [(opponent_of_one, one), (opponent_of_other, other)]
                return


def wilson(right: float, total: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """Return the 95 % interval of a proportion (Wilson 1927); (0, 1) if `total` is 0."""
    if total == 0:
        return 0.0, 1.0
    share, z2 = right / total, z * z
    centre = (share + z2 / (2 * total)) / (1 + z2 / total)
    half_width = z * math.sqrt(share * (1 - share) / total + z2 / (4 * total * total)) / (1 + z2 / total)
    # Rounding must not move a bound past the proportion itself.
    return max(0.0, min(share, centre - half_width)), min(1.0, max(share, centre + half_width))
