"""How likely chance alone makes two equals differ so much.

Of wins and losses: the sign test (Dixon and Mood 1946, “The statistical sign test”, JASA 41),
two-sided; ties are left out by those who count. With mid-p only half of the count itself is added
to what is more uneven: less timid, and in agreement with Wilson's interval (Fagerland, Lydersen and
Laake 2013, BMC Medical Research Methodology 13:91).

Of two shares: Fisher's exact test, two-sided (Fisher 1935, “The logic of inductive inference”, JRSS
98). Of two sets of figures: the rank test of Mann and Whitney (1947, Annals of Mathematical
Statistics 18), two-sided, by the normal distribution with a correction for ties.
"""

from collections import Counter
from collections.abc import Sequence
from math import comb, erfc, exp, lgamma, sqrt


def exact_sign_test(wins: int, losses: int) -> float:
    count, most = wins + losses, max(wins, losses)
    return min(1.0, 2 * _at_least(most, count) / 2**count)


def mid_p_sign_test(wins: int, losses: int) -> float:
    count, most = wins + losses, max(wins, losses)
    return min(1.0, (2 * _at_least(most, count) - comb(count, most)) / 2**count)


def _at_least(most: int, count: int) -> int:
    """In how many of the 2**count orders so many are won; a whole number, which no float could hold
    past a thousand."""
    orders = total = comb(count, most)
    for wins in range(most, count):
        orders = orders * (count - wins) // (wins + 1)
        total += orders
    return total


def exact_shares_test(hits: int, count: int, other_hits: int, other_count: int) -> float:
    """Of two counts of hits, each among so many."""
    total, hit = count + other_count, hits + other_hits

    def log_chance(first: int) -> float:
        """Of so many hits being in the first group, as a logarithm."""
        return (
            _log_comb(count, first)
            + _log_comb(other_count, hit - first)
            - _log_comb(total, hit)
        )  # fmt: skip

    seen = log_chance(hits) + 1e-9  # as likely, but for rounding
    possible = range(max(0, hit - other_count), min(count, hit) + 1)
    return min(1.0, sum(exp(p) for first in possible if (p := log_chance(first)) <= seen))


def rank_test(figures: Sequence[float], others: Sequence[float]) -> float:
    """Whether figures of one set tend to be larger than those of the other."""
    n, m = len(figures), len(others)
    if not n or not m:
        return 1.0
    ranks: dict[float, float] = {}
    ties = below = 0
    for value, count in sorted(Counter([*figures, *others]).items()):
        ranks[value] = below + (count + 1) / 2  # the mean of those that share it
        ties += count**3 - count
        below += count
    u = sum(ranks[value] for value in figures) - n * (n + 1) / 2
    spread = n * m / 12 * (n + m + 1 - ties / ((n + m) * (n + m - 1)))
    if spread <= 0:  # all are the same
        return 1.0
    away = max(0.0, abs(u - n * m / 2) - 0.5)
    return erfc(away / sqrt(2 * spread))


def _log_comb(count: int, chosen: int) -> float:
    return lgamma(count + 1) - lgamma(chosen + 1) - lgamma(count - chosen + 1)
