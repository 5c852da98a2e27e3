"""Whether an answer declines to answer: a small rule that a person can check by eye.

It counts where the text is empty, or where its first CHARACTERS say that it can't, won't or may
not: in English, German, French, Spanish or Italian. An apology alone does not count (“Sorry to hear
that. We send a new one.” helps), and neither does a refusal further down. What is declined in other
words, or in another language, is missed: the share is for comparing one week with another, not for
believing to the point.
"""

import re

CHARACTERS = 120
RULE = (
    "Counted as declined: an empty answer, or one whose first 120 characters say that it can’t, "
    "won’t or may not, in English, German, French, Spanish or Italian. An apology alone does not "
    "count."
)
_DECLINES = re.compile(
    r"\b(?:"
    r"(?:i|we)(?:['’]m| am| are|['’]re) (?:not able|unable|not allowed)"
    r"|(?:i|we) (?:can(?:not|['’]?t| not)|won['’]?t|will not|may not|must not)"
    r" (?!wait\b|recommend\b|stress\b|thank\b|only\b)"
    r"|as an ai\b"
    r"|ich (?:kann|darf|werde)(?: \w+){0,4} nicht\b"
    r"|(?:leider|das|dazu|darauf|dabei) (?:kann|darf) ich(?: \w+){0,4} nicht\b"
    r"|je ne (?:peux|puis|dois) (?:malheureusement )?pas"
    r"|no (?:puedo|podemos|debo)\b"
    r"|non (?:posso|possiamo|devo)\b"
    r")",
    re.IGNORECASE,
)


def declines(answer: str) -> bool:
    return not answer.strip() or bool(_DECLINES.search(answer.strip()[:CHARACTERS]))
