"""How a family's versions do over time: their answers in figures, and the thumbs that they got.

    library/keeping.json        what this owner wants to be kept: nothing, unless they say so
    library/NAME/health.jsonl   answers and thumbs, one event a line, only ever added to:
        {"answer": id, "version", "at", "by", "words", "declined", "seconds", "tokens"}
        {"rate": id, "thumb": "up", "down" or "", "at"}

What was asked and answered is kept only where the owner wants the texts too ("question", "text").
Of an answer that was rated twice the last thumb counts. Warnings hold the newest answers of the
current version beside those of its report card; each needs a difference that is worth a look and
that chance makes rarely.
"""

import logging
import secrets
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from statistics import median
from typing import Any, Literal

from core.chance import exact_shares_test, rank_test
from core.errors import Damaged, NotFound, UserError
from core.family import Family, Version, add_lines, alone, is_family, read
from core.files import read_facts, read_jsonl, write_json, write_jsonl
from core.library import find_version, kept_as
from core.refusals import declines
from core.report import Report
from core.scores import words
from core.store import Store
from core.votes import LEVEL, wilson

log = logging.getLogger(__name__)

Thumb = Literal["up", "down", ""]
THUMBS: tuple[Thumb, ...] = ("up", "down", "")
NEWEST = 20_000_000  # bytes of the file that are read, some 100,000 answers
WEEK = 7 * 24 * 3600  # seconds
WEEKS = 12  # that are shown
LATELY = 4 * WEEK
MOST = 1000  # of the newest answers that are held beside the report card
FEWEST = 20  # answers, before anything is said of drift
FEWEST_IN_CARD = 10
FEWEST_THUMBS = 10  # of each of two versions
RARELY = LEVEL / 2  # there are two warnings
DECLINES_MORE = 0.05  # share of answers, by which it must differ
LENGTHS_DIFFER = 1.25  # times the median


@dataclass(frozen=True)
class Keeping:
    """What the owner wants to be kept."""

    answers: bool = False
    texts: bool = False


@dataclass(frozen=True)
class Answer:
    id: str
    version: int
    at: float
    words: int
    declined: bool
    by: str = "chat"
    seconds: float | None = None
    tokens: int | None = None
    question: str = ""
    text: str = ""
    thumb: Thumb = ""

    @property
    def speed(self) -> float | None:
        """Tokens per second."""
        return self.tokens / self.seconds if self.tokens and self.seconds else None


@dataclass(frozen=True)
class Summary:
    """Of some answers; None where nothing tells it."""

    answers: int = 0
    up: int = 0
    down: int = 0
    declined: int = 0
    words: float | None = None
    """The median."""
    speed: float | None = None
    """The median, in tokens per second."""

    @property
    def rated(self) -> int:
        return self.up + self.down

    @property
    def liked(self) -> tuple[float, float, float] | None:
        """The share of thumbs up, and where it likely lies (Wilson, 95 %)."""
        return (self.up / self.rated, *wilson(self.up, self.rated)) if self.rated else None


@dataclass(frozen=True)
class Warn:
    kind: Literal["declined", "words"]
    before: float
    """In the report card: the share, or the median."""
    now: float
    answers: int
    chance: float


@dataclass(frozen=True)
class Beside:
    """Two versions' thumbs."""

    first: Summary
    second: Summary
    chance: float
    """How often equals come out so uneven."""

    @property
    def enough(self) -> bool:
        return min(self.first.rated, self.second.rated) >= FEWEST_THUMBS

    @property
    def better(self) -> Literal["first", "second"] | None:
        """None as long as it may be chance."""
        if not self.enough or self.chance >= LEVEL:
            return None
        first, second = (side.up / side.rated for side in (self.first, self.second))
        return "first" if first > second else "second"


# ---- what is kept


def keeping(store: Store) -> Keeping:
    with suppress(Damaged):  # then nothing is kept
        told = read_facts(store.path / "library" / "keeping.json") or {}
        return Keeping(told.get("answers") is True, told.get("texts") is True)
    return Keeping()


def keep(store: Store, answers: bool, texts: bool = False) -> Keeping:
    """What is kept from now on. Without answers there are no texts."""
    wanted = Keeping(answers, answers and texts)
    write_json(store.path / "library" / "keeping.json", asdict(wanted))
    return wanted


def forget_texts(store: Store, name: str) -> int:
    """Remove the questions and answers that were kept, and leave the figures; how many these
    were."""
    with alone(store, name):
        file = read(store, name).path / "health.jsonl"
        rows = list(read_jsonl(file, forgiving=True))
        kept = [{key: row[key] for key in row.keys() - {"question", "text"}} for row in rows]
        if kept != rows:
            write_jsonl(file, kept, parents=False)
    return sum("text" in row for row in rows)


# ---- answers and thumbs


def answered(
    store: Store,
    model: str,
    text: str,
    question: str = "",
    seconds: float | None = None,
    tokens: int | None = None,
    by: str = "chat",
    thumb: Thumb = "",
) -> str:
    """Keep an answer of this model, a family's name, NAME@3 or a run's id, with each version that
    it is. Returns the answer's id, by which it can be rated; empty where nothing is kept: the owner
    does not want it, the model is no version, or the disk is full, which costs nobody the answer
    itself."""
    wanted = keeping(store)
    if not wanted.answers or not (kept := versions_of(store, model)):
        return ""
    id, at = secrets.token_hex(6), time.time()
    for version in kept:
        told: dict[str, Any] = {
            "answer": id,
            "version": version.number,
            "at": at,
            "by": by,
            "words": len(words(text)),
            "declined": declines(text),
            "seconds": seconds,
            "tokens": tokens,
        }
        if wanted.texts:
            told |= {"question": question, "text": text}
        rated = [_thumb(id, thumb, at)] if thumb else []
        try:
            with suppress(NotFound), alone(store, version.family):  # removed a moment ago
                add_lines(_file(store, version.family), told, *rated)
        except OSError:
            log.exception("An answer of %s could not be kept", version.id)
            return ""
    return id


def rate(store: Store, answer: str, thumb: str) -> None:
    """A thumb for an answer, in place of what it had. Raises NotFound where it was not kept."""
    if thumb not in THUMBS:
        raise UserError(
            f"thumb: {str(thumb)[:40]!r} is none.", "It is up, down or empty.", field="thumb"
        )
    found = False
    for file in sorted((store.path / "library").glob("*/health.jsonl")):
        if is_family(store, name := file.parent.name):
            if not any(known.id == answer for known in answers(read(store, name))):
                continue
            with alone(store, name):
                add_lines(file, _thumb(answer, thumb, time.time()))
            found = True
    if not found:
        raise NotFound(
            f"There is no answer {str(answer)[:40]!r}.",
            "Only answers that were kept can be rated.",
            field="answer",
        )


def versions_of(store: Store, model: str) -> list[Version]:
    """The versions that this model is now: one, where it is named as a version; else those that
    the run is kept as."""
    if is_family(store, str(model).partition("@")[0]):
        with suppress(NotFound):
            return [find_version(store, model)]
        return []
    return [version for version in kept_as(store, model) if version.state == "there"]


def answers(family: Family) -> tuple[Answer, ...]:
    """In the order in which they were given."""
    file = _file(family.store, family.name)
    try:
        stat = file.stat()
    except FileNotFoundError:
        return ()
    return _answers(file, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=64)
def _answers(file: Path, changed: int, size: int) -> tuple[Answer, ...]:
    """`changed` (ns) and `size` tell when there is something new."""
    found: dict[str, dict[str, Any]] = {}
    for event in read_jsonl(file, NEWEST, forgiving=True):
        match event:
            case {"answer": str(id), "version": int(), "at": float() | int(), "words": int(),
                  "declined": bool()}:  # fmt: skip
                known = {key: event[key] for key in _FIELDS & event.keys()}
                found[id] = {**known, "id": id}
            case {"rate": str(id), "thumb": "up" | "down" | "" as thumb} if id in found:
                found[id]["thumb"] = thumb
    return tuple(Answer(**told) for told in found.values())


_FIELDS = {name for name in Answer.__dataclass_fields__ if name not in ("id", "thumb")}


def _thumb(answer: str, thumb: str, at: float) -> dict[str, Any]:
    return {"rate": answer, "thumb": thumb, "at": at}


def _file(store: Store, name: str) -> Path:
    return store.path / "library" / name / "health.jsonl"


# ---- what they come to


def summary(found: Iterable[Answer]) -> Summary:
    found = list(found)
    speeds = [answer.speed for answer in found if answer.speed]
    return Summary(
        answers=len(found),
        up=sum(answer.thumb == "up" for answer in found),
        down=sum(answer.thumb == "down" for answer in found),
        declined=sum(answer.declined for answer in found),
        words=median(answer.words for answer in found) if found else None,
        speed=median(speeds) if speeds else None,
    )


@dataclass(frozen=True)
class Week:
    begins: float
    """Monday at midnight, in seconds since the epoch."""
    versions: tuple[int, ...]
    """Those that answered."""
    summary: Summary = field(default_factory=Summary)


def by_week(found: Sequence[Answer]) -> list[Week]:
    """The last weeks in which something was answered, the newest first."""
    weeks: dict[float, list[Answer]] = {}
    for answer in found:
        weeks.setdefault(_monday(answer.at), []).append(answer)
    return [
        Week(begins, tuple(sorted({answer.version for answer in given})), summary(given))
        for begins, given in sorted(weeks.items(), reverse=True)[:WEEKS]
    ]


def lately(family: Family, now: float | None = None) -> list[Answer]:
    """The newest answers of the current version."""
    if family.current is None:
        return []
    number, since = family.current.number, (time.time() if now is None else now) - LATELY
    found = answers(family)
    return [answer for answer in found if answer.version == number and answer.at >= since][-MOST:]


def drift(family: Family, now: float | None = None) -> list[Warn]:
    """How the newest answers of the current version differ from those of its report card, where
    that is more than chance and more than a little."""
    mine = lately(family, now)
    if len(mine) < FEWEST or family.current is None or (run := family.current.run) is None:
        return []
    report = Report(run)
    known = [row["tuned"] for row in report.answers] if report.state == "made" else []
    if len(known) < FEWEST_IN_CARD:
        return []
    warnings = []
    was, is_now = sum(map(declines, known)), sum(answer.declined for answer in mine)
    before, after = was / len(known), is_now / len(mine)
    chance = exact_shares_test(is_now, len(mine), was, len(known))
    if chance < RARELY and abs(after - before) >= DECLINES_MORE:
        warnings.append(Warn("declined", before, after, len(mine), chance))
    lengths = [len(words(text)) for text in known]
    given = [answer.words for answer in mine]
    before, after = median(lengths), median(given)
    chance = rank_test(given, lengths)
    if chance < RARELY and max(before, after) >= LENGTHS_DIFFER * max(1.0, min(before, after)):
        warnings.append(Warn("words", before, after, len(mine), chance))
    return warnings


def beside(found: Sequence[Answer], first: int, second: int, since: float = 0.0) -> Beside:
    """The thumbs of two versions since a moment: what was given while both were asked."""
    one, other = (
        summary(a for a in found if a.version == number and a.at >= since)
        for number in (first, second)
    )
    return Beside(one, other, exact_shares_test(one.up, one.rated, other.up, other.rated))


def _monday(moment: float) -> float:
    then = time.localtime(moment)
    midnight = (then.tm_year, then.tm_mon, then.tm_mday - then.tm_wday, 0, 0, 0, 0, 0, -1)
    return time.mktime(midnight)
