"""Disk: what takes room, the largest first, with the buttons that clear it away."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any
from urllib.parse import quote

from ui import words
from ui.views.parts import asks, button, dialog, heading, invitation, notice

OF_A_RUN = {
    "checkpoints": "checkpoints",
    "adapter": "adapter",
    "exports": "to take home",
    "rest": "rest",
}
SHOWN = 10  # of each kind; the rest is folded
CACHES = {
    "tokens": "tokens of examples",
    "profiles": "lengths of datasets",
    "drafts": "drafts of blends",
}


def disk_heading(usage: Mapping[str, Any]) -> str:
    free, total, used = (words.size(usage[name]) for name in ("free", "total", "used"))
    return heading("Disk", f"{free} of {total} are free. What you keep in Graft takes {used}.")


def things(usage: Mapping[str, Any]) -> str:
    """All that can be cleared away. Empty kinds are left out."""
    caches = usage["caches"]
    if not usage["used"] and not usage["models"]:
        return invitation(
            "Nothing takes room yet",
            "Runs and datasets are listed here with what can be cleared away.",
            "Teach a model",
            "new",
        )
    return "".join(
        (
            _figures(usage),
            _section("Trash", usage["trash"], _trashed, "After 7 days it goes by itself.",
                     asks("empty-trash", "Empty the trash", kind="")),
            _section("Runs", usage["runs"], _run),
            _section("Datasets", usage["datasets"], _dataset),
            _section("Unfinished uploads", usage["uploads"], _upload,
                     "They wait for an answer to a question, and go by themselves after a day."),
            _caches(caches) if sum(caches.values()) else "",
            _models(usage["models"]) if usage["models"] else "",
        )
    )  # fmt: skip


def _figures(usage: Mapping[str, Any]) -> str:
    kinds = [(name, sum(it["bytes"] for it in usage[name.lower()]))
             for name in ("Runs", "Datasets", "Trash")]  # fmt: skip
    others = usage["used"] - sum(bytes for _, bytes in kinds)
    cards = "".join(
        f'<div class="card"><dt>{label}</dt><dd>{words.size(bytes)}</dd></div>'
        for label, bytes in (*kinds, ("Caches and files", others))
    )
    return f'<dl class="figures">{cards}</dl>'


def _section(
    title: str, found: Sequence[dict[str, Any]], row: Any, below: str = "", action: str = ""
) -> str:
    if not found:
        return ""
    first, more = found[:SHOWN], found[SHOWN:]
    folded = ""
    if more:
        left = f"{len(more):,} more, {words.size(sum(it['bytes'] for it in more))}"
        folded = (
            f'<details class="card folded"><summary>{left}</summary>'
            f'<div class="rows">{"".join(map(row, more))}</div></details>'
        )
    below = f'<p class="small">{below}</p>' if below else ""
    return (
        f'<section class="kind" aria-label="{title}"><div class="heading split"><div><h2>{title}'
        f'</h2>{below}</div>{action}</div><div class="rows">{"".join(map(row, first))}</div>'
        f"{folded}</section>"
    )


def _row(name: str, bytes: int, small: str, buttons: str, pill: str = "") -> str:
    """`name`, `small`, `buttons` and `pill` are HTML."""
    return (
        f'<article class="card row"><div class="what"><div class="named"><h3>{name}</h3>{pill}'
        f'</div><p class="small">{small}</p></div><strong class="size">{words.size(bytes)}</strong>'
        f'<div class="do">{buttons}</div></article>'
    )


def _run(run: dict[str, Any]) -> str:
    id = escape(run["id"])
    told = " · ".join(
        f"{label} {words.size(run[part])}" for part, label in OF_A_RUN.items() if run[part]
    )
    buttons = ""
    if run["may_lose_checkpoints"]:
        buttons = asks("delete-checkpoints", "Delete checkpoints", id)
    if run["status"] not in ("running", "queued"):
        buttons += button("delete_run", "Delete", id, "quiet")
    pill = words.PILLS[run["status"]]
    return _row(
        f'<a href="runs?run={quote(run["id"])}">{escape(run["name"])}</a>', run["bytes"], told,
        buttons, f'<span class="pill {run["status"]}">{pill}</span>',
    )  # fmt: skip


def _dataset(dataset: dict[str, Any]) -> str:
    id = escape(dataset["id"])
    return _row(
        f'<a href="datasets?dataset={quote(dataset["id"])}">{escape(dataset["name"])}</a>',
        dataset["bytes"], "with its file and its versions",
        button("delete_dataset", "Delete", id, "quiet"),
    )  # fmt: skip


def _upload(upload: dict[str, Any]) -> str:
    where = "bring-adapter" if upload["adapter"] else "new"
    link = f'<a href="{where}?upload={quote(upload["id"])}">{escape(upload["name"])}</a>'
    remove = button("remove_upload", "Remove", escape(upload["id"]), "quiet")
    return _row(link, upload["bytes"], f"brought {words.when(upload['at'])}", remove)


def _trashed(it: dict[str, Any]) -> str:
    return _row(
        escape(it["name"]), it["bytes"], f"{it['kind']}, deleted {words.when(it['at'])}",
        button("put_back", "Put back", escape(it["id"])),
    )  # fmt: skip


def _caches(caches: Mapping[str, int]) -> str:
    told = " · ".join(
        f"{CACHES.get(name, name)} {words.size(bytes)}" for name, bytes in caches.items() if bytes
    )
    row = _row(
        "What was worked out before", sum(caches.values()), escape(told),
        button("clear_caches", "Clear caches", ""),
    )  # fmt: skip
    below = "Made again when it is needed; that takes a while for large datasets."
    return (
        f'<section class="kind" aria-label="Caches"><h2>Caches</h2><p class="small">{below}</p>'
        f'<div class="rows">{row}</div></section>'
    )


def _models(bytes: int) -> str:
    return (
        f'<p class="more">Downloaded models take {words.size(bytes)} besides. Everybody who uses '
        "this Graft shares them.</p>"
    )


def is_back(kind: str, id: str) -> str:
    address = f"{kind}s?{kind}={quote(id)}"
    action = f'<a href="{address}">Open the {kind}</a>'
    return notice(f"The {kind} is back.", kind="good", action=action)


def dialogs() -> str:
    return (
        dialog(
            "delete-checkpoints", "Delete the checkpoints?",
            "You can go on chatting with the run and downloading it. It just can’t be resumed: "
            "“Continue” is no longer there, and “Try again” starts from the beginning.",
            "delete_checkpoints", "Delete checkpoints", "Keep them", bad=True,
        )
        + dialog(
            "empty-trash", "Empty the trash?",
            "What is in it is gone for good.",
            "empty_trash", "Empty the trash", "Keep it", bad=True,
        )
    )  # fmt: skip
