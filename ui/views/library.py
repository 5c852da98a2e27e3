"""The library: families, and one family with its versions."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any
from urllib.parse import quote

from core.gate import FORGETTING, SCORE
from ui import words
from ui.views.parts import (
    asks,
    button,
    clip,
    dialog,
    heading,
    invitation,
    link,
    notice,
    only_if,
)

LEAD = "Which of your models is the good one, and the way back."
STATES = {
    "changed": ("warn", "Learned on since"),
    "trashed": ("bad", "In the trash"),
    "deleted": ("bad", "Deleted"),
}
DONE = {
    "add": "kept",
    "current": "made current",
    "back": "current again: rolled back",
    "undo": "current again: the roll back was undone",
    "rollout": "rolled out",
    "end": "rollout ended",
}
Told = Mapping[str, Any]


# ---- the list


def listing(families: Sequence[Told], newest: tuple[str, str] | None) -> str:
    """`newest`: (id, name) of the run that could begin a family, if there is one."""
    ways = (
        link("bring-adapter", "Bring an adapter", "")
        + link("blend", "Blend adapters", "")
        + link("serve", "Use in programs", "")
    )
    head = f'{heading("Library", LEAD)}<div class="buttons">{ways}</div>'
    if not families:
        return head + _nothing(newest)
    rows = "".join(_row(family) for family in families)
    return f'{head}<div class="rows">{rows}</div>'


def _nothing(newest: tuple[str, str] | None) -> str:
    line = (
        "A family holds the versions of what serves one purpose, such as support-bot, and says "
        "which is current. Keep a finished run as its first version; from the second on there is "
        "a way back."
    )
    if newest is None:
        return invitation("No families yet", line, "Teach a model", "new")
    id, name = newest
    return invitation(
        "No families yet",
        line,
        f"Keep “{clip(name, 40)}” as a version",
        f"runs?run={quote(id)}#keep",
    )


def _row(family: Told) -> str:
    name = escape(family["name"])
    address, tried = (
        f"{page}={quote(family['name'])}" for page in ("library?family", "compare?run")
    )
    told = [words.amount(family["versions"], "version")]
    if family["current"]:
        told.insert(0, f"current since {words.when(family['since'])}")
    if rated := family["up"] + family["down"]:
        told.append(f"{family['up']:,} of {rated:,} answers rated good lately")
    if family["rollout"]:
        told.append(_rollout(family["rollout"]))
    drifts = only_if(family["drifts"], ' <span class="pill warn">Drifts</span>')
    return (
        f'<article class="card row"><div class="what"><div class="named"><h3>'
        f'<a href="{address}">{name}</a></h3>{_standing(family)}{drifts}</div>'
        f'<p class="small">{" · ".join(told)}</p></div><div></div>'
        f'<div class="do">{link(tried, "Try it", "")}</div>'
        "</article>"
    )


def _standing(family: Told) -> str:
    if family["current"] is None:
        return '<span class="pill warn">Nothing current</span>'
    if family["state"] == "there":
        return f'<span class="pill good">Version {family["current"]}</span>'
    tone, label = STATES[family["state"]]
    return f'<span class="pill {tone}">Version {family["current"]}: {label.lower()}</span>'


def _rollout(rollout: Told) -> str:
    return f"{rollout['share']:g} % of requests go to version {rollout['number']}"


# ---- one family


def head(family: Told) -> str:
    """Its name, what is current, the way back, and what is wrong."""
    name = escape(family["name"])
    if family["current"]:
        lead = (
            f"Version {family['current']} is current since {words.when(family['since'])}. Chat and "
            "programs that ask for its name get this one."
        )
    else:
        lead = "No version is current: whoever asks for its name gets nothing."
    if family["rollout"]:
        lead += f" {_rollout(family['rollout'])}."
    name_of = quote(family["name"])
    buttons = link(f"compare?run={name_of}", "Try it", "primary")
    if family["previous"]:
        buttons += button("back", f"Roll back to version {family['previous']}", "")
    buttons += link(f"serve?run={name_of}", "Use in programs", "")
    buttons += asks("remove-family", "Remove this family", kind="quiet bad")
    return (
        '<div class="heading run"><p class="crumb"><a href="library">Library</a></p>'
        f"<h1>{name} {_standing(family)}</h1>"
        f'<p class="lead" role="status">{escape(lead)}</p></div>'
        f'{_notes(family)}<div class="buttons spaced">{buttons}</div>'
    )


def _notes(family: Told) -> str:
    notes = ""
    if family["left"]:
        undo = f'<div class="buttons">{button("undo", "Undo", "")}</div>'
        notes += notice(
            f"Rolled back from version {family['left']} to version {family['current']}.",
            "It holds at once, everywhere.",
            kind="good",
            action=undo,
        )
    match family["state"]:
        case "trashed":
            notes += notice(
                f"Version {family['current']} is in the trash: nothing answers for this name.",
                "Put it back below, or make another version current.",
            )
        case "deleted":
            notes += notice(
                f"Version {family['current']} was deleted: nothing answers for this name.",
                "Make another version current.",
            )
        case "changed":
            notes += notice(
                f"The run of version {family['current']} has learned on since it was kept.",
                "What answers is no longer what was kept. Keep the run as a new version.",
                kind="warn",
            )
    if len(family["bases"]) > 1:
        notes += notice(
            f"Its versions have different originals: {', '.join(family['bases'])}.",
            "They can follow each other, but not answer beside each other or be blended.",
            kind="warn",
        )
    return notes


def remove_dialog() -> str:
    return dialog(
        "remove-family", "Remove this family?",
        "Its numbers, its log and its ratings go for good. The runs themselves stay.",
        "remove", "Remove", "Keep it", bad=True,
    )  # fmt: skip


def no_such_family(what: str) -> str:
    return invitation("This family is not here", what, "Library", "library")


# ---- the gate


def gate(family: Told) -> str:
    wanted = family["gate"]
    score = _choice("score", "Its score on the examples kept back is", SCORE, wanted["score"])
    forgot = _choice("forgetting", "It may have forgotten", FORGETTING, wanted["forgetting"])
    active = (
        '<label class="check"><input type="checkbox" data-field="active"'
        f"{only_if(wanted['active'], ' checked')}><span>It must answer otherwise than the original"
        "</span></label>"
    )
    return (
        '<section class="card fold" aria-label="Gate"><h2>Gate</h2>'
        "<p>What a version must show before it may become current or be rolled out. A roll back "
        "is always possible.</p>"
        f'<div class="typed">{score}{forgot}{active}<div class="buttons">'
        f"{button('gate', 'Save the gate', '')}</div></div></section>"
    )


def _choice(field: str, label: str, choices: Mapping[Any, str], chosen: str) -> str:
    options = "".join(
        f'<option value="{value}"{only_if(value == chosen, " selected")}>{escape(text)}</option>'
        for value, text in choices.items()
    )
    return f'<label><span>{label}</span><select data-field="{field}">{options}</select></label>'


# ---- the timeline


def timeline(log: Sequence[Told], alone: bool) -> str:
    """What was done, the last first. `alone`: nobody else could have."""
    items = "".join(f"<li>{_done(event, alone)}</li>" for event in log)
    return (
        '<section class="card fold" aria-label="What was done"><h2>What was done</h2>'
        f'<ol class="timeline">{items}</ol></section>'
    )


def _done(event: Told, alone: bool) -> str:
    when = f'<span class="small">{words.when(event["at"])}</span>'
    by = "" if alone else f' <span class="small">by {escape(str(event["by"]))}</span>'
    match event["do"]:
        case "gate":
            text = "The gate was changed"
        case "note":
            text = f"Notes or tags of version {event['version']} were changed"
        case "rollout":
            text = f"Version {event['version']} answers {event['share']:g} % of requests"
        case do:
            text = f"Version {event['version']} {DONE[do]}"
            if event.get("from"):
                text += f", instead of version {event['from']}"
    told = f"<strong>{escape(text)}.</strong>"
    if event.get("why"):
        told += f" {escape(event['why'])}"
    for over in event.get("over", ()):
        told += f'<span class="small over">Gate overridden: {escape(over)}</span>'
    return f"{when}<div>{told}{by}</div>"
