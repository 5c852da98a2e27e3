"""“Keep as a version”, on a run's page."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any
from urllib.parse import quote

from ui.views.parts import button, nothing_yet, only_if


def card(
    kept: Sequence[Mapping[str, Any]], families: Iterable[str], answerable: bool = True
) -> str:
    """What a run is kept as, and the way to keep it once it is `answerable`. `kept`: as from
    `kept_as`."""
    if not (kept or answerable):
        return nothing_yet(
            "Keep as a version",
            "Once the run has finished, it can be kept in the library, as a version of what serves "
            "one purpose: one version is current, and there is a way back.",
        )
    there = "".join(
        f'<li><a href="library?family={quote(version["family"])}">{escape(version["id"])}</a>'
        f"{only_if(version['current'], ' <span class=pill>Current</span>')}"
        f"{only_if(version['state'] == 'changed', ' It has learned on since: keep it anew.')}</li>"
        for version in kept
    )
    known = "".join(f'<option value="{escape(name)}"></option>' for name in families)
    form = (
        '<div class="line-form"><label><span>Family</span><input type="text" data-field="family" '
        'list="families" placeholder="support-bot" data-clear></label>'
        f'<datalist id="families">{known}</datalist>'
        '<label><span>Note</span><input type="text" data-field="notes" data-clear '
        f'placeholder="What is new"></label>{button("keep", "Keep as a version", "")}</div>'
    )
    is_kept = any(version["state"] == "there" for version in kept)
    if not answerable:
        form = ""
    elif is_kept:
        form = (
            '<details class="more-of-it"><summary>Keep it in another family</summary>'
            f"{form}</details>"
        )
    lead = (
        f'<ul class="kept-as">{there}</ul>'
        if there
        else "<p>A family holds the versions of what serves one purpose. One of them is current, "
        "and there is a way back.</p>"
    )
    return (
        '<section class="card fold keep-as" aria-label="Keep as a version">'
        f"<h2>{'In the library' if there else 'Keep as a version'}</h2>{lead}{form}</section>"
    )
