"""Examples as people see them: a row as a chat, the shape of a dataset in words."""

from html import escape
from typing import Any

from ui.views.parts import clip

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
LONGEST = 1200  # characters of a turn that are shown


def shape(facts: dict[str, Any]) -> str:
    return SHAPES.get(facts.get("shape", ""), escape(str(facts.get("shape") or "examples")))


def conversation(row: dict[str, Any], title: str = "The first example") -> str:
    """A row as a chat."""
    title = escape(title)
    return f'<section class="chat" aria-label="{title}"><h3>{title}</h3>{turns(row)}</section>'


def turns(row: dict[str, Any], longest: int = LONGEST) -> str:
    return "".join(
        f'<div class="turn {escape(role)}"><span class="who">{escape(name)}</span>'
        f"<p>{escape(clip(text, longest))}</p></div>"
        for role, text, name in said(row)
    )


def said(row: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(role, text, who it is in words) of each turn."""
    if "text" in row:
        return [("assistant", row["text"], "Text")]
    found = [
        (m["role"], m.get("content") or "", SPEAKERS.get(m["role"], m["role"]))
        for m in row.get("messages", ())
    ]
    if row.get("chosen"):
        found.append(("assistant", row["chosen"], "The better answer"))
    if row.get("rejected"):
        found.append(("assistant", row["rejected"], "The worse answer"))
    return found


def pager(at: int, size: int, total: int, what: str = "Rows") -> str:
    """Which of `total` are shown, counted from 0, with the ways to the others; ids are starts."""
    if total <= size:
        return ""
    last = (total - 1) // size * size
    ways = (
        (0, "«", "First", at > 0),
        (max(0, at - size), "‹", "Previous", at > 0),
        (min(last, at + size), "›", "Next", at + size < total),
        (last, "»", "Last", at + size < total),
    )
    first, second, third, fourth = (
        f'<button type="button" class="button quiet" data-action="page" data-id="{start}" '
        f'aria-label="{name}"{"" if usable else " disabled"}>{sign}</button>'
        for start, sign, name, usable in ways
    )
    upto = min(total, at + size)
    where = f"{at + 1:,}" if upto == at + 1 else f"{at + 1:,} to {upto:,}"
    return (
        f'<nav class="pager" aria-label="{what}">{first}{second}<span>{where} of {total:,}</span>'
        f"{third}{fourth}</nav>"
    )
