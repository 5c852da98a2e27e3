"""A family of runs that serve one purpose: its numbered versions, and what its log comes to.

    library/NAME/log.jsonl   everything that was done to the family NAME, one event a line

What a family is follows from its log, which is only ever added to. So what is current and the line
that says when, who, from what and why are the same bytes: whoever is killed meanwhile, either both
are there or neither, and a torn last line never happened. Numbers count up and are never used
again.

A version is a run, not a copy of one. It is known by what the run had come to (its result.json), so
that nothing stale is told: the version of a deleted run stays listed and can't be current, one in
the trash comes back with its run, and one whose run has learned on since says so.
"""

import hashlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock

from core import gate, trash
from core.errors import NotFound, UserError
from core.files import encode, read_jsonl
from core.gate import Gate
from core.runs import Run
from core.store import Store

State = Literal["there", "changed", "trashed", "deleted"]
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
CHANGES = ("current", "back", "undo")
"""What changes which version is current."""


@dataclass(frozen=True)
class Version:
    store: Store = field(repr=False)
    family: str
    number: int
    run_id: str
    of: str
    """What the run had come to when it was kept, as `came_to`."""
    run_name: str
    at: float
    """When it was kept, in seconds since the epoch."""
    notes: str = ""
    tags: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        return f"{self.family}@{self.number}"

    @property
    def run(self) -> Run | None:
        """None where it was deleted, or has nothing that answers any more."""
        with suppress(NotFound):
            run = self.store.run(self.run_id)
            return run if run.adapter is not None else None
        return None

    @property
    def was_trained_here(self) -> bool:
        """False also where its run is gone."""
        return (run := self.run) is not None and not run.origin

    @property
    def state(self) -> State:
        if (run := self.run) is not None:
            return "there" if came_to(run.path) == self.of else "changed"
        return "trashed" if self.trashed else "deleted"

    @property
    def trashed(self) -> trash.Trashed | None:
        """Its run in the trash."""
        for trashed in self.store.trash():
            if trashed.kind == "run" and trashed.was == self.run_id:
                return trashed
        return None


@dataclass(frozen=True)
class Rollout:
    """A share of the requests goes to another version than the current one."""

    number: int
    share: float
    """Percent."""
    since: float
    """When this version's rollout began, whatever its share was then."""


@dataclass(frozen=True)
class Family:
    store: Store = field(repr=False)
    name: str
    log: tuple[dict[str, Any], ...] = field(repr=False)
    """at, by, do; and version, from, why, over (the checks that were overridden), …"""
    versions: tuple[Version, ...] = ()
    """In the order of their numbers."""
    made_current: tuple[int, ...] = ()
    """Numbers of those that were made current and not left by a roll back; the last is."""
    left: int | None = None
    """The number that the last roll back left, until something else becomes current."""
    rollout: Rollout | None = None
    gate: Gate = field(default_factory=Gate)

    @property
    def path(self) -> Path:
        return folder_of(self.store, self.name)

    @cached_property
    def current(self) -> Version | None:
        return self.version(self.made_current[-1]) if self.made_current else None

    @cached_property
    def previous(self) -> Version | None:
        """Where a roll back leads to: the last one before, as far as it is still there."""
        for number in reversed(self.made_current[:-1]):
            version = self.version(number)
            if number != self.made_current[-1] and version.state in ("there", "changed"):
                return version
        return None

    @property
    def since(self) -> float | None:
        """Since when the current one is."""
        changes = (event["at"] for event in reversed(self.log) if event["do"] in CHANGES)
        return next(changes, None)

    def version(self, number: int | str) -> Version:
        """Raises NotFound."""
        for version in self.versions:
            if str(version.number) == str(number):
                return version
        raise NotFound(f"{self.name} has no version {str(number)[:20]!r}.", field="version")

    def before(self, version: Version) -> Version | None:
        """The version that it is told against: the last one before it whose run is there. One that
        was not trained here is told against none, nor another against it: what it learned from is
        not known."""
        if not version.was_trained_here:
            return None
        earlier = (other for other in reversed(self.versions) if other.number < version.number)
        return next((other for other in earlier if other.was_trained_here), None)

    @property
    def bases(self) -> list[str]:
        """The base models of the versions that are there; more than one can't be blended."""
        found = (run.config.base_model for version in self.versions if (run := version.run))
        return list(dict.fromkeys(found))


# ---- the log


def is_family(store: Store, name: str) -> bool:
    return bool(NAME.fullmatch(name)) and (folder_of(store, name) / "log.jsonl").is_file()


def read(store: Store, name: str) -> Family:
    """Raises NotFound."""
    name = str(name)
    if not is_family(store, name):
        raise NotFound(f"There is no family {name[:100]!r}.", field="family")
    file = folder_of(store, name) / "log.jsonl"
    try:
        stat = file.stat()
    except FileNotFoundError:  # removed a moment ago
        raise NotFound(f"There is no family {name[:100]!r}.", field="family") from None
    return told(store, name, _events(file, stat.st_mtime_ns, stat.st_size))


def told(store: Store, name: str, events: tuple[dict[str, Any], ...]) -> Family:
    """What the events come to. One that a reader does not know changes nothing."""
    versions: dict[int, Version] = {}
    current: list[int] = []
    left: int | None = None
    rollout: Rollout | None = None
    wanted = Gate()
    log = []
    for event in events:
        match event:
            case {"do": "add", "version": int(number), "run": str(run), "of": str(of), "at": at}:
                versions[number] = Version(
                    store, name, number, run, of, str(event.get("name", run)), at,
                    str(event.get("notes", "")), tuple(event.get("tags", ())),
                )  # fmt: skip
            case {"do": "note", "version": int(number)} if number in versions:
                said = versions[number]
                versions[number] = replace(
                    said,
                    notes=event.get("notes", said.notes),
                    tags=tuple(event.get("tags", said.tags)),
                )
            case {"do": "current", "version": int(number)} if number in versions:
                current.append(number)
                left = None
                if rollout and rollout.number == number:
                    rollout = None
            case {"do": "back", "version": int(number)} if number in current[:-1]:
                left = current[-1]
                del current[len(current) - current[::-1].index(number, 1) :]
                rollout = None
            case {"do": "undo", "version": int(number)} if number == left:
                current.append(number)
                left = None
            case {"do": "gate", "gate": dict(values)}:
                with suppress(UserError):  # of another version of Graft: the one before it holds
                    wanted = gate.parse(values)
            case {"do": "rollout", "version": int(number), "share": float() | int() as share,
                  "at": at} if number in versions:  # fmt: skip
                same = rollout is not None and rollout.number == number
                rollout = Rollout(number, share, rollout.since if rollout and same else at)
            case {"do": "end"}:
                rollout = None
            case _:
                continue
        log.append(event)
    ordered = tuple(versions[number] for number in sorted(versions))
    return Family(store, name, tuple(log), ordered, tuple(current), left, rollout, wanted)


@lru_cache(maxsize=256)
def _events(file: Path, changed: int, size: int) -> tuple[dict[str, Any], ...]:
    """Pages and programs ask often; `changed` (ns) and `size` tell when there is something new."""
    rows = read_jsonl(file, forgiving=True)
    return tuple(row for row in rows if isinstance(row, dict) and {"at", "do"} <= row.keys())


def event(store: Store, do: str, **told: Any) -> dict[str, Any]:
    return {"at": time.time(), "by": store.owner, "do": do, **told}


def append(folder: Path, *events: dict[str, Any]) -> None:
    """At the end of the log, and on the disk when this returns."""
    folder.mkdir(parents=True, exist_ok=True)
    add_lines(folder / "log.jsonl", *events)


def add_lines(path: Path, *events: dict[str, Any]) -> None:
    """On lines of their own even where the last one is torn."""
    with path.open("ab+") as file:
        torn = False
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            torn = file.read(1) != b"\n"
        file.write(b"\n" * torn + b"".join(map(encode, events)))
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def alone(store: Store, name: str, new: bool = False) -> Iterator[None]:
    """One change of a family at a time, over all processes. Raises NotFound where there is none,
    unless it may be `new`."""
    if not new:
        read(store, name)
    place = store.path / "library"
    place.mkdir(parents=True, exist_ok=True)
    with FileLock(place / f".{name}.lock", timeout=30):
        yield


def folder_of(store: Store, name: str) -> Path:
    return store.path / "library" / name


def came_to(folder: Path) -> str:
    """What a run came to, as its last word tells it: another once it has learned on. It survives a
    copy of the data directory, and a report card does not change it. Empty while it learns."""
    try:
        return hashlib.sha256((folder / "result.json").read_bytes()).hexdigest()[:16]
    except OSError:
        return ""
