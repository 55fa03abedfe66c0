"""From who-beat-whom to one score each, and scores made comparable. Pure arithmetic: no models, no files.

Sources: Bradley-Terry over both orders and the standardised length penalty are those of "Thinking LLMs"
(arXiv 2410.10630). The prior is ours: without one the likelihood is unbounded whenever one side wins everything.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence


def standardise(values: Sequence[float]) -> list[float]:
    """(value − mean) / standard deviation over `values`; all zero where they do not vary."""
    mean = math.fsum(values) / len(values)
    variance = math.fsum((v - mean) ** 2 for v in values) / len(values)
    scale = math.sqrt(variance)
    if scale <= 1e-12 * max(1.0, abs(mean)):
        return [0.0] * len(values)
    return [(v - mean) / scale for v in values]


def with_length_penalty(scores: Sequence[float], lengths: Sequence[int], penalty: float) -> list[float]:
    """N(score) − penalty · N(length), both standardised among the samples of one problem."""
    return [s - penalty * n for s, n in zip(standardise(scores), standardise(lengths), strict=True)]


def bradley_terry(wins: Sequence[Sequence[float]], prior: float = 0.5) -> list[float]:
    """Log-strengths, mean zero, that best explain `wins[i][j]`, the number of times i beat j.

    `prior` adds that many wins in each direction between every two players that met at all (ours: 0.5,
    Jeffreys' for a single comparison), which keeps an unbeaten player's strength finite. Players that met
    nobody score 0. Minorisation-maximisation (Hunter 2004), to 1e-10.
    """
    everyone = range(len(wins))
    games = [[wins[i][j] + wins[j][i] for j in everyone] for i in everyone]
    players = [i for i in everyone if any(games[i][j] for j in everyone if j != i)]
    met = {i: [j for j in players if j != i and games[i][j]] for i in players}
    won = {i: math.fsum(wins[i][j] + prior for j in met[i]) for i in players}
    strength = dict.fromkeys(players, 1.0)
    for _ in range(10_000):
        updated = {
            i: won[i] / math.fsum((games[i][j] + 2 * prior) / (strength[i] + strength[j]) for j in met[i])
            for i in players
        }
        centre = math.exp(math.fsum(map(math.log, updated.values())) / max(1, len(players)))
        updated = {i: value / centre for i, value in updated.items()}
        moved = max((abs(math.log(updated[i] / strength[i])) for i in players), default=0.0)
        strength = updated
        if moved < 1e-10:
            break
    return [math.log(strength.get(i, 1.0)) for i in everyone]


def swiss_rounds(players: int) -> int:
    """So many rounds of a Swiss tournament unless a recipe says otherwise (ours): a knock-out's, and one more."""
    return math.ceil(math.log2(players)) + 1 if players > 1 else 0


def swiss_pairs(standing: Sequence[int], met: Collection[frozenset[int]]) -> list[tuple[int, int]]:
    """One round: neighbours in `standing` (the best first) meet, but nobody meets who `met` before.

    Of an odd number somebody in the middle sits out, since best and worst are what is looked for. Who finds nobody new
    changes places with a pair; before half of all rounds are over that always helps, later it may not.
    """
    left, pairs, alone = list(standing), list[tuple[int, int]](), list[int]()
    if len(left) % 2:
        left.remove(_sits_out(standing, met))
    while left:
        player = left.pop(0)
        other = next((other for other in left if frozenset((player, other)) not in met), None)
        if other is None:
            alone.append(player)
        else:
            left.remove(other)
            pairs.append((player, other))
    while len(alone) > 1:
        last, other = alone.pop(), alone.pop()
        _change_places(pairs, last, other, met)
    return pairs


def _sits_out(standing: Sequence[int], met: Collection[frozenset[int]]) -> int:
    """One of those who have met most, the nearest to the middle."""
    games = {player: sum(player in pair for pair in met) for player in standing}
    middle = len(standing) // 2
    return max(standing, key=lambda player: (games[player], -abs(standing.index(player) - middle)))


def _change_places(pairs: list[tuple[int, int]], one: int, other: int, met: Collection[frozenset[int]]) -> None:
    """Two who have met each other take a pair apart, the lowest there is, and meet its two."""
    for place, (first, second) in reversed(list(enumerate(pairs))):
        for mine, theirs in ((first, second), (second, first)):
            if frozenset((one, mine)) not in met and frozenset((other, theirs)) not in met:
                pairs[place : place + 1] = [(mine, one), (theirs, other)]
                return


def wilson(right: int, total: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """The 95 % interval of a proportion (Wilson 1927); (0, 1) where nothing was counted."""
    if total == 0:
        return 0.0, 1.0
    share, z2 = right / total, z * z
    centre = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = z * math.sqrt(share * (1 - share) / total + z2 / (4 * total * total)) / (1 + z2 / total)
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))
