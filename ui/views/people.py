"""People: who may come in, what they have, and the whole line."""

from collections.abc import Iterable
from html import escape
from typing import Any

from ui import words
from ui.views.parts import heading, title

HOW = "Add somebody, or give a new password, on the server: python start.py add-user NAME"


def overview(told: dict[str, Any]) -> str:
    disk = told["disk"]
    free = f"{words.size(disk['free'])} of {words.size(disk['total'])} are free on the disk."
    line = [
        (run["owner"], run["name"], words.PILLS[run["status"]], _until(run)) for run in told["line"]
    ]
    return (
        '<div class="people-page">'
        + heading("People", free)
        + _table(
            ("Name", "Role", "Datasets", "Runs", "On the disk", "May have"),
            [
                (
                    user["name"],
                    user["role"] or "no login",
                    f"{user['datasets']:,}",
                    f"{user['runs']:,}",
                    words.size(user["bytes"]),
                    _limits(user["limits"]),
                )
                for user in told["people"]
            ],
        )
        + f'<p class="small">{escape(HOW)}</p>'
        + title("The line", "" if line else "Nothing trains and nothing waits.")
        + (_table(("Owner", "Run", "", "Done"), line) if line else "")
        + "</div>"
    )


def _limits(limits: dict[str, Any]) -> str:
    if not limits:
        return words.DASH
    told = [
        (limits["rows"], f"{limits['rows'] or 0:,} examples a dataset"),
        (limits["disk"], f"{limits['disk'] or 0:g} GB"),
        (limits["waiting"], f"{limits['waiting'] or 0} waiting runs"),
    ]
    return ", ".join(text for limit, text in told if limit is not None) or "no limit"


def _until(run: dict[str, Any]) -> str:
    return words.soon(run["ends_at"]) if run["ends_at"] else ""


def _table(heads: Iterable[str], rows: Iterable[tuple[str, ...]]) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows
    )
    return (
        '<div class="table facts" tabindex="0" role="region" aria-label="Table"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )
