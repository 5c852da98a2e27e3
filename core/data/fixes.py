"""One-click fixes: each goes through the rows once and gives every row's new form, or None.

Nothing is changed in place: `core.datasets` makes a new version of the dataset from what a fix
gives. A fix that needs to know all rows first goes through them twice.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from itertools import groupby
from typing import Any

from core.data import checks, personal, turns
from core.data.checks import Check
from core.data.split import Tested
from core.data.turns import Row

Fixed = Iterator[tuple[Row, Row | None]]
"""Each row, and what becomes of it: the same object, another one, or None where it goes."""


@dataclass(frozen=True)
class Fix:
    title: str
    """The button."""
    text: str
    """What it will do."""
    run: Callable[[Iterable[Row], Iterable[Row]], Fixed]
    """(rows, held-out rows) -> what becomes of each row. `rows` can be iterated again."""


def preview(fix: Fix, rows: Iterable[Row], tests: Iterable[Row] = (), most: int = 3) -> list[Any]:
    """The first rows that it changes: [{row, before, after}]; `after` is None where one goes."""
    found: list[dict[str, Any]] = []
    for number, (before, after) in enumerate(fix.run(rows, tests)):
        if after is None or after != before:
            found.append({"row": number, "before": before, "after": after})
            if len(found) == most:
                break
    return found


# ---- rows that go


def _drop(odd: Callable[[Row], str | None]) -> Callable[[Iterable[Row], Iterable[Row]], Fixed]:
    return lambda rows, tests: ((row, None if odd(row) is not None else row) for row in rows)


def _drop_by(
    check: Callable[[Iterable[Row]], Check],
) -> Callable[[Iterable[Row], Iterable[Row]], Fixed]:
    """Drop what a check that compares rows finds odd; it sees the rows in the same order again."""

    def run(rows: Iterable[Row], tests: Iterable[Row]) -> Fixed:
        judge = check(tests)
        for number, row in enumerate(rows):
            yield row, None if judge.odd(number, row) is not None else row

    return run


def _is_empty(row: Row) -> str | None:
    asked, answered = checks.empty_question(row), checks.empty_answer(row)
    return asked if asked is not None else answered


def _drop_leaked(rows: Iterable[Row], tests: Iterable[Row]) -> Fixed:
    tested = Tested(tests)
    return ((row, None if row in tested else row) for row in rows)


# ---- rows that change


def _change(change: Callable[[Row], Row | None]) -> Callable[[Iterable[Row], Iterable[Row]], Fixed]:
    return lambda rows, tests: ((row, change(row)) for row in rows)


def _trim(row: Row) -> Row | None:
    """From the first question to the last answer; nothing where there is no such pair."""
    if "messages" not in row or checks.wrong_order(row) is None:
        return row
    messages = list(row["messages"])
    begin = next((i for i, m in enumerate(messages) if m["role"] == "user"), len(messages))
    system = [message for message in messages[:begin] if message["role"] == "system"]
    talk = messages[begin:]
    while talk and "chosen" not in row and talk[-1]["role"] != "assistant":
        talk.pop()
    return row | {"messages": system + talk} if talk else None


def _merge(row: Row) -> Row:
    """Turns of one side that follow one another become one, a blank line between them."""
    if "messages" not in row or checks.same_speaker_twice(row) is None:
        return row
    merged = []
    for role, group in groupby(row["messages"], key=lambda message: message["role"]):
        said = list(group)
        if len(said) == 1 or role == "tool" or any("tool_calls" in message for message in said):
            merged += said
        else:
            texts = [message["content"] for message in said if message["content"]]
            merged.append(said[0] | {"content": "\n\n".join(texts)})
    return row | {"messages": merged}


class _Text(HTMLParser):
    """The text of a piece of HTML: blocks on lines of their own, list items with a dash."""

    LINES = frozenset({"p", "div", "br", "tr", "ul", "ol", "table", "h1", "h2", "h3", "h4"})
    SILENT = frozenset({"script", "style"})

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._silent = 0

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self._silent += tag in self.SILENT
        if tag == "li":
            self.parts.append("\n- ")
        elif tag in self.LINES:
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self._silent -= tag in self.SILENT and self._silent > 0
        if tag in self.LINES and tag != "br":
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.parts.append(data)


def strip_html(text: str) -> str:
    """The text without tags and with entities resolved. Text without any stays as it is."""
    if checks.html({"text": text}) is None:
        return text
    parser = _Text()
    parser.feed(text)
    parser.close()
    lines = [line.strip() for line in "".join(parser.parts).replace("\xa0", " ").split("\n")]
    kept = [line for at, line in enumerate(lines) if line or (at and lines[at - 1])]
    return "\n".join(kept).strip()


def _unify_labels(rows: Iterable[Row], tests: Iterable[Row]) -> Fixed:
    usual = checks.unified_labels(Counter(turns.answer(row) for row in rows))
    for row in rows:
        label = turns.answer(row)
        if label not in usual:
            yield row, row
            continue
        messages = list(row["messages"])
        last = max(i for i, message in enumerate(messages) if message["role"] == "assistant")
        messages[last] = messages[last] | {"content": usual[label]}
        yield row, row | {"messages": messages}


def _of_personal_data(kind: personal.Kind) -> dict[str, Fix]:
    return {
        f"mask_{kind.code}": Fix(
            f"Mask the {kind.title}",
            f"Writes {kind.mask} in their place.",
            _change(lambda row: turns.with_texts(row, kind.masked)),
        ),
        f"drop_{kind.code}": Fix(
            "Remove these rows",
            f"Leaves out every row with {kind.title}.",
            _drop(checks.personal_data(kind)),
        ),
    }


FIXES: dict[str, Fix] = {
    "drop_duplicates": Fix(
        "Remove the copies", "Keeps the first of each.", _drop_by(lambda _: checks.Duplicates())
    ),
    "drop_near_duplicates": Fix(
        "Remove the near copies",
        "Keeps the first of rows that share most of their words.",
        _drop_by(lambda _: checks.NearDuplicates()),
    ),
    "drop_conflicts": Fix(
        "Keep the first answer",
        "Leaves out later rows with the same question and another answer.",
        _drop_by(lambda _: checks.Conflicts()),
    ),
    "drop_empty": Fix(
        "Remove the empty rows",
        "Leaves out rows without a question or without an answer.",
        _drop(_is_empty),
    ),
    "drop_echoes": Fix(
        "Remove these rows", "Leaves out rows whose answer is the question.", _drop(checks.echo)
    ),
    "drop_equal_pairs": Fix(
        "Remove these rows",
        "Leaves out rows whose better and worse answer are the same.",
        _drop(checks.equal_pair),
    ),
    "drop_leaked": Fix(
        "Remove them from the examples",
        "The held-out rows stay; the same questions are no longer learned.",
        _drop_leaked,
    ),
    "trim_turns": Fix(
        "Trim the conversations",
        "Keeps what lies between the first question and the last answer.",
        _change(_trim),
    ),
    "drop_disordered": Fix(
        "Remove these rows",
        "Leaves out conversations that don't go from a question to an answer.",
        _drop(checks.wrong_order),
    ),
    "merge_turns": Fix(
        "Join the turns", "Makes one turn of those that follow one another.", _change(_merge)
    ),
    "repair_encoding": Fix(
        "Repair the letters",
        "Turns “Ã¤” back into “ä”, and the like.",
        _change(lambda row: turns.with_texts(row, checks.repaired)),
    ),
    "strip_html": Fix(
        "Remove the markup",
        "Keeps the text and takes tags like “<br>” out.",
        _change(lambda row: turns.with_texts(row, strip_html)),
    ),
    "unify_labels": Fix(
        "Use one spelling", "Writes each label as it is written most often.", _unify_labels
    ),
    **{code: fix for kind in personal.KINDS for code, fix in _of_personal_data(kind).items()},
}
