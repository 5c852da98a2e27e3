"""What a right answer is, as small values that are called with the answer and return True or False.

A check is strict about the content (the right fact, no rival fact, the asked-for form) and
indifferent to the wording around it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

Check = Callable[[str], bool]


def has(answer: str, phrase: str) -> bool:
    """Whether `phrase` stands in `answer` as whole words, whatever the case."""
    return re.search(rf"(?<!\w){re.escape(phrase)}(?!\w)", answer, re.IGNORECASE) is not None


@dataclass(frozen=True)
class Says:
    """All of `all`, at least one of `any` (if given) and nothing of `none`."""

    all: tuple[str, ...] = ()
    any: tuple[str, ...] = ()
    none: tuple[str, ...] = ()

    def __call__(self, answer: str) -> bool:
        return (
            all(has(answer, phrase) for phrase in self.all)
            and (not self.any or any(has(answer, phrase) for phrase in self.any))
            and not any(has(answer, phrase) for phrase in self.none)
        )


@dataclass(frozen=True)
class Exactly:
    """This text, letter by letter; only outer blanks and a last full stop may differ."""

    text: str

    def __call__(self, answer: str) -> bool:
        return answer.strip().rstrip(".") == self.text.strip().rstrip(".")


@dataclass(frozen=True)
class Starts:
    text: str

    def __call__(self, answer: str) -> bool:
        return answer.strip().startswith(self.text)


@dataclass(frozen=True)
class Ends:
    text: str

    def __call__(self, answer: str) -> bool:
        return answer.strip().endswith(self.text)


@dataclass(frozen=True)
class Numbers:
    """Exactly these numbers, in this order."""

    numbers: tuple[int, ...]

    def __call__(self, answer: str) -> bool:
        return tuple(map(int, re.findall(r"\d+", answer))) == self.numbers


@dataclass(frozen=True)
class Result:
    """The last number of the answer is `number`."""

    number: int

    def __call__(self, answer: str) -> bool:
        found = re.findall(r"\d+", answer)
        return bool(found) and int(found[-1]) == self.number


@dataclass(frozen=True)
class Names:
    """`count` different members of `members`, no more and no fewer."""

    count: int
    members: tuple[str, ...]

    def __call__(self, answer: str) -> bool:
        # Longest first and removed once found: "apple pie" is not also an apple.
        rest, found = answer, 0
        for member in sorted(self.members, key=len, reverse=True):
            rest, times = re.subn(rf"(?<!\w){re.escape(member)}(?!\w)", " ", rest, flags=re.I)
            found += times > 0
        return found == self.count


@dataclass(frozen=True)
class Sentences:
    """At least this many sentences, the last one finished, none said twice."""

    at_least: int

    def __call__(self, answer: str) -> bool:
        sentences = re.findall(r"[^.!?]+[.!?]", answer)
        distinct = {sentence.strip().lower() for sentence in sentences}
        finished = answer.strip().endswith((".", "!", "?", '"'))
        return finished and len(distinct) == len(sentences) >= self.at_least


@dataclass(frozen=True)
class Both:
    first: Check
    second: Check

    def __call__(self, answer: str) -> bool:
        return self.first(answer) and self.second(answer)
