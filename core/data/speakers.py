"""Who speaks in a conversation whose speakers have names of their own, as in “Anna: … Me: …”.

Only where the pattern is clear: a few names that turn up again and again at the beginning of lines,
in turn and not in the same round each time, as fields of a form would. Whose answers are to be
learned nobody but the person can say.
"""

import itertools
import re
from collections import Counter

from core.data.bytes import Source

LOOKED_AT = 1 << 16  # characters that decide
FEWEST, MOST = 2, 6  # speakers
TURNS = 4  # at least

_WHEN = (  # as messengers write it before the name when a chat is exported
    r"\[?\d{1,4}[./-]\d{1,2}[./-]\d{1,4},?\s+\d{1,2}[:.]\d{2}(?:[:.]\d{2})?"
    r"(?:\s?[AaPp]\.?[Mm]\.?)?\]?(?:\s+[-–])?\s+"
)
_NAME = r"[^\W\d_][\w.'’-]{0,30}(?: [^\W\d_][\w.'’-]{0,30}){0,2}"
_TURN = re.compile(rf"\s*\u200e?(?:{_WHEN})?[*_]*({_NAME})[*_]*(?::[*_]*\s+|：\s*)(?=\S)")


def said_by(line: str) -> re.Match[str] | None:
    """Who says this line, as group 1, and where the text begins; None for an ordinary line."""
    found = _TURN.match(line)
    return found if found and found[1][0] == found[1][0].title() else None


def speakers(source: Source) -> list[str]:
    """All who speak, the one who answers first before the others; none if the pattern isn't clear.

    Who speaks once is not counted: any line may have a colon in it.
    """
    with source.open_text() as file:
        head = [line for line in file.read(LOOKED_AT).splitlines() if line.strip()]
    names = [found[1] for line in head if (found := said_by(line))]
    often = Counter(names)
    turns = [name for name in names if often[name] > 1]
    order = list(dict.fromkeys(turns))
    changes = sum(a != b for a, b in itertools.pairwise(turns))
    if not (
        FEWEST <= len(order) <= MOST
        and len(turns) >= TURNS
        and said_by(head[0])
        and 2 * len(turns) >= len(head)
        and 2 * changes >= len(turns)
        and (len(order) == 2 or turns != [*itertools.islice(itertools.cycle(order), len(turns))])
    ):
        return []
    return [order[1], order[0], *order[2:]]
