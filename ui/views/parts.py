"""The small parts that every page is made of."""

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from core.users import User

PAGES = (("Home", "./"), ("New", "new"), ("Runs", "runs"), ("Compare", "compare"),
         ("Library", "library"), ("Datasets", "datasets"), ("Disk", "disk"))  # fmt: skip
CURRENT = ' aria-current="true"'
MARK = (
    '<svg viewBox="0 0 32 32" aria-hidden="true"><rect width="32" height="32" rx="8"/>'
    '<path class="stem" d="M16 26V15"/>'
    '<path class="leaf" d="M16 17c0-6 3.6-9.5 9.5-9.5C25.500 13.500 22 17 16 17z"/>'
    '<path class="bud" d="M16 21.500c0-4-2.800-6.700-8-6.700 0 4.600 3.200 6.700 8 6.700z"/></svg>'
)


def top_bar(active: str) -> str:
    links = "".join(
        f'<a href="{path}"{only_if(name == active, CURRENT)}>{name}</a>' for name, path in PAGES
    )
    return (
        f'<div class="bar-links"><a class="brand" href="./">{MARK}<span>Graft</span></a>'
        f'<nav aria-label="Pages">{links}</nav></div>'
    )


def device_chip(title: str, training: str = "", caller: User | None = None) -> str:
    """The device, what is trained on it, and who is logged in; admins get to the people."""
    busy = f'<a href="runs"> · training {escape(training)}</a>' if training else ""
    chip = f'<span class="chip">{_dot(bool(training))}{escape(title)}{busy}</span>'
    if caller is None:
        return chip
    name = f"<span>{escape(caller.name)}</span>"
    if caller.role == "admin":
        name = f'<a href="people">{escape(caller.name)}</a>'
    return (
        f'{chip}<form class="who-is-in" method="post" action="logout">{name}'
        '<button type="submit">Log out</button></form>'
    )


def _dot(busy: bool) -> str:
    return f'<span class="dot{only_if(busy, " busy")}" aria-hidden="true"></span>'


def heading(title: str, below: str = "") -> str:
    below = f'<p class="lead">{escape(below)}</p>' if below else ""
    return f'<div class="heading"><h1>{escape(title)}</h1>{below}</div>'


def title(text: str, below: str = "") -> str:
    below = f"<p>{escape(below)}</p>" if below else ""
    return f'<div class="step-title"><h2>{escape(text)}</h2>{below}</div>'


def subtitle(text: str) -> str:
    return f"<h3>{escape(text)}</h3>"


def invitation(
    title: str, line: str, label: str, link: str, other: tuple[str, str] | None = None
) -> str:
    """An empty state: one line, one button; `other`: the label and address of a second way."""
    second = ""
    if other:
        second = f'<a class="button quiet" href="{escape(other[1])}">{escape(other[0])}</a>'
    return (
        f'<section class="card invitation"><h2>{escape(title)}</h2><p>{escape(line)}</p>'
        f'<a class="button primary" href="{escape(link)}">{escape(label)}</a>{second}</section>'
    )


def nothing_yet(title: str, line: str) -> str:
    """What will stand here once there is something."""
    return (
        f'<section class="card fold" aria-label="{escape(title)}"><h2>{escape(title)}</h2>'
        f'<p class="nothing">{escape(line)}</p></section>'
    )


def notice(text: str, hint: str = "", kind: str = "bad", action: str = "") -> str:
    """Something to know, in place: `kind` is bad, warn or good. `action` is HTML."""
    word = {"bad": "Problem", "warn": "Note", "good": "Done"}[kind]
    hint = f"<p>{escape(hint)}</p>" if hint else ""
    return (
        f'<div class="notice {kind}" role="status"><strong class="word">{word}</strong>'
        f"<div><p>{escape(text)}</p>{hint}{action}</div></div>"
    )


def dialog(
    id: str,
    title: str,
    text: str,
    action: str,
    label: str,
    keep: str,
    *,
    bad: bool = False,
    other: tuple[str, str] | None = None,
) -> str:
    """A question with two answers: do it (`action`), or close; or three, with the action and label
    of one that can't be undone."""
    kind = "danger" if bad else "primary"
    buttons = [("", "", keep), (kind, action, label)]
    if other:  # too much for a row: one below the other, the likeliest first
        buttons = [(kind, action, label), ("quiet bad", *other), ("quiet", "", keep)]
    row = "".join(
        f'<button type="button" class="button {kind}" data-closes data-action="{does}">'
        f"{escape(says)}</button>"
        for kind, does, says in buttons
    )
    return (
        f'<dialog id="{id}" aria-labelledby="{id}-title"><h2 id="{id}-title">{escape(title)}</h2>'
        f'<p>{escape(text)}</p><div class="buttons{" stacked" if other else ""}">{row}</div>'
        "</dialog>"
    )


def radio_cards(cards: Iterable[tuple[str, str]], name: str, title: str) -> str:
    choices = "".join(
        f'<label class="card choice"><input type="radio" name="{name}" value="{escape(id)}">'
        f"{html}</label>"
        for id, html in cards
    )
    return f'<div class="choices" role="radiogroup" aria-label="{escape(title)}">{choices}</div>'


def link(address: str, label: str, kind: str = "quiet") -> str:
    return f'<a class="button {kind}" href="{address}">{label}</a>'


def button(action: str, label: str, id: str, kind: str = "") -> str:
    return (
        f'<button type="button" class="button {kind}" data-action="{action}" data-id="{id}">'
        f"{label}</button>"
    )


def asks(dialog: str, label: str, id: str = "", kind: str = "quiet") -> str:
    """A button that opens a dialog, whose buttons then speak of this id."""
    return (
        f'<button type="button" class="button {kind}" data-opens="{dialog}" data-id="{id}">'
        f"{label}</button>"
    )


def undo(name: str, trashed: str) -> str:
    """What was deleted just now; `trashed` is its id in the trash."""
    hint = "It stays in the trash for 7 days."
    back = f'<div class="buttons">{button("put_back", "Undo", escape(trashed))}</div>'
    return notice(f"“{name}” is deleted.", hint, kind="good", action=back)


def facts(facts: Iterable[tuple[str, str]]) -> str:
    return "".join(f"<div><dt>{label}</dt><dd>{value}</dd></div>" for label, value in facts)


def fold(title: str, html: str) -> str:
    """What is told beside something else, to those who open it."""
    return f'<details class="aside-told"><summary>{title}</summary>{html}</details>'


def stands_before(messages: Iterable[Mapping[str, str]]) -> str:
    """What was said before a question, folded; nothing where it is the first."""
    said = "".join(
        f"<p><strong>{escape(message['role'].capitalize())}</strong> "
        f"{escape(message['content'])}</p>"
        for message in messages
    )
    return only_if(said, fold("What stands before the question", said))


def clip(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def only_if(condition: Any, text: str) -> str:
    return text if condition else ""
