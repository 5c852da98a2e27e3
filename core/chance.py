"""How likely chance alone makes a count of wins and losses between equals so uneven.

The sign test (Dixon and Mood 1946, “The statistical sign test”, JASA 41), two-sided; ties are left
out by those who count. With mid-p only half of the count itself is added to what is more uneven:
less timid, and in agreement with Wilson's interval (Fagerland, Lydersen and Laake 2013, BMC Medical
Research Methodology 13:91).
"""

from math import comb


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
