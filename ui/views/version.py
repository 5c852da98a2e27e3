"""The versions of a family as cards: what each scores, what changed, and making it current."""

from collections.abc import Iterable
from html import escape
from urllib.parse import quote

from core.verdict import GUARDS, MEASURES
from ui import words
from ui.views.library import STATES, Told
from ui.views.origin import in_words
from ui.views.parts import button, link, only_if
from ui.views.report import GUARD_TONES
from ui.views.rows import turns

LONGEST = 400  # characters of a row that is shown


def versions(family: Told) -> str:
    cards = "".join(_version(family, version) for version in family["versions"])
    return f'<h2>Versions</h2><div class="rows versions">{cards}</div>'


def _version(family: Told, version: Told) -> str:
    number = version["number"]
    run = f'<a href="runs?run={quote(version["run"])}">{escape(version["run_name"])}</a>'
    if version["state"] in ("trashed", "deleted"):
        run = escape(version["run_name"])
    base = escape(version["base_model"])
    tags = "".join(f'<span class="tag">{escape(tag)}</span> ' for tag in version["tags"])
    notes = only_if(version["notes"], f'<p class="notes">{escape(version["notes"])}</p>')
    is_current = number == family["current"]
    return (
        f'<article class="card version{only_if(is_current, " current")}" '
        f'aria-label="Version {number}"><div class="named"><h3>Version {number}</h3>'
        f"{_marks(family, version)}{tags}</div>"
        f'<p class="small">{" · ".join(filter(None, (words.when(version["at"]), run, base)))}</p>'
        f"{_scores(version)}<p>{escape(one_line(version))}</p>{notes}"
        f"{_findings(version['findings'])}{_actions(family, version)}"
        f"{_changes(version['changes'])}{_form(family, version)}</article>"
    )


def _marks(family: Told, version: Told) -> str:
    number, marks = version["number"], ""
    if number == family["current"]:
        marks += '<span class="pill good">Current</span>'
    elif number == family["previous"]:
        marks += '<span class="pill">Previous</span>'
    if (rollout := family["rollout"]) and rollout["number"] == number:
        marks += f'<span class="pill running">Answers {rollout["share"]:g} %</span>'
    if version["state"] in STATES:
        tone, label = STATES[version["state"]]
        marks += f'<span class="pill {tone}">{label}</span>'
    return marks


def _scores(version: Told) -> str:
    if (scores := version["scores"]) is None:
        return ""
    told = []
    if scores["score"] is not None:
        measure = MEASURES[scores["kind"]]
        told.append(f"<strong>{100 * scores['score']:.0f} of 100</strong> {measure}")
    if scores["loss"] is not None:
        told.append(f"loss {words.loss(scores['loss'])}")
    guard = ""
    if scores["guard"]:
        tone = GUARD_TONES[scores["guard"]]
        guard = f'<span class="pill {tone}">{GUARDS[scores["guard"]].capitalize()}</span>'
    told = ", ".join(told)
    if not scores["summary"]:
        card = "Its report card is being made." if _is_busy(version) else "No report card yet."
        told = f"{told}. {card}" if told else card
    return f'<p class="scores">{told} {guard}</p>'


def _is_busy(version: Told) -> bool:
    return version["report"] in ("waiting", "making")


def one_line(version: Told) -> str:
    """What changed since the version before it; or where it comes from, if that is elsewhere."""
    if (changed := version["changes"]) is None:
        return in_words(version["origin"])
    told = []
    if changed["added"]:
        told.append(f"+{words.amount(changed['added'], 'example')}")
    if changed["removed"]:
        told.append(f"−{words.amount(changed['removed'], 'example')}")
    told += [
        f"{one['title'][0].lower()}{one['title'][1:]} {one['before']} → {one['after']}"
        for one in changed["settings"][:2]
    ]
    if more := len(changed["settings"]) - 2:
        told += [words.amount(more, "more setting")] * (more > 0)
    same = "the same examples and settings"
    return f"Since version {changed['since']}: {', '.join(told) or same}."


def _findings(findings: Iterable[Told]) -> str:
    """What the gate says."""
    items = "".join(
        f'<li class="{"passed" if finding["passed"] else "failed"}">{escape(finding["text"])}</li>'
        for finding in findings
    )
    return only_if(items, f'<ul class="gate-says" aria-label="Gate">{items}</ul>')


def _actions(family: Told, version: Told) -> str:
    number, state = version["number"], version["state"]
    if state == "trashed":
        back = button("put_back", "Put it back", escape(version["trash"]))
        return f'<div class="buttons">{back}</div>'
    if state != "there":
        return ""
    made = ""
    if number != family["current"]:
        made = button("current", "Make current", str(number)) if passes(version) else ""
        made += _try(family, version)
    made += _report_cards(family, version)
    if version["continues"]:
        made += link(f"new?onward={quote(version['run'])}", "Teach it more")
    made += link(f"runs?run={quote(version['run'])}#take-home", "Take it home")
    return f'<div class="buttons">{made}</div>'


def _report_cards(family: Told, version: Told) -> str:
    """Ways to those that are missing: its own, and the current one's where the gate asks for it."""
    asked = {id for finding in version["findings"] for id in finding["lacks_card"]}
    made = ""
    for other in family["versions"]:
        is_own = other["run"] == version["run"]
        if (is_own or other["run"] in asked) and other["report"] in ("none", "failed"):
            whose = "its report card" if is_own else "the current one’s report card"
            kind = "" if asked else "quiet"
            made += button("make_report", f"Make {whose}", escape(other["run"]), kind)
    return made


def passes(version: Told) -> bool:
    return all(finding["passed"] for finding in version["findings"])


def _try(family: Told, version: Told) -> str:
    beside = ""
    for other in family["versions"]:
        if other["number"] == family["current"] and other["state"] == "there":
            beside = f"&with={quote(other['run'])}"
    if version["base_model"] and len(family["bases"]) > 1:
        beside = ""
    label = "Compare with current" if beside else "Try it"
    return link(f"compare?run={quote(version['id'])}{beside}", label, "")


def _changes(changed: Told | None) -> str:
    """A look at the rows and all settings that differ, folded."""
    if changed is None or not (changed["added"] or changed["removed"] or changed["settings"]):
        return ""
    html = ""
    for kind, word in (("added", "New examples"), ("removed", "Examples that went")):
        if changed[kind]:
            shown = changed[f"first_{kind}"]
            rows = "".join(f'<div class="chat">{turns(row, LONGEST)}</div>' for row in shown)
            rest = changed[kind] - len(shown)
            more = only_if(rest > 0, f'<p class="small">And {rest:,} more.</p>')
            html += f"<h4>{word}</h4>{rows}{more}"
    if changed["settings"]:
        rows = "".join(
            f"<tr><th scope=row>{escape(one['title'])}</th><td>{escape(one['before'])}</td>"
            f"<td>{escape(one['after'])}</td></tr>"
            for one in changed["settings"]
        )
        html += (
            '<h4>Settings</h4><div class="table facts" tabindex="0" role="region" '
            f'aria-label="Settings"><table><thead><tr><th></th><th scope="col">Version '
            f'{changed["since"]}</th><th scope="col">This one</th></tr></thead>'
            f"<tbody>{rows}</tbody></table></div>"
        )
    if not changed["comparable"]:
        html += (
            '<p class="small">They were not tested on the same examples: their losses can’t be '
            "compared.</p>"
        )
    return (
        f'<details class="more-of-it"><summary>What changed since version {changed["since"]}'
        f"</summary>{html}</details>"
    )


def _form(family: Told, version: Told) -> str:
    number = version["number"]
    may_be_current = version["state"] == "there" and number != family["current"]
    why = (
        f'<label><span>Why it becomes current</span><input type="text" data-field="why" '
        f'data-key="{number}" data-clear placeholder="Kept in the log"></label>'
    )
    override = title = ""
    if may_be_current and not passes(version):
        override = (
            '<details class="more-of-it"><summary>Make it current all the same</summary>'
            f'<div class="line-form">{why}{button("override", "Override the gate", str(number))}'
            "</div></details>"
        )
    elif may_be_current:
        title = "Reason, notes and tags"
    return (
        f'{override}<details class="more-of-it"><summary>{title or "Notes and tags"}</summary>'
        f'<div class="typed">{why if title else ""}'
        f'<label><span>Notes</span><textarea rows="2" data-field="notes" data-key="{number}">'
        f"{escape(version['notes'])}</textarea></label>"
        f'<label><span>Tags, with commas between</span><input type="text" data-field="tags" '
        f'data-key="{number}" value="{escape(", ".join(version["tags"]))}"></label>'
        f'<div class="buttons">{button("describe", "Save notes and tags", str(number))}</div></div>'
        "</details>"
    )
