"""What a person can do with the library of families and versions. Like `ui.actions`."""

from dataclasses import asdict
from typing import Any

from core import health
from core import library as shelf
from core.changes import changes, scores
from core.config import TrainConfig
from core.errors import UserError
from core.family import Family, Version, read
from core.gate import Finding
from core.methods import METHODS
from core.report import Report
from core.store import Store
from ui.views.settings import model_title, setting


def library(store: Store) -> list[dict[str, Any]]:
    """The families of runs that serve one purpose.

    Returns:
        A list of families: name, current and previous (numbers of versions, or null), since (when
        it became current), versions (how many), state of the current one as in `family`, rollout
        {number, share, since} or null; up and down, the ratings of the current version in the last
        four weeks, and drifts, whether its answers differ from those of its report card.
    """
    return [{**_listed(family), **_health(family)} for family in shelf.families(store)]


def family(store: Store, family: str) -> dict[str, Any]:
    """One family: its versions, what changed from each to the next, and all that was done to it.

    Parameters:
        family: its name
    Returns:
        As from `library`, but for versions, the newest first [{number, id (NAME@3), run, run_name,
        state ("there"; "changed": its run has learned on since; "trashed" or "deleted"), trash, at,
        notes, tags, base_model, origin (where its adapter comes from, as in run, where it was not
        trained here), report (the state of its report card, as in report), continues (whether a
        training can go on from it), scores {score, kind, loss, guard, summary}, changes {since
        (number of the version that it is told against), added, removed (rows), first_added,
        first_removed, settings [{name, title, before, after}], comparable} or null, findings of
        the gate [{check, passed, text, lacks_card}]}]; gate {score, forgetting, active}; left (the
        version that the last roll back left, while that can be undone, or null); bases (base
        models); log [{at, by, do, version, from, why, …}], the last first.
    """
    found = read(store, family)
    return {
        **_listed(found),
        "versions": [_version(found, version) for version in reversed(found.versions)],
        "gate": found.gate.describe(),
        "left": found.left,
        "bases": [model_title({"base_model": base}) for base in found.bases],
        "log": list(reversed(found.log)),
    }


def add_version(
    store: Store, family: str, run: str, notes: str = "", tags: list[str] | None = None
) -> dict[str, Any]:
    """Keep a finished run as the next version of a family; a name that is new begins one.

    Parameters:
        family: the name, of which small letters, digits and hyphens are kept
        run: the run's id
        notes: what there is to say of it
        tags: short words
    Returns:
        id (NAME@3), family, number.
    """
    version = shelf.add(store, family, store.run(run), notes, tags)
    return {"id": version.id, "family": version.family, "number": version.number}


def describe_version(
    store: Store,
    family: str,
    version: int,
    notes: str | None = None,
    tags: list[str] | None = None,
) -> dict[str, Any]:
    """Other notes or tags for a version.

    Parameters:
        family: its name
        version: the number
        notes: instead of those that are there
        tags: instead of those that are there
    Returns:
        id, notes, tags.
    """
    said = shelf.describe_version(store, family, version, notes, tags)
    return {"id": said.id, "notes": said.notes, "tags": list(said.tags)}


def make_current(
    store: Store, family: str, version: int, why: str = "", override: bool = False
) -> dict[str, Any]:
    """From now on the family's name stands for this version, in the chat and for programs.

    Parameters:
        family: its name
        version: the number
        why: kept in the log
        override: although the family's gate is not passed; needs a reason
    Returns:
        As from `library`.
    """
    return _listed(shelf.make_current(store, family, version, why, override))


def roll_back(store: Store, family: str, why: str = "") -> dict[str, Any]:
    """Back to the version that was current before. It ends a rollout.

    Parameters:
        family: its name
        why: kept in the log
    Returns:
        As from `library`.
    """
    return _listed(shelf.roll_back(store, family, why))


def undo_roll_back(store: Store, family: str) -> dict[str, Any]:
    """Take the last roll back back, as long as nothing else was made current.

    Parameters:
        family: its name
    Returns:
        As from `library`.
    """
    return _listed(shelf.undo(store, family))


def set_gate(store: Store, family: str, gate: dict[str, Any]) -> dict[str, Any]:
    """What a version must show before it may become current or be rolled out.

    Parameters:
        family: its name
        gate: score ("off"; "any": not below the current one's on the same examples; "clear": not
            below it by more than chance), forgetting ("off"; "safe": none that counts; "some":
            some at most), active (true: it must answer otherwise than the original); what is left
            out is not asked for
    Returns:
        name and gate.
    """
    return {"name": family, "gate": shelf.set_gate(store, family, gate).gate.describe()}


def roll_out(
    store: Store, family: str, version: int, share: float, why: str = "", override: bool = False
) -> dict[str, Any]:
    """Let a version answer a share of the requests; the current one answers the rest. Who asks with
    the same key gets the same one.

    Parameters:
        family: its name
        version: the number of the candidate
        share: percent of the requests, more than 0
        why: kept in the log
        override: although the family's gate is not passed; needs a reason
    Returns:
        As from `library`.
    """
    return _listed(shelf.roll_out(store, family, version, share, why, override))


def end_rollout(store: Store, family: str, why: str = "") -> dict[str, Any]:
    """Let the current version answer all requests again.

    Parameters:
        family: its name
        why: kept in the log
    Returns:
        As from `library`.
    """
    return _listed(shelf.end_rollout(store, family, why))


def remove_family(store: Store, family: str) -> dict[str, Any]:
    """Remove a family with its log and its ratings for good. Its runs stay.

    Parameters:
        family: its name
    Returns:
        name, and "removed" as status.
    """
    shelf.remove(store, family)
    return {"name": family, "status": "removed"}


def kept_as(store: Store, run: str) -> list[dict[str, Any]]:
    """The versions that this run is kept as; which of them are current, and to which version their
    family could go back."""
    told = []
    for version in shelf.kept_as(store, store.run(run).id):
        family = read(store, version.family)
        told.append(
            {
                "id": version.id,
                "family": family.name,
                "state": version.state,
                "current": family.current is not None and family.current.number == version.number,
                "previous": family.previous.number if family.previous else None,
            }
        )
    return told


# ---- in facts


def _listed(family: Family) -> dict[str, Any]:
    current, previous = family.current, family.previous
    return {
        "name": family.name,
        "current": current.number if current else None,
        "previous": previous.number if previous else None,
        "since": family.since,
        "versions": len(family.versions),
        "state": current.state if current else None,
        "rollout": asdict(family.rollout) if family.rollout else None,
    }


def _health(family: Family) -> dict[str, Any]:
    lately = health.summary(health.lately(family))
    return {"up": lately.up, "down": lately.down, "drifts": bool(health.drift(family))}


def _version(family: Family, version: Version) -> dict[str, Any]:
    run, state = version.run, version.state
    trashed = version.trashed if state == "trashed" else None
    told: dict[str, Any] = {
        "number": version.number,
        "id": version.id,
        "run": version.run_id,
        "run_name": run.name if run else version.run_name,
        "state": state,
        "trash": trashed.id if trashed else "",
        "at": version.at,
        "notes": version.notes,
        "tags": list(version.tags),
        "base_model": "",
        "origin": {},
        "report": "none",
        "continues": False,
        "scores": None,
        "changes": None,
        "findings": [],
    }
    if run is None:
        return told
    try:
        told["base_model"] = model_title(run.config.model_dump())
        told["origin"] = run.origin
        told["report"] = Report(run).state
        told["continues"] = METHODS[run.config.method].continues
        told["scores"] = asdict(scores(run))
        told["changes"] = _changes(family, version)
        told["findings"] = [asdict(finding) for finding in _findings(family, version)]
    except (UserError, FileNotFoundError):  # damaged, or deleted a moment ago
        pass
    return told


def _changes(family: Family, version: Version) -> dict[str, Any] | None:
    since = family.before(version)
    before, after = since and since.run, version.run
    if since is None or before is None or after is None:
        return None
    told = changes(before, after)
    return {
        **asdict(told),
        "since": since.number,
        "settings": [
            {
                "name": name,
                "title": TrainConfig.model_fields[name].title or name,
                "before": _setting(name, was),
                "after": _setting(name, now),
            }
            for name, (was, now) in told.settings.items()
        ],
    }


def _setting(name: str, value: Any) -> str:
    if value in (None, ""):
        return "–"
    return model_title({"base_model": value}) if name == "base_model" else str(setting(value, name))


def _findings(family: Family, version: Version) -> list[Finding]:
    """What the gate says to one that may become current instead of another."""
    if family.current is None or family.current.number == version.number:
        return []
    return shelf.checked(family, version)
