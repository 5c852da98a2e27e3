"""Examples: what was found in a file, rows as chats, columns and their parts, tokens."""

from collections.abc import Sequence
from html import escape
from typing import Any

from ui import words
from ui.views.parts import clip, only_if

LEVELS = {"error": "Left out", "warning": "Look at", "info": "Noted"}
SHAPES = {
    "messages": "conversations",
    "sharegpt": "conversations",
    "instruction": "instructions with answers",
    "pairs": "questions with answers",
    "classification": "texts with labels",
    "preference": "questions with a better and a worse answer",
    "text": "plain texts",
}
SPEAKERS = {"system": "Instruction", "user": "Question", "assistant": "Answer", "tool": "Tool"}
PARTS = {
    "ignore": "Leave out",
    "user": "Question",
    "assistant": "Answer",
    "system": "Instruction",
    "label": "Label",
    "text": "Plain text",
}
STATES = {"learned": "learned", "context": "only read", "cut": "cut off"}


def shape(facts: dict[str, Any]) -> str:
    return SHAPES.get(facts.get("shape", ""), escape(str(facts.get("shape") or "examples")))


def recognised(facts: dict[str, Any]) -> str:
    """What was found in a file, in words, with the findings below."""
    found = "".join(
        f'<li class="{f["level"]}"><span class="tag">{LEVELS[f["level"]]}</span>'
        f"<span>{escape(f['text'])}</span></li>"
        for f in facts.get("findings", [])
    )
    findings = f'<ul class="findings" aria-label="Findings">{found}</ul>' if found else ""
    return (
        f'<div class="card recognised"><div><h3>{escape(facts["name"])}</h3>'
        f"<p>{words.amount(facts['rows'], 'example')}: {shape(facts)}.</p></div>"
        '<button type="button" class="button quiet" data-action="change">Choose other examples'
        f"</button>{findings}</div>"
    )


def conversation(row: dict[str, Any], title: str = "The first example") -> str:
    """A row as a chat."""
    messages = row.get("messages") or [{"role": "assistant", "content": row.get("text", "")}]
    turns = [
        (m["role"], m.get("content") or "", SPEAKERS.get(m["role"], m["role"])) for m in messages
    ]
    if row.get("chosen"):
        turns.append(("assistant", row["chosen"], "The better answer"))
    if row.get("rejected"):
        turns.append(("assistant", row["rejected"], "The worse answer"))
    said = "".join(
        f'<div class="turn {escape(role)}"><span class="who">{escape(name)}</span>'
        f"<p>{escape(clip(text, 1200))}</p></div>"
        for role, text, name in turns
    )
    title = escape(title)
    return f'<section class="chat" aria-label="{title}"><h3>{title}</h3>{said}</section>'


def column_parts(
    columns: Sequence[str], preview: Sequence[Sequence[str]], chosen: dict[str, str]
) -> str:
    """The first rows as a table, with a picker of parts above each column."""
    heads = []
    for column in columns:
        options = "".join(
            f'<option value="{part}"{only_if(part == chosen.get(column), " selected")}>{label}'
            "</option>"
            for part, label in PARTS.items()
        )
        heads.append(
            f"<th><label><span>{escape(column)}</span>"
            f'<select data-column="{escape(column)}">{options}</select></label></th>'
        )
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(clip(str(cell), 160))}</td>" for cell in row) + "</tr>"
        for row in preview[:5]
    )
    return (
        f'<div class="table" tabindex="0" role="region" aria-label="The first rows"><table>'
        f"<thead><tr>{''.join(heads)}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def xray(seen: dict[str, Any]) -> str:
    """One example token by token: what is learned, only read, or cut off."""
    runs: list[list[str]] = []
    for token in seen["tokens"]:
        text = escape(token["text"]).replace("\n", "↵\n")
        if runs and runs[-1][0] == token["state"]:
            runs[-1][1] += f"<i>{text}</i>"
        else:
            runs.append([token["state"], f"<i>{text}</i>"])
    body = "".join(f'<span class="{state}">{text}</span>' for state, text in runs)
    legend = "".join(
        f'<li><span class="{state}">Abc</span> {label}</li>' for state, label in STATES.items()
    )
    total = sum(seen[state] for state in STATES)
    cut = f" Cut off at its end: {words.amount(seen['cut'], 'token')}." if seen["cut"] else ""
    return (
        '<section class="xray" aria-label="What it will learn"><h3>What it will learn</h3>'
        f"<p>{seen['learned']:,} of the {words.amount(total, 'token')} of the first example are "
        f'learned.{cut}</p><div class="tokens">{body}</div><ul class="legend">{legend}</ul>'
        "</section>"
    )
