"""Bringing examples: what was recognised, and the questions that a file leaves open.

The questions are fields of one form (ui.parts.fields): data-field names an option of the import,
data-key its key where the option is a dict, data-json marks a value that is not text.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from html import escape
from typing import Any

from ui import words
from ui.views.parts import button, clip, only_if
from ui.views.rows import shape

PARTS = {
    "ignore": "Leave out",
    "user": "Question",
    "assistant": "Answer",
    "system": "Instruction",
    "label": "Label",
    "text": "Plain text",
}
JOINED = {"user": "Question", "assistant": "Answer", "system": "Instruction"}
LEVELS = {"error": "Left out", "warning": "Look at", "info": "Noted"}
MAPPED = ("pairs", "instruction", "classification", "text")  # shapes of a table's columns
SHOWN = 5  # rows of a table
CHOICES = {
    "sheets": ("sheet", "Which sheet?"), "lists": ("sheet", "Which list?"),
    "members": ("member", "Which files?"), "configs": ("config", "Which part?"),
    "splits": ("split", "Which split?"),
    "speakers": ("speaker", "Whose answers are to be learned?"),
}  # fmt: skip
"""What there may be several of -> the option of the import that chooses, and the question."""
ENCODING = '<span class="small">encoding</span>'


def recognised(facts: Mapping[str, Any]) -> str:
    """What was found in a file, in words, with what was noted while it was read."""
    columns = ""
    if facts.get("columns") and facts["shape"] in MAPPED:
        columns = button("columns", "Change the columns", "", "quiet")
    held = f" {facts['held_out']:,} more are kept back for tests." if facts.get("held_out") else ""
    return (
        f'<div class="card recognised"><div><h2>{escape(facts["name"])}</h2>'
        f"<p>{words.amount(facts['rows'], 'example')}: {shape(dict(facts))}.{held}</p></div>"
        f'<div class="buttons">{columns}'
        f"{button('change', 'Choose other examples', '', 'quiet')}</div>"
        f"{noted(facts.get('findings', []))}</div>"
    )


def too_large(most: int) -> str:
    """Hidden until a file of more than so many bytes is chosen (upload.js)."""
    return (
        f'<div class="too-large notice bad" role="alert" data-most="{most}" hidden>'
        '<strong class="word">Problem</strong><div><p>“<span class="name"></span>” has '
        f'<span class="size"></span>, and a file may have {words.size(most)} at most.</p>'
        "<p>Nothing was uploaded. Zip it, which makes text much smaller, or bring a part of it.</p>"
        "</div></div>"
    )


def tested(facts: Mapping[str, Any]) -> str:
    """With what a run of this dataset is tested."""
    if facts.get("held_out"):
        rows = words.amount(facts["held_out"], "example")
        column = facts.get("split_column")
        where = f", as the column “{escape(column)}” says" if column else ""
        line = f"{rows} of their own are for tests{where}. They are never learned from."
    else:
        line = "Graft keeps some examples back and tests with them what was learned."
    return f"<section><h2>How it is tested</h2><p>{line}</p></section>"


def noted(findings: Iterable[Mapping[str, Any]]) -> str:
    """What an import says about a file and its lines."""
    found = "".join(
        f'<li class="{f["level"]}"><span class="tag">{LEVELS[f["level"]]}</span>'
        f"<div>{escape(f['text'])}{_left_out(f)}</div></li>"
        for f in findings
    )
    return f'<ul class="findings" aria-label="Findings">{found}</ul>' if found else ""


def _left_out(finding: Mapping[str, Any]) -> str:
    """What stands in the first lines that were left out, folded."""
    examples = finding.get("examples") or ()
    if not examples:
        return ""
    lines = "".join(
        f'<li><span class="small">{example["row"]:,}</span><code>{escape(example["text"])}</code>'
        "</li>"
        for example in examples
    )
    summary = "Show it" if finding["count"] == 1 else "Show them"
    if len(examples) < finding["count"]:
        summary = f"Show the first {len(examples)}"
    return (
        f'<details class="left-out"><summary>{summary}</summary>'
        f'<ul class="examples">{lines}</ul></details>'
    )


def progress(share: float, what: str) -> str:
    """Long work as it goes."""
    done = min(100, round(100 * share))
    return (
        f'<div class="working" role="status"><p>{escape(what)} '
        f'<span class="small">{done} %</span></p><div class="bar" role="progressbar" '
        f'aria-label="{escape(what)}" aria-valuenow="{done}" aria-valuemin="0" '
        f'aria-valuemax="100"><span style="width:{done}%"></span></div></div>'
    )


# ---- open questions


def mapping(table: Mapping[str, Any], encodings: Mapping[str, str], new: bool = True) -> str:
    """The first rows as a table, with a part above each column, and how the file is to be read.

    `table`: columns, preview, mapping, templates, header, sheets, sheet, encoding, split_column.
    """
    label = "Use these columns" if new else "Read it again like this"
    keep = "Choose another file" if new else "Keep it as it is"
    return (
        f'<section class="mapping" aria-label="Columns"><h3>Which column is what?</h3>'
        f"{_table(table)}"
        f'<div class="reading">{_header(table)}{_sheet(table)}{_encoding(table, encodings)}'
        f"{_split(table)}</div>{_templates(table)}"
        f'<div class="buttons">{button("use", label, "", "primary")}'
        f"{button('drop', keep, '', 'quiet')}</div></section>"
    )


def _table(table: Mapping[str, Any]) -> str:
    heads = []
    for column in table["columns"]:
        chosen = table["mapping"].get(column, "ignore")
        options = "".join(
            f'<option value="{part}"{only_if(part == chosen, " selected")}>{label}</option>'
            for part, label in PARTS.items()
        )
        heads.append(
            f'<th><label><span>{escape(column)}</span><select data-field="mapping" '
            f'data-key="{escape(column)}">{options}</select></label></th>'
        )
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(clip(str(cell), 160))}</td>" for cell in row) + "</tr>"
        for row in table["preview"][:SHOWN]
    )
    return (
        f'<div class="table" tabindex="0" role="region" aria-label="The first rows"><table>'
        f"<thead><tr>{''.join(heads)}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _header(table: Mapping[str, Any]) -> str:
    if table.get("header") is None:
        return ""
    return _select(
        "header",
        "The first row",
        [(True, "is the columns' names"), (False, "is an example")],
        table["header"],
    )


def _sheet(table: Mapping[str, Any]) -> str:
    sheets = table.get("sheets") or []
    if len(sheets) < 2:
        return ""
    chosen = table.get("sheet")
    choices: list[tuple[Any, str]] = [] if chosen else [(None, "The first with rows")]
    return _select("sheet", "Sheet or list", choices + [(name, name) for name in sheets], chosen)


def _encoding(table: Mapping[str, Any], encodings: Mapping[str, str]) -> str:
    used = str(table.get("encoding") or "binary")
    if used == "binary":
        return ""
    known = used if used in encodings else None
    choices: list[tuple[Any, str]] = [] if known else [(None, f"As found ({used})")]
    return _select("encoding", f"Letters {ENCODING}", choices + list(encodings.items()), known)


def _split(table: Mapping[str, Any]) -> str:
    choices = [("", "No column"), *((column, column) for column in table["columns"])]
    return _select(
        "split_column", "Column that says which rows are for tests", choices,
        table.get("split_column") or "", rereads=False,
    )  # fmt: skip


def _select(
    field: str, label: str, choices: Iterable[tuple[Any, str]], chosen: Any, rereads: bool = True
) -> str:
    """`rereads`: whether other columns may come of it, so that the form has to be made anew."""
    options = "".join(
        f'<option value="{escape(json.dumps(value))}"{only_if(value == chosen, " selected")}>'
        f"{escape(text)}</option>"
        for value, text in choices
    )
    return (
        f'<label><span>{label}</span><select data-field="{field}" data-json'
        f"{only_if(rereads, ' data-rereads')}>{options}</select></label>"
    )


def _templates(table: Mapping[str, Any]) -> str:
    """Texts that join several columns, folded unless there are some."""
    written = table.get("templates") or {}
    columns = table["columns"]
    names = " ".join(f"{{{column}}}" for column in columns[:6])
    like = " ".join(f"{column}: {{{column}}}" for column in columns[:2])
    fields = "".join(
        f'<label><span>{label}</span><textarea rows="2" data-field="templates" data-key="{role}" '
        f'placeholder="For example: {escape(like)}">{escape(written.get(role, ""))}</textarea>'
        "</label>"
        for role, label in JOINED.items()
    )
    return (
        f"<details{only_if(written, ' open')}><summary>Join several columns into one text</summary>"
        f'<p class="small">Write the text, with the columns\' names in braces: {escape(names)}. '
        f'What is left empty follows the table above.</p><div class="joined">{fields}</div>'
        "</details>"
    )


def kept(options: Mapping[str, Any], fields: Collection[str] = ()) -> str:
    """What was said before, but for the form's own `fields`, so that no question takes it back."""
    return "".join(
        f'<input type="hidden" data-field="{escape(name)}" data-json '
        f'value="{escape(json.dumps(value))}">'
        for name, value in options.items()
        if name not in fields and name != "bad_at_most"
    )


def choice(kind: str, names: Sequence[str]) -> str:
    """Which of the sheets or lists, the files of an archive, the splits of a Hub dataset, those who
    speak."""
    field, title = CHOICES[kind]
    several = kind == "members"
    box = "checkbox" if several else "radio"
    marked = " data-list" if several else " data-json"
    offered = [(name, name) for name in names]
    if kind == "speakers":
        offered.append(("", "None of them: it is plain text"))
    choices = "".join(
        f'<label class="line"><input type="{box}" name="{field}" data-field="{field}"{marked} '
        f'value="{escape(name if several else json.dumps(name))}"'
        f"{only_if(i == 0 and not several, ' checked')}><span>{escape(label)}</span></label>"
        for i, (name, label) in enumerate(offered)
    )
    note = '<p class="small">Several are joined into one dataset.</p>' if several else ""
    return (
        f'<fieldset class="pick"><legend>{title}</legend>{choices}</fieldset>{note}'
        f'<div class="buttons">{button("use", "Read this", "", "primary")}'
        f"{button('drop', 'Choose another file', '', 'quiet')}</div>"
    )


def consent(good: int, bad: int, findings: Iterable[Mapping[str, Any]]) -> str:
    """Many rows can't be used: whether to go on is the person's decision."""
    left_out = [finding for finding in findings if finding["level"] == "error"]
    return (
        f'<section class="consent">{noted(left_out)}<div class="buttons">'
        f"{button('go-on', f'Go on with the {good:,} good ones', '', 'primary')}"
        f"{button('drop', 'Choose another file', '', 'quiet')}</div></section>"
    )
