"""Near duplicates: texts that share most of their words.

MinHash with locality-sensitive hashing (Broder 1997; Leskovec et al., Mining of Massive Datasets,
chapter 3), by the rensa library: a text's set of word pairs (or, where words have no blanks between
them, of three characters) is reduced to 64 numbers, and only texts that share a band of these are
compared.
"""

import re
from itertools import pairwise

from rensa import RMinHash, RMinHashLSH

LIKE = 0.8  # share of common pairs from which two texts count as near duplicates
NUMBERS, BANDS = 64, 16
FEWEST = 8  # pairs; shorter texts are alike by chance
LONGEST = 4000  # characters that are looked at

_WORDS = re.compile(r"\w+")


class Similar:
    """Remembers texts, and tells for each new one which earlier one it is nearly the same as."""

    def __init__(self) -> None:
        self._index = RMinHashLSH(LIKE, NUMBERS, BANDS)
        self._known: dict[int, RMinHash] = {}

    def earlier(self, number: int, text: str) -> int | None:
        """The number of an earlier text that this one resembles; else it is remembered."""
        pieces = _pieces(text[:LONGEST])
        if len(pieces) < FEWEST:
            return None
        sketch = RMinHash(NUMBERS, 42)
        sketch.update(pieces)
        for other in self._index.query(sketch):
            if sketch.jaccard(self._known[other]) >= LIKE:
                return other
        self._known[number] = sketch
        self._index.insert(number, sketch)
        return None


def _pieces(text: str) -> list[str]:
    words = _WORDS.findall(text.casefold())
    if len(words) * 12 < len(text):  # written without blanks, as Chinese or Japanese
        letters = "".join(words)
        return list({letters[at : at + 3] for at in range(len(letters) - 2)})
    return list({f"{a} {b}" for a, b in pairwise(words)})
