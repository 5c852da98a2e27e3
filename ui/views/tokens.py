"""What will be learned: examples token by token, and the lengths of all under a model."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from ui import words
from ui.views.parts import only_if
from ui.views.rows import pager

STATES = {"learned": "learned", "context": "only read", "cut": "cut off"}


def headline(found: Mapping[str, Any]) -> str:
    """The whole dataset in a sentence, and what the model's template does to it."""
    learned, tokens = (f"{found[f'{of}_per_row']:,.0f}" for of in ("learned", "tokens"))
    sentence = f"{learned} of the {tokens} tokens of an average example are learned"
    nothing = found["teach_nothing"] - found["refused"]
    more = [f"<strong>{sentence}</strong>"]
    if nothing > 0:
        more.append(f"{words.amount(nothing, 'example')} teach{'es' * (nothing == 1)} nothing")
    if found["refused"]:
        more.append(f"{words.amount(found['refused'], 'example')} can't be used with this model")
    notes = "".join(
        f"<li>{escape(note['text'])} "
        f'<span class="small">{words.amount(note["rows"], "example")}</span></li>'
        for note in found["notes"]
    )
    reasons = "".join(
        f"<li>Example {reason['row'] + 1:,}: {escape(reason['text'])}</li>"
        for reason in found["reasons"]
    )
    listed = f'<ul class="notes">{notes}{reasons}</ul>' if notes or reasons else ""
    return (
        '<section class="headline" aria-label="What will be learned"><h2>What will be learned</h2>'
        f"<p>{'; '.join(more)}. What is learned is marked below; the rest is only read. A token is "
        f"about ¾ of a word.</p>{listed}</section>"
    )


def xray(seen: Mapping[str, Any], row: int = 0, rows: int = 1) -> str:
    """One example token by token: what is learned, only read, or cut off."""
    spans: list[list[str]] = []
    for token in seen["tokens"]:
        text = escape(token["text"]).replace("\n", "↵\n")
        if spans and spans[-1][0] == token["state"]:
            spans[-1][1] += f"<i>{text}</i>"
        else:
            spans.append([token["state"], f"<i>{text}</i>"])
    body = "".join(f'<span class="{state}">{text}</span>' for state, text in spans)
    legend = "".join(
        f'<li><span class="{state}">Abc</span> {label}</li>' for state, label in STATES.items()
    )
    total = sum(seen[state] for state in STATES)
    cut = f" {words.amount(seen['cut'], 'token')} cut off." if seen["cut"] else ""
    notes = "".join(f"<li>{escape(note['text'])}</li>" for note in seen.get("notes", ()))
    notes = f'<ul class="notes">{notes}</ul>' if notes else ""
    return (
        '<section class="xray" aria-label="Token by token"><div class="named">'
        f"<h4>Example {row + 1:,}, token by token</h4>{pager(row, 1, rows, 'Examples')}</div>"
        f"<p>{seen['learned']:,} of {words.amount(total, 'token')} learned.{cut}</p>"
        f'<div class="tokens" tabindex="0">{body}</div><ul class="legend">{legend}</ul>{notes}'
        "</section>"
    )


def lengths(found: Mapping[str, Any]) -> str:
    """The chart: how many examples are how long, and where the limit is."""
    bins: Sequence[Mapping[str, int]] = found["bins"]
    most = max((bar["rows"] for bar in bins), default=1) or 1
    end = bins[-1]["stop"] if bins else 1
    at = found["max_length"]
    bars = "".join(
        f'<i class="{"over" if bar["start"] >= at else ""}" '
        f'style="height:{100 * bar["rows"] / most:.1f}%" '
        f'title="{bar["start"] + 1:,} to {bar["stop"]:,} tokens: '
        f'{words.amount(bar["rows"], "example")}"></i>'
        for bar in bins
    )
    where = min(100.0, 100 * at / end)
    side = only_if(where > 60, " left")
    named = f"limit {at:,}{only_if(at > end, ' →')}"
    marker = f'<b class="limit{side}" style="left:{where:.2f}%"><span>{named}</span></b>'
    return (
        f'<figure class="lengths" role="img" aria-label="Lengths of the examples: up to '
        f'{found["longest"]:,} tokens, the limit is {at:,}"><div class="bars">{bars}{marker}</div>'
        f'<div class="scale"><span>1</span><span>{end // 2:,}</span><span>{end:,} tokens</span>'
        "</div></figure>"
    )


def cut(found: Mapping[str, Any]) -> str:
    """What the limit does to the examples, to time and to memory."""
    drop = found["too_long"] == "drop"
    cut, uncut = found["dropped" if drop else "shortened"], found["uncut"]
    figures = (
        (f"Examples {'left out' if drop else 'shortened'}", f"{cut:,}", f"of {found['rows']:,}"),
        ("Examples that lose their whole answer", f"{found['lost']:,}", ""),
        ("Time", words.duration(found["seconds"]), _saved(found["seconds"], uncut["seconds"])),
        (
            "Memory",
            words.size(found["memory_bytes"]),
            _saved(found["memory_bytes"], uncut["memory_bytes"]),
        ),
    )
    cards = "".join(
        f'<div class="{"warn" if name.startswith("Examples that") and value != "0" else ""}">'
        f'<dt>{name}</dt><dd>{value}</dd><dd class="small">{more}</dd></div>'
        for name, value, more in figures
    )
    return f'<dl class="cut-figures" aria-live="polite">{cards}</dl>'


def _saved(now: float | None, before: float | None) -> str:
    """How much less it is than without a cut."""
    if not now or not before:
        return ""
    share = 1 - now / before
    return f"{words.percent(share)} less than without" if share >= 0.005 else "the same without it"
