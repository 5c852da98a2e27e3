"""What the doctor looks for. A check sees every row once, in order, and then says what it found."""

import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import pairwise
from typing import Any

import ftfy
from pydantic import Field

from core.data import personal, turns
from core.data.findings import EXAMPLES, LISTED, Example, Finding, Level, counted, excerpt
from core.data.similar import Similar
from core.data.split import Tested
from core.data.turns import Row

CHANCE = 0.8  # a language counts as recognised from this probability on


class Observation(Finding, frozen=True):
    """A finding about the rows of a dataset. `rows` are their numbers, counted from 0 as everywhere
    in the API; `fixes` are codes of `core.data.fixes.FIXES`, the first one the usual choice."""

    fixes: list[str] = Field(default_factory=list)


class Check:
    """One kind of observation. Subclasses say in `odd` what is odd about a row, if anything."""

    def __init__(self, code: str, said: str, *fixes: str, level: Level = "warning") -> None:
        self.code, self.said, self.fixes, self.level = code, said, list(fixes), level
        self.count = 0
        self.rows: list[int] = []
        self.examples: list[Example] = []

    def see(self, number: int, row: Row) -> None:
        shown = self.odd(number, row)
        if shown is not None:
            self.note(number, shown)

    def odd(self, number: int, row: Row) -> str | None:
        """What to show of the row if it is odd, else None."""
        raise NotImplementedError

    def note(self, number: int, shown: str) -> None:
        self.count += 1
        if len(self.rows) < LISTED:
            self.rows.append(number)
        if len(self.examples) < EXAMPLES:
            self.examples.append(Example(row=number, text=excerpt(shown)))

    def found(self) -> Iterator[Observation]:
        if self.count:
            yield self._observation(f"{self.said}: {counted(self.count, 'row')}.")

    def _observation(self, text: str) -> Observation:
        return Observation(
            level=self.level, code=self.code, count=self.count, text=text,
            rows=self.rows, examples=self.examples, fixes=self.fixes,
        )  # fmt: skip


class Each(Check):
    """A check that needs nothing but the row."""

    def __init__(self, odd: Callable[[Row], str | None], *about: str, level: Level = "warning"):
        super().__init__(*about, level=level)
        self._odd = odd

    def odd(self, number: int, row: Row) -> str | None:
        return self._odd(row)


# ---- what is odd about a row by itself


def empty_question(row: Row) -> str | None:
    asked = [m["content"] for m in row.get("messages", ()) if m["role"] == "user"]
    if "messages" in row and (not asked or not all(text and text.strip() for text in asked)):
        return turns.answer(row)
    return None


def empty_answer(row: Row) -> str | None:
    if "text" in row:
        return None if row["text"].strip() else "(empty)"
    said = [m for m in row["messages"] if m["role"] == "assistant"]
    if "chosen" in row:
        empty = not row["chosen"].strip() or not row["rejected"].strip()
    else:
        empty = not said or not all(
            (m["content"] or "").strip() or m.get("tool_calls") for m in said
        )
    return turns.question(row) if empty else None


def echo(row: Row) -> str | None:
    asked, answer = turns.question(row), turns.answer(row)
    if len(answer) <= 3 or not len(asked) / 2 < len(answer) < len(asked) * 2:
        return None
    return answer if turns.folded(answer) == turns.folded(asked) else None


def wrong_order(row: Row) -> str | None:
    speakers = turns.roles(row)
    if speakers and (speakers[0] == "assistant" or speakers[-1] != "assistant"):
        return " → ".join(speakers[:8])
    return None


def same_speaker_twice(row: Row) -> str | None:
    speakers = turns.roles(row)
    twice = any(a == b != "tool" for a, b in pairwise(speakers))
    return " → ".join(speakers[:8]) if twice else None


def equal_pair(row: Row) -> str | None:
    same = "chosen" in row and row["chosen"].strip() == row["rejected"].strip()
    return row["chosen"] if same else None


def mojibake(row: Row) -> str | None:
    return next((text for text in turns.texts(row) if repaired(text) != text), None)


def repaired(text: str) -> str:
    """The text with the letters that a wrong encoding made of others, by the ftfy library; and the
    pound sign as an old Mac's encoding left it in many a file."""
    return text if text.isascii() else ftfy.fix_encoding(text).replace("å£", "£")


_MARKUP = re.compile(
    r"</?(?:p|div|span|br|a|b|i|u|em|strong|ul|ol|li|table|tr|td|th|h[1-6]|img|font|html|body)"
    r"(?:\s[^<>]*)?/?>|&(?:nbsp|amp|lt|gt|quot|apos|#\d{1,5}|#x[0-9a-f]{1,4});",
    re.IGNORECASE,
)


def html(row: Row) -> str | None:
    for text in turns.texts(row):
        if ("<" in text or "&" in text) and "```" not in text and _MARKUP.search(text):
            return text
    return None


def personal_data(kind: personal.Kind) -> Callable[[Row], str | None]:
    def find(row: Row) -> str | None:
        for text in turns.texts(row):
            if span := next(kind.find(text), None):
                return text[max(0, span[0] - 60) : span[1] + 60]
        return None

    return find


# ---- what is odd about a row among the others


class Duplicates(Check):
    def __init__(self) -> None:
        super().__init__("duplicate", "The same as an earlier row", "drop_duplicates")
        self._seen: set[int] = set()

    def odd(self, number: int, row: Row) -> str | None:
        key = turns.essence(row)
        if key in self._seen:
            return turns.question(row) or row.get("text", "")
        self._seen.add(key)
        return None


class NearDuplicates(Check):
    def __init__(self) -> None:
        super().__init__(
            "near_duplicate", "Nearly the same as an earlier row", "drop_near_duplicates",
            level="info",
        )  # fmt: skip
        self._seen: set[int] = set()
        self._similar = Similar()

    def odd(self, number: int, row: Row) -> str | None:
        key = turns.essence(row)
        if key in self._seen:
            return None  # an exact duplicate
        self._seen.add(key)
        text = "\n".join(turns.texts(row))
        return text if self._similar.earlier(number, text) is not None else None


class Conflicts(Check):
    """The same question with another answer: one of them can't be learned."""

    def __init__(self) -> None:
        super().__init__(
            "conflict", "The same question has another answer in an earlier row",
            "drop_conflicts", level="info",
        )  # fmt: skip
        self._answers: dict[int, int] = {}

    def odd(self, number: int, row: Row) -> str | None:
        asked = turns.folded(turns.question(row))
        if not asked or len(turns.roles(row)) != 2:
            return None
        answer = hash(turns.folded(turns.answer(row)))
        if self._answers.setdefault(hash(asked), answer) != answer:
            return f"{turns.question(row)} → {turns.answer(row)}"
        return None


class Leaks(Check):
    """A question that is also among the rows for tests: the test would measure memory."""

    def __init__(self, tests: Iterable[Row]) -> None:
        super().__init__("leakage", "The question is also among the held-out ones", "drop_leaked")
        self._tested = Tested(tests)

    def odd(self, number: int, row: Row) -> str | None:
        if not self._tested or row not in self._tested:
            return None
        return turns.question(row) or row.get("text", "")


class LongRows(Check):
    """Rows many times as long as is usual here, most of which will be cut."""

    LEAST, TIMES = 8000, 10  # characters; times the median

    def __init__(self) -> None:
        super().__init__("long_row", "Much longer than the others", level="info")
        self._lengths: list[int] = []
        self._long: list[tuple[int, int, str]] = []

    def see(self, number: int, row: Row) -> None:
        length = sum(map(len, turns.texts(row)))
        self._lengths.append(length)
        if length >= self.LEAST:
            self._long.append((number, length, next(turns.texts(row), "")))

    def found(self) -> Iterator[Observation]:
        median = sorted(self._lengths)[len(self._lengths) // 2] if self._lengths else 0
        for number, length, text in self._long:
            if length > self.TIMES * median:
                self.note(number, f"{length:,} characters: {text}")
        yield from super().found()


class Languages(Check):
    """Several languages, by the answers of a sample of rows."""

    SAMPLE, LEAST, SHARE = 400, 40, 0.03  # rows; characters; of the sample

    def __init__(self) -> None:
        super().__init__("mixed_languages", "", level="info")
        self._sample: list[tuple[int, str]] = []
        self._random = random.Random(0)
        self._seen = 0

    def see(self, number: int, row: Row) -> None:
        text = turns.answer(row) or row.get("text", "")
        if len(text) < self.LEAST:
            text = turns.question(row)
        if len(text) < self.LEAST:
            return
        self._seen += 1
        if len(self._sample) < self.SAMPLE:
            self._sample.append((number, text[:1000]))
        elif (at := self._random.randrange(self._seen)) < self.SAMPLE:
            self._sample[at] = (number, text[:1000])

    def found(self) -> Iterator[Observation]:
        by_language: dict[str, list[tuple[int, str]]] = defaultdict(list)
        for number, text in sorted(self._sample):
            language, chance = _language_of(text)
            if chance >= CHANCE:
                by_language[language].append((number, text))
        total = sum(map(len, by_language.values()))
        often = sorted(by_language, key=lambda name: -len(by_language[name]))
        often = [name for name in often if len(by_language[name]) >= max(2, self.SHARE * total)]
        if len(often) < 2:
            return
        for number, text in (row for name in often[1:] for row in by_language[name]):
            self.note(number, text)
        shares = ", ".join(f"{name} {len(by_language[name]) / total:.0%}" for name in often[:5])
        yield self._observation(
            f"Several languages, by a sample of {counted(total, 'row')}: {shares}."
        )


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def _language_of(text: str) -> tuple[str, float]:
    language, chance = _identifier().classify(text)
    return str(language), float(chance)


class Labels(Check):
    """Few different short answers, as a classification has: their spellings and their balance."""

    MOST, LONGEST, PER_LABEL = 200, 60, 4  # labels; characters; rows for each on average
    UNBALANCED, RARE = 10, 5  # times; rows

    def __init__(self) -> None:
        super().__init__("label_spelling", "", "unify_labels")
        self.labels: Counter[str] = Counter()
        self._first: dict[str, int] = {}
        self._other = False

    def see(self, number: int, row: Row) -> None:
        label = turns.answer(row)
        if self._other or "messages" not in row or len(label) > self.LONGEST:
            self._other = True
            return
        self.labels[label] += 1
        self._first.setdefault(label, number)
        self._other = len(self.labels) > self.MOST

    @property
    def are_labels(self) -> bool:
        kinds = len({turns.folded(label) for label in self.labels})
        return not self._other and 2 <= kinds <= self.labels.total() / self.PER_LABEL

    def found(self) -> Iterator[Observation]:
        if not self.are_labels:
            return
        unified = unified_labels(self.labels)
        for label, usual in unified.items():
            self.note(self._first[label], f"“{label}” beside “{usual}”")
        if unified:
            self.count = sum(self.labels[label] for label in unified)
            yield self._observation(
                f"A label is spelled in two ways: {counted(self.count, 'row')}."
            )
        sizes: Counter[str] = Counter()
        for label, count in self.labels.items():
            sizes[unified.get(label, label)] += count
        often, rare = sizes.most_common(1)[0], sizes.most_common()[-1]
        if often[1] >= self.UNBALANCED * rare[1] or rare[1] < self.RARE:
            yield Observation(
                level="warning", code="label_balance", count=len(sizes),
                text=f"Some labels are much rarer than others: “{often[0]}” has "
                f"{counted(often[1], 'row')}, “{rare[0]}” has {rare[1]:,}.",
                rows=[self._first.get(rare[0], 0)],
            )  # fmt: skip


def unified_labels(labels: Counter[str]) -> dict[str, str]:
    """Each unusual spelling of a label -> the most frequent one, without blanks around."""
    spellings: dict[str, list[str]] = defaultdict(list)
    for label in labels:
        spellings[turns.folded(label)].append(label)
    unified: dict[str, str] = {}
    for same in spellings.values():
        usual = max(same, key=lambda label: (labels[label], label.strip() == label)).strip()
        unified |= {label: usual for label in same if label != usual}
    return unified


def all_checks(tests: Iterable[Row]) -> list[Check]:
    """In the order in which they are told, among those of one level."""
    return [
        Each(empty_answer, "empty_answer", "The answer is empty", "drop_empty"),
        Each(empty_question, "empty_question", "The question is empty", "drop_empty"),
        Each(wrong_order, "wrong_order",
             "The conversation does not begin with a question and end with an answer",
             "trim_turns", "drop_disordered"),
        Each(same_speaker_twice, "same_speaker_twice", "The same side speaks twice in a row",
             "merge_turns"),
        Each(echo, "echo", "The answer repeats the question", "drop_echoes"),
        Each(equal_pair, "chosen_equals_rejected", "Both answers are the same",
             "drop_equal_pairs"),
        Leaks(tests),
        *(
            Each(personal_data(kind), kind.code, kind.said, f"mask_{kind.code}",
                 f"drop_{kind.code}")
            for kind in personal.KINDS
        ),
        Duplicates(),
        Labels(),
        Each(mojibake, "mojibake", "Letters look damaged by a wrong encoding (like “Ã¤”)",
             "repair_encoding"),
        Each(html, "html", "Remains of a web page (like “<br>” or “&amp;”)", "strip_html"),
        NearDuplicates(),
        Conflicts(),
        Languages(),
        LongRows(),
    ]  # fmt: skip
