"""How it stands with a run on the Hugging Face Hub."""

from html import escape
from typing import Any

from core.exports.push import FORMATS
from ui import words
from ui.views.parts import button, notice, only_if

Told = dict[str, Any]


def status(told: Told) -> str:
    """What stands above the form."""
    return (
        "<h2>Put it on the Hugging Face Hub</h2>"
        "<p>To use it on other computers by its name, or to share it. Nothing is to be seen there "
        f"until all of it has arrived.</p>{_there(told)}{_stands(told)}"
    )


def _stands(told: Told) -> str:
    match told["state"]:
        case "pushing":
            return _sending(told)
        case "failed":
            return notice(f"It could not be sent to {told['repo']}: {told['error']}", told["hint"])
        case "broken":
            return notice(
                f"Sending it to {told['repo']} was broken off.",
                "Push again: the token is asked for anew, because it is kept nowhere.",
                kind="warn",
            )
        case _ if not told["ready"]:
            return (
                '<p class="small">Prepare the adapter or the merged model first: what is sent is '
                "what was checked.</p>"
            )
    return ""


def _sending(told: Told) -> str:
    done, of = told["done"], told["of"]
    share = round(100 * done / of) if of else 0
    counted = f" {words.size(done)} of {words.size(of)}." if of else ""
    return (
        f'<div role="status"><p>{escape(told["phase"])}…{counted} To {escape(told["repo"])}. '
        "You can close this page.</p>"
        '<div class="bar" role="progressbar" aria-label="Sending" '
        f'aria-valuenow="{share}" aria-valuemin="0" aria-valuemax="100">'
        f'<span style="width:{share}%"></span></div></div>'
        f'<div class="buttons">{button("cancel_push", "Cancel", escape(told["id"]))}</div>'
    )


def _there(told: Told) -> str:
    """What was sent last."""
    there = told["pushed"]
    if not there:
        return ""
    title = FORMATS.get(there["format"], there["format"]).lower()
    seen = "only you can see it" if there["private"] else "everybody can see it"
    stale = only_if(
        told["stale"], " The run has learned on since: prepare it anew, then push again."
    )
    return (
        '<p class="told good"><strong>On the Hub:</strong> '
        f'<a href="{escape(there["url"])}" target="_blank" rel="noopener">{escape(there["repo"])}'
        f"</a>, the {escape(title)}, {words.size(there['bytes'])}, "
        f"since {words.when(there['at'])}; {seen}.{stale}</p>"
        f'<p class="small">Commit <a href="{escape(there["commit_url"])}" target="_blank" '
        f'rel="noopener"><code>{escape(there["commit"][:12])}</code></a></p>'
    )
