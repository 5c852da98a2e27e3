"""What an import has to say: findings about rows, and the ways in which it stops.

A finding counts one kind of observation, names the first lines it was made in, shows some of those
that were left out, and reads as a sentence. `error`: rows or parts of the file were left out.
`warning`: kept, but worth a look. `info`: what was done. An import that can't finish raises one of
these `DataProblem`s, whose `details` are plain JSON so that a page can ask the question that is
open.
"""

import functools
import json
from typing import Any, Literal

from pydantic import BaseModel, Field

from core.data.words import clean
from core.errors import DataProblem

Level = Literal["info", "warning", "error"]

LISTED = 100  # lines kept for each finding; its count is exact all the same
NAMED = 5  # lines named in its sentence
EXAMPLES, SHOWN = 3, 300  # shown of each finding; characters of each
KINDS = 40  # different sentences under one code; further ones are counted together


def counted(number: int, thing: str) -> str:
    """`1 row`, `2 rows`, `1,200 rows`."""
    return f"{number:,} {thing}{'s' * (number != 1)}"


def excerpt(text: str) -> str:
    text = text.strip()
    return text if len(text) <= SHOWN else text[:SHOWN].rstrip() + " …"


class Example(BaseModel, frozen=True):
    row: int
    """Its number, counted as in the finding's `rows`."""
    text: str


class Finding(BaseModel, frozen=True):
    """`text` is true of `count` rows, or of the file. `rows`: the first 100 line numbers.
    `examples`: what stands in the first ones, where they were left out."""

    level: Level
    code: str
    count: int
    text: str
    rows: list[int]
    examples: list[Example] = Field(default_factory=list)


class Notes:
    """Collects findings while rows stream past.

    `unit` is what the numbers count, line or row; `where` the file that they are of, if one of
    several.
    """

    def __init__(self, unit: str = "line", where: str = "") -> None:
        self.unit, self.where = unit, f" of {where}" * bool(where)
        self.bad = 0
        self._about_file: list[Finding] = []
        self._about_rows: dict[tuple[Level, str, str, bool], tuple[list[int], list[int]]] = {}
        self._last: dict[tuple[Level, str, str, bool], int] = {}
        self._examples: dict[tuple[Level, str, str, bool], list[Example]] = {}

    def left_out(self, line: int, code: str, reason: str, said: str | bytes | dict = "") -> None:
        """The row at `line` can't be used. `reason` is a clause that starts a sentence; `said` is
        what stands there, as text or as fields."""
        self.bad += 1
        key = self._count("error", code, reason, line, out=True)
        shown = self._examples.setdefault(key, [])
        if said and len(shown) < EXAMPLES:
            shown.append(Example(row=line, text=_readable(said)))

    def row(self, line: int, code: str, text: str, level: Level = "warning") -> None:
        """The row at `line` is kept, and `text` (a clause that starts a sentence) is true of it."""
        self._count(level, code, text, line, out=False)

    def file(self, code: str, text: str, level: Level = "info") -> None:
        """`text`, a whole sentence, is true of the file."""
        self._about_file.append(Finding(level=level, code=code, count=1, text=text, rows=[]))

    def rows(self, code: str, text: str, lines: list[int], level: Level = "warning") -> None:
        for line in lines:
            self.row(line, code, text, level)

    def _count(
        self, level: Level, code: str, text: str, line: int, out: bool
    ) -> tuple[Level, str, str, bool]:
        key = (level, code, text, out)
        if key not in self._about_rows:
            if sum(known[1] == code for known in self._about_rows) >= KINDS:
                key = (level, code, "Other problems of this kind", out)
            self._about_rows.setdefault(key, ([0], []))
        total, lines = self._about_rows[key]
        if self._last.get(key) == line:  # two fields of one row are one observation
            return key
        self._last[key] = line
        total[0] += 1
        if len(lines) < LISTED:
            lines.append(line)
        return key

    @property
    def findings(self) -> list[Finding]:
        """What was noted so far: about the file first, then about rows, the gravest first."""
        about_rows = [
            Finding(
                level=level,
                code=code,
                count=total[0],
                text=sentence,
                rows=lines,
                examples=self._examples.get((level, code, text, out), []),
            )
            for (level, code, text, out), (total, lines) in self._about_rows.items()
            for sentence in [self._sentence(text, total[0], lines, out)]
        ]
        gravity = {"error": 0, "warning": 1, "info": 2}
        return self._about_file + sorted(about_rows, key=lambda finding: gravity[finding.level])

    def _sentence(self, text: str, count: int, lines: list[int], out: bool) -> str:
        rows = f"{counted(count, 'row')}{' left out' * out}"
        where = ", ".join(map(str, lines[:NAMED]))
        more = f" and {count - NAMED:,} more" * (count > NAMED)
        return f"{text}: {rows} ({self.unit}{'s' * (count != 1)} {where}{more}{self.where})."


def _readable(said: str | bytes | dict) -> str:
    if isinstance(said, dict):
        values = (json.dumps(value, ensure_ascii=False, default=str) for value in said.values())
        said = ", ".join(f"{name}: {value}" for name, value in zip(said, values, strict=True))
    elif isinstance(said, bytes):
        said = said.decode(errors="replace")
    return excerpt(clean(said[: 2 * SHOWN]))


class _Stopped(DataProblem):
    """An import that needs an answer or has to be refused. `details` is plain JSON."""

    outcome = ""

    def __init__(self, what: str, hint: str = "", **details: Any) -> None:
        super().__init__(what, hint)
        self.details = details

    def __reduce__(self):
        return functools.partial(type(self), **self.details), (str(self), self.hint)


class NeedsMapping(_Stopped):
    """A good table whose columns don't say what is question and what is answer.

    `details`: `columns` (names), `preview` (the first rows, cells in the order of the columns),
    `rows` (data rows), `header` (whether the first row was taken as names; the names `column 1`,
    `column 2`, … as keys of a mapping declare that there is none), `sheets` (all of a workbook),
    `findings`, `encoding`, and `packed_encoding` of the text in an archive.
    """

    outcome = "map"

    @property
    def columns(self) -> list[str]:
        return self.details["columns"]

    @property
    def preview(self) -> list[list[str]]:
        return self.details["preview"]


class NeedsChoice(_Stopped):
    """Several datasets in one file. `details` has `members` (of an archive), `sheets`, `lists` (of
    a JSON object), or the `speakers` of a conversation."""

    outcome = "choose"


class NeedsConsent(_Stopped):
    """More rows can't be used than the caller said is fine. Nothing was kept.

    `details`: `rows` that are good, `bad` ones, `findings` with the reasons and lines.
    """

    outcome = "confirm"


class Cancelled(_Stopped):
    """The person called the import off."""

    outcome = "cancelled"


class Refused(_Stopped):
    """No examples can come from this file. `details`: `shape` and `rows`, what was found."""

    outcome = "refuse"
