"""The library: what can be done with families of runs (core.family), and how a model is found by a
family's name, wherever a run can be named:

    support-bot              the version that is current when it is asked
    support-bot@3            this version

Each change is one line of the family's log, with when, who, from what and why; it takes effect at
once, in every process, for whoever asks next.
"""

import hashlib
import re
import unicodedata
from contextlib import suppress
from typing import Any

from core import gate, trash
from core.errors import NotFound, UserError
from core.family import (
    Family,
    Version,
    alone,
    append,
    came_to,
    event,
    folder_of,
    is_family,
    read,
)
from core.files import RESERVED
from core.report import Report
from core.runs import Run
from core.store import Store

LONGEST = 60  # characters of a name
MOST_TEXT = 2000  # characters of a note or a reason
MOST_TAGS, LONGEST_TAG = 12, 40
TAKEN = ("base", "starter")  # what models go by already
A_RUN = re.compile(r"\d{8}-\d{6}(-.*)?")  # as the ids of runs begin
EVERYBODY = 100  # percent


# ---- finding


def families(store: Store) -> list[Family]:
    """By name."""
    folders = sorted(path.parent for path in (store.path / "library").glob("*/log.jsonl"))
    found = []
    for folder in folders:
        with suppress(NotFound):  # removed a moment ago
            found.append(read(store, folder.name))
    return [family for family in found if family.versions]


def find(store: Store, id: str) -> Run:
    """The run that “support-bot” (its current version) or “support-bot@3” stands for now. Raises
    NotFound where there is none that could answer."""
    return _answering(find_version(store, id))


def find_version(store: Store, id: str) -> Version:
    """As `find`; its run may be gone."""
    name, numbered, number = str(id).partition("@")
    family = read(store, name)
    if numbered:
        return family.version(number)
    if family.current is None:
        raise NotFound(f"{name} has no current version.", "Make one current.", field="family")
    return family.current


def pick(store: Store, name: str, key: str) -> Run:
    """The run that answers who is known by this key: the current version, or during a rollout, for
    its share of all keys, the candidate. The same key gets the same one; with a larger share those
    who had the candidate keep it."""
    return _answering(pick_version(store, name, key))


def pick_version(store: Store, name: str, key: str) -> Version:
    family = read(store, name)
    if (rollout := family.rollout) is not None:
        candidate = family.version(rollout.number)
        drawn = hashlib.sha256(f"{candidate.id}:{key}".encode()).digest()
        place = int.from_bytes(drawn[:8]) / 2**64
        if 100 * place < rollout.share and candidate.run is not None:
            return candidate
    return find_version(store, name)


def kept_as(store: Store, run_id: str) -> list[Version]:
    """The versions that are this run."""
    return [
        version
        for family in families(store)
        for version in family.versions
        if version.run_id == run_id
    ]


def _answering(version: Version) -> Run:
    if (run := version.run) is not None:
        return run
    if version.state == "trashed":
        hint = "Put its run back, or make another version current."
        raise NotFound(f"{version.id} is in the trash.", hint, field="family")
    raise NotFound(f"The run of {version.id} was deleted.", "Make another version current.")


# ---- keeping versions


def named(typed: str) -> str:
    """The name of a family, of what a person types. Raises UserError where nothing is left."""
    plain = unicodedata.normalize("NFKD", typed).encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:LONGEST].strip("-")
    if not name:
        raise UserError(
            "The family has no name yet.", "Type one with letters from a to z.", field="family"
        )
    if name in TAKEN or A_RUN.fullmatch(name) or name.upper() in RESERVED:
        raise UserError(f"{name} can’t be the name of a family.", "Choose another.", field="family")
    return name


def add(
    store: Store, typed: str, run: Run, notes: str = "", tags: list[str] | None = None
) -> Version:
    """Keep a finished run as the next version of the family of this name, which begins with it
    where there is none yet; the first version is current at once."""
    name = named(typed)
    if not Report(run).answerable:
        raise UserError(
            f"{run.name} can’t be kept as a version: it is {run.status}.",
            "Only what has finished, or was stopped and kept, can be one.",
            field="run",
        )
    with alone(store, name, new=True):
        family = read(store, name) if is_family(store, name) else Family(store, name, ())
        of = came_to(run.path)
        for version in family.versions:
            if (version.run_id, version.of) == (run.id, of):
                raise UserError(f"{run.name} is {version.id} already.", field="run")
        numbers = [event["version"] for event in family.log if event["do"] == "add"]
        number = max(numbers, default=0) + 1
        added = event(
            store, "add", version=number, run=run.id, of=of, name=run.name,
            notes=_text(notes, "notes"), tags=_tags(tags or []),
        )  # fmt: skip
        events = [added]
        if not family.made_current:
            events.append(event(store, "current", version=number, why=""))
            events[1]["from"] = None
        append(family.path, *events)
    return read(store, name).version(number)


def describe_version(
    store: Store, name: str, number: int, notes: str | None = None, tags: list[str] | None = None
) -> Version:
    """Other notes or tags; None leaves them."""
    with alone(store, name):
        version = read(store, name).version(number)
        said: dict[str, Any] = {}
        if notes is not None:
            said["notes"] = _text(notes, "notes")
        if tags is not None:
            said["tags"] = _tags(tags)
        append(folder_of(store, name), event(store, "note", version=version.number, **said))
    return read(store, name).version(number)


def remove(store: Store, name: str) -> None:
    """Remove the family with its log and ratings for good; the runs stay."""
    with alone(store, name):
        gone = trash.aside(read(store, name).path, store.path / "library")
    trash.erase(gone)


# ---- which one is current


def make_current(
    store: Store, name: str, number: int, why: str = "", override: bool = False
) -> Family:
    """From now on the family's name stands for this version. Raises UserError where the family's
    gate is not passed, unless `override`, with a reason; both are logged. It ends its rollout."""
    with alone(store, name):
        family = read(store, name)
        version = family.version(number)
        if family.current is not None and family.current.number == version.number:
            raise UserError(f"{version.id} is current already.", field="version")
        failed = _admitted(family, version, why, override)
        append(
            family.path,
            event(
                store, "current", version=version.number, why=_text(why, "why"),
                **{"from": family.current.number if family.current else None}, **failed,
            ),
        )  # fmt: skip
    return read(store, name)


def roll_back(store: Store, name: str, why: str = "") -> Family:
    """Back to the version that was current before. No gate stands in its way, and a rollout ends
    with it: everybody gets that version."""
    with alone(store, name):
        family = read(store, name)
        if family.previous is None or family.current is None:
            raise UserError(
                f"{name} has no earlier version to go back to.",
                "Make another version current.",
                field="family",
            )
        append(
            family.path,
            event(
                store, "back", version=family.previous.number, why=_text(why, "why"),
                **{"from": family.current.number},
            ),
        )  # fmt: skip
    return read(store, name)


def undo(store: Store, name: str) -> Family:
    """Take the last roll back back, as long as nothing else became current."""
    with alone(store, name):
        family = read(store, name)
        if family.left is None or family.current is None:
            raise UserError("There is no roll back to be undone.", field="family")
        _answering(family.version(family.left))
        append(
            family.path,
            event(
                store, "undo", version=family.left, why="", **{"from": family.current.number}
            ),
        )  # fmt: skip
    return read(store, name)


# ---- the gate and the rollout


def set_gate(store: Store, name: str, values: dict[str, Any]) -> Family:
    with alone(store, name):
        wanted = gate.parse(values)
        if wanted != read(store, name).gate:
            append(folder_of(store, name), event(store, "gate", gate=wanted.describe()))
    return read(store, name)


def checked(family: Family, version: Version) -> list[gate.Finding]:
    """What the family's gate says to this version. Raises NotFound where its run is gone."""
    current = family.current.run if family.current else None
    return gate.check(family.gate, _answering(version), current)


def roll_out(
    store: Store, name: str, number: int, share: float, why: str = "", override: bool = False
) -> Family:
    """From now on this share of the requests, in percent, goes to this version; the rest to the
    current one. The gate holds for it as it does for becoming current."""
    if not 0 < share <= EVERYBODY:
        raise UserError(f"share: {share:g} % is no share.", "More than 0, at most 100.", "share")
    with alone(store, name):
        family = read(store, name)
        version = family.version(number)
        if family.current is None or family.current.number == version.number:
            raise UserError(f"{version.id} is current: it answers already.", field="version")
        begun = family.rollout is not None and family.rollout.number == version.number
        failed = {} if begun else _admitted(family, version, why, override)
        told = event(
            store, "rollout", version=version.number, share=round(share, 1),
            why=_text(why, "why"), **failed,
        )  # fmt: skip
        append(family.path, told)
    return read(store, name)


def end_rollout(store: Store, name: str, why: str = "") -> Family:
    """Everything goes to the current version again."""
    with alone(store, name):
        family = read(store, name)
        if family.rollout is None:
            raise UserError(f"{name} has no rollout.", field="family")
        ended = event(store, "end", version=family.rollout.number, why=_text(why, "why"))
        append(family.path, ended)
    return read(store, name)


def _admitted(family: Family, version: Version, why: str, override: bool) -> dict[str, Any]:
    """Raises UserError where this version may not answer for the family. What an override passed
    over is returned for the log."""
    _answering(version)
    if version.state == "changed":
        raise UserError(
            f"{version.id} is no longer what was kept: its run has learned on since.",
            "Keep the run as a new version, and take that.",
            field="version",
        )
    failed = [finding.text for finding in checked(family, version) if not finding.passed]
    if failed and not override:
        raise UserError(
            f"{version.id} does not pass the gate. {' '.join(failed)}",
            "Give a reason to override it, or choose another version.",
            field="version",
        )
    if failed and not why.strip():
        raise UserError("An override needs a reason.", "It is kept in the log.", field="why")
    return {"over": failed} if failed else {}


def _text(text: str, what: str) -> str:
    if len(text := text.strip()) > MOST_TEXT:
        raise UserError(
            f"{what}: {len(text):,} characters are too many.", f"{MOST_TEXT:,} fit.", field=what
        )
    return text


def _tags(tags: list[str]) -> list[str]:
    """Without blanks around them and each once."""
    found = list(dict.fromkeys(tag for raw in tags if (tag := " ".join(str(raw).split()))))
    if len(found) > MOST_TAGS or any(len(tag) > LONGEST_TAG for tag in found):
        raise UserError(
            "These tags are too many, or too long.",
            f"At most {MOST_TAGS}, of {LONGEST_TAG} characters each.",
            field="tags",
        )
    return found
