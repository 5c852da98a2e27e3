"""The doctor's report: the verdict, what was found with examples and fixes, and the history."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from ui import words
from ui.views.parts import only_if
from ui.views.rows import said

VERDICTS = {
    "ready": ("good", "Ready"),
    "warnings": ("warn", "Ready with warnings"),
    "not yet": ("bad", "Not yet"),
}
LEVELS = {"error": "Mend first", "warning": "Worth a look", "info": "Good to know"}


def report(
    told: Mapping[str, Any],
    facts: Mapping[str, Any],
    looked: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    busy: str = "",
) -> str:
    """`told` as from examine_dataset, `facts` as from dataset. `looked`: by the code of a fix, what
    it would change. `busy`: what is being done now; nothing can be clicked then."""
    kind, verdict = VERDICTS[told["verdict"]]
    found = "".join(_finding(finding, looked or {}, bool(busy)) for finding in told["findings"])
    working = f'<p class="small" role="status">{escape(busy)} …</p>' if busy else ""
    return (
        '<section class="doctor" aria-label="Check of the examples"><header>'
        f'<h2>Check of the examples</h2><span class="pill {kind}">{verdict}</span></header>'
        f"<p>{escape(told['why'])} {escape(told['advice'])}</p>{working}"
        f'<div class="cards">{found}</div>{history(facts, bool(busy))}</section>'
    )


def _finding(
    finding: Mapping[str, Any], looked: Mapping[str, Sequence[Mapping[str, Any]]], busy: bool
) -> str:
    examples = "".join(
        f'<li><span class="small">Row {example["row"] + 1:,}</span>'
        f"<span>{escape(example['text'])}</span></li>"
        for example in finding["examples"]
    )
    examples = f'<ul class="examples">{examples}</ul>' if examples else ""
    fixes = "".join(
        _fix(fix, looked.get(fix["code"]), i, busy) for i, fix in enumerate(finding["fixes"])
    )
    return (
        f'<article class="card finding {finding["level"]}"><div><span class="tag">'
        f"{LEVELS[finding['level']]}</span><h4>{escape(finding['text'])}</h4></div>"
        f"{examples}{fixes}</article>"
    )


def _fix(
    fix: Mapping[str, Any], looked: Sequence[Mapping[str, Any]] | None, number: int, busy: bool
) -> str:
    code, off = escape(fix["code"]), " disabled" * busy
    preview = _changes(looked) if looked is not None else ""
    look = "" if looked is not None else (
        f'<button type="button" class="button quiet" data-action="look" data-id="{code}"{off}>'
        "Show what it changes</button>"
    )  # fmt: skip
    return (
        f'<div class="fix"><p>{escape(fix["text"])}</p><div class="buttons">'
        f'<button type="button" class="button{only_if(number == 0, " strong")}" data-action="fix" '
        f'data-id="{code}"{off}>{escape(fix["title"])}</button>{look}</div>{preview}</div>'
    )


def _changes(looked: Sequence[Mapping[str, Any]]) -> str:
    if not looked:
        return '<p class="small">It changes nothing.</p>'
    items = "".join(
        f'<li><span class="small">Row {change["row"] + 1:,}</span>'
        f"<div><del>{_text(change['before'])}</del>"
        f"{_after(change['after'])}</div></li>"
        for change in looked
    )
    return f'<ul class="changes" aria-label="What it changes">{items}</ul>'


def _after(row: dict[str, Any] | None) -> str:
    return '<span class="tag">This row goes</span>' if row is None else f"<ins>{_text(row)}</ins>"


def _text(row: dict[str, Any]) -> str:
    lines = [f"{who}: {text}" for _, text, who in said(row)]
    text = "\n".join(lines)
    return escape(text if len(text) <= 600 else text[:600] + " …")


def history(facts: Mapping[str, Any], busy: bool = False) -> str:
    """What was done since the import, the last first, with the way back."""
    entries = facts.get("history") or []
    if not entries:
        return ""
    items = "".join(
        f'<li><span>{escape(entry["what"])}</span><span class="small">{_effect(entry)} · '
        f"{words.when(entry['at'])}</span></li>"
        for entry in reversed(entries)
    )
    undo = ""
    if facts.get("can_undo"):
        undo = (
            f'<button type="button" class="button" data-action="undo" data-id=""'
            f"{' disabled' * busy}>Undo the last change</button>"
        )
    return (
        f'<div class="history"><div class="named"><h4>What was changed</h4>{undo}</div>'
        f'<ol>{items}</ol><p class="small">The file that you brought stays as it was.</p></div>'
    )


def _effect(entry: Mapping[str, Any]) -> str:
    told = [
        f"{entry[key]:,} {word}"
        for key, word in (("changed", "changed"), ("removed", "removed"), ("added", "added"))
        if entry.get(key)
    ]
    return ", ".join([*told, words.amount(entry["rows"], "row")])
