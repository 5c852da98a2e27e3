"""What votes between two answers say, and whether chance could have said it as well.

Only votes for one of the two sides count in the share. A tie or “both bad” says nothing about which
is better; they are left out, as the sign test has done from its beginning, and told beside it.

The likely range is Wilson's score interval at 95 % (Wilson 1927, JASA 22), which holds its level
for few votes and for shares near 0 and 1, where the usual one does not (Brown, Cai and DasGupta
2001, “Interval estimation for a binomial proportion”). The sign test is two-sided with mid-p, which
agrees with that interval (core.chance). A side is better where both say so, after FEWEST votes.
"""

from dataclasses import asdict, dataclass
from math import ceil, sqrt
from typing import Any, Literal

from core.chance import mid_p_sign_test

Verdict = Literal["better", "worse", "even", "unclear"]

Z = 1.959964  # of the normal distribution, for 95 %
LEVEL = 0.05
FEWEST = 10  # votes for a side: five in a row come up once in sixteen by chance alone
EVEN = (0.4, 0.6)  # a likely range within this is no difference worth having
MOST = 500  # votes that somebody might still give


@dataclass(frozen=True)
class Tally:
    wins: int = 0
    losses: int = 0
    ties: int = 0
    bad: int = 0

    @property
    def votes(self) -> int:
        return self.wins + self.losses + self.ties + self.bad

    @property
    def decided(self) -> int:
        """Votes for one of the two sides."""
        return self.wins + self.losses

    @property
    def share(self) -> float | None:
        """Of the wins among the votes for a side."""
        return self.wins / self.decided if self.decided else None

    @property
    def likely(self) -> tuple[float, float]:
        """Where the share lies that very many votes would show, with 95 % confidence."""
        return wilson(self.wins, self.decided)

    @property
    def p(self) -> float:
        """How likely chance alone makes so uneven a count."""
        return mid_p_sign_test(self.wins, self.losses)

    @property
    def verdict(self) -> Verdict:
        low, high = self.likely
        if self.decided < FEWEST:
            return "unclear"
        if self.p < LEVEL and not low <= 0.5 <= high:
            return "better" if low > 0.5 else "worse"
        return "even" if EVEN[0] <= low and high <= EVEN[1] else "unclear"

    @property
    def more(self) -> int | None:
        """How many more votes make it clear, ties among them, if they go on falling as they did.

        0 where it is clear already; None where nobody would give so many, or there is no vote.
        """
        if self.verdict != "unclear":
            return 0
        if not self.decided:
            return None
        upto = self.decided + ceil(MOST * self.decided / self.votes)
        for decided in range(max(FEWEST, self.decided + 1), upto + 1):
            wins = round(self.wins * decided / self.decided)
            if Tally(wins, decided - wins).verdict != "unclear":
                more = ceil((decided - self.decided) * self.votes / self.decided)
                return more if more <= MOST else None
        return None

    def describe(self) -> dict[str, Any]:
        """As the API tells it."""
        low, high = self.likely
        return {
            **asdict(self), "votes": self.votes, "share": self.share, "low": low, "high": high,
            "p": self.p, "verdict": self.verdict, "more": self.more,
        }  # fmt: skip


def wilson(wins: int, count: int) -> tuple[float, float]:
    """The score interval of a share at 95 %; (0, 1) where nothing was counted."""
    if not count:
        return 0.0, 1.0
    share, z2 = wins / count, Z * Z / count
    middle = share + z2 / 2
    reach = Z * sqrt(share * (1 - share) / count + z2 / (4 * count))
    low, high = ((middle + side * reach) / (1 + z2) for side in (-1, 1))
    return max(0.0, low), min(1.0, high)
