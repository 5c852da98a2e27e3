"""How a family's versions do over time, and a rollout from one to another."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any
from urllib.parse import quote

from core.health import FEWEST_THUMBS
from core.refusals import RULE
from ui import words
from ui.views.parts import button, fold, link, notice, only_if
from ui.views.version import passes

Told = Mapping[str, Any]
MEDIANS = "Words and speed are medians: half of the answers have more."


# ---- the rollout


def rollout(family: Told, health: Told) -> str:
    """The share that goes to a candidate, and how both do; or the way to begin one. Nothing as long
    as there is no second version that could answer."""
    others = [
        version
        for version in family["versions"]
        if version["state"] == "there" and version["number"] != family["current"]
    ]
    if not others or family["current"] is None:
        return ""
    if (running := family["rollout"]) is None:
        return (
            '<section class="card fold" aria-label="Gradual rollout"><h2>Gradual rollout</h2>'
            "<p>Let another version answer a share of the requests first, and see how its answers "
            "are rated. The same person gets the same version each time.</p>"
            f"{_begin(others)}</section>"
        )
    number, ended = str(running["number"]), button("end", "End the rollout", "")
    made = button("current", f"Make version {number} current", number, "primary")
    if any(v["number"] == running["number"] and not passes(v) for v in others):
        made = "<p>It does not pass the gate: its card above says why, and can override it.</p>"
    return (
        '<section class="card fold" aria-label="Gradual rollout"><h2>Gradual rollout</h2>'
        f"<p>Version {number} answers {running['share']:g} % of requests since "
        f"{words.when(running['since'])}; version {family['current']} the rest.</p>"
        f'<div class="typed">{_share(running["share"])}<div class="buttons">'
        f"{button('rollout', 'Change the share', number)}</div></div>"
        f"{_both(health['rollout'], health['keeping'])}{_votes(family, health['rollout'])}"
        f'<div class="buttons spaced">{made}{ask_both(family["name"], running["number"])}{ended}'
        "</div></section>"
    )


def ask_both(name: str, candidate: int) -> str:
    """The way to Compare, where both versions answer and thumbs count for each."""
    return link(f"compare?run={quote(name)}&with={quote(f'{name}@{candidate}')}", "Ask both", "")


def rolled_out(name: str, current: int, rollout: Told) -> str:
    """In Compare, where the family’s name stands for the current version."""
    return notice(
        f"Version {current} answers here. Version {rollout['number']} is rolled out to "
        f"{rollout['share']:g} % of what programs ask.",
        kind="warn",
        action=f'<div class="buttons">{ask_both(name, rollout["number"])}</div>',
    )


def _begin(others: Sequence[Told]) -> str:
    options = "".join(
        f'<option value="{version["number"]}">Version {version["number"]}, '
        f"{escape(version['run_name'])}</option>"
        for version in others
    )
    why = (
        '<label><span>Why</span><input type="text" data-field="reason" data-clear '
        'placeholder="Kept in the log"></label>'
    )
    failing = [str(version["number"]) for version in others if not passes(version)]
    override = ""
    if failing:
        which = words.listed(failing)
        override = (
            '<label class="check"><input type="checkbox" data-field="override"><span>Although the '
            f"gate is not passed (version {which}); say why above</span></label>"
        )
    return (
        f'<div class="typed"><label><span>Which version</span><select data-field="candidate">'
        f"{options}</select></label>{_share(10)}{why}{override}"
        f'<div class="buttons">{button("rollout", "Begin the rollout", "")}</div></div>'
    )


def _share(share: float) -> str:
    return (
        '<label><span>Its share of the requests</span><span class="slider">'
        f'<input type="range" data-field="share" min="1" max="100" value="{share:g}" '
        "oninput=\"this.nextElementSibling.value = this.value + ' %'\">"
        f"<output>{share:g} %</output></span></label>"
    )


def _both(told: Told | None, keeping: Told) -> str:
    if told is None:
        return ""
    if not keeping["answers"]:
        return (
            '<p class="small">Ratings are not kept: turn them on under Health to see which of '
            "the two is liked better.</p>"
        )
    rows = "".join(_side(told[side], side) for side in ("candidate", "current"))
    return (
        '<div class="table facts" tabindex="0" role="region" aria-label="Both versions"><table>'
        '<thead><tr><th></th><th scope="col">Answers</th><th scope="col">Thumbs up</th>'
        '<th scope="col">Likely between</th><th scope="col">Declined</th>'
        f'<th scope="col">Words</th></tr></thead><tbody>{rows}</tbody></table></div>'
        f"<p>{escape(_verdict(told))}</p>"
        '<p class="small">Only what was answered since the rollout began. The range holds what '
        "very many ratings would show, with 95 % confidence (Wilson); the difference is tested "
        "exactly (Fisher). Looking again and again gives luck more chances.</p>"
    )


def _side(side: Told, name: str) -> str:
    liked = side["liked"]
    rated = f"{side['up']} of {side['up'] + side['down']}" if liked else words.DASH
    likely = f"{words.percent(liked[1])} to {words.percent(liked[2])}" if liked else words.DASH
    return (
        f'<tr><th scope="row">Version {side["number"]} <span class="small">{name}</span></th>'
        f"<td>{side['answers']:,}</td><td>{rated}</td><td>{likely}</td>{_figures(side)}</tr>"
    )


def _verdict(told: Told) -> str:
    if not told["enough"]:
        return f"Not yet clear: it takes {FEWEST_THUMBS} ratings of each at least."
    chance = _rarely(told["chance"])
    if told["better"] is None:
        return f"Not yet clear: equals come out so uneven {chance}."
    better = told[told["better"]]["number"]
    return f"Version {better} is liked better: equals come out so uneven {chance} only."


def _votes(family: Told, rollout: Told | None) -> str:
    """The blind votes of both, or where they are given."""
    if rollout is None:
        return ""
    if (votes := rollout["votes"]) is None:
        runs = {version["number"]: version["run"] for version in family["versions"]}
        ways = " and ".join(
            f'<a href="vote?run={quote(runs[number])}">on version {number}</a>'
            for number in (rollout["candidate"]["number"], rollout["current"]["number"])
        )
        return (
            "<p>Blind votes against the original are held beside each other here once both have "
            f"some: vote {ways}.</p>"
        )
    told = ", ".join(
        f"the {side} won {votes[side]['wins']} of {votes[side]['wins'] + votes[side]['losses']}"
        for side in ("candidate", "current")
    )
    clear = "a clear difference" if votes["clear"] else "no clear difference"
    return f"<p>Blind votes against the original: {told}; {clear} between the two.</p>"


def _rarely(chance: float) -> str:
    if chance < 0.005:
        return "in fewer than 1 of 100 cases"
    return f"in {max(1, round(100 * chance))} of 100 cases"


# ---- over time


def health(told: Told) -> str:
    """By week, what to mind, and what is kept."""
    keeping = told["keeping"]
    shown = _weeks(told["weeks"]) if told["weeks"] else ""
    if keeping["answers"] and not shown:
        shown = (
            "<p>Nothing was answered since then. Ask it something in Compare, and say what you "
            "think of the answer.</p>"
        )
    lead = "" if keeping["answers"] or shown else (
        "<p>See week by week whether its answers stay good. For that, ratings and a few figures of "
        "each answer are kept on this machine; nothing is unless you say so.</p>"
    )  # fmt: skip
    return (
        '<section class="card fold" aria-label="Health"><h2>Health</h2>'
        f"{lead}{''.join(map(_warning, told['warnings']))}{shown}{_keeping(told)}</section>"
    )


def _weeks(weeks: Sequence[Told]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{words.date(week["begins"])} <span class="small">'
        f"{_versions(week['versions'])}</span></th>"
        f"<td>{week['answers']:,}</td><td>{week['up']:,}</td><td>{week['down']:,}</td>"
        f"{_figures(week)}<td>{_speed(week['speed'])}</td></tr>"
        for week in weeks
    )
    return (
        '<div class="table facts" tabindex="0" role="region" aria-label="By week"><table><thead>'
        '<tr><th scope="col">Week of</th><th scope="col">Answers</th><th scope="col">Good</th>'
        '<th scope="col">Bad</th><th scope="col">Declined</th><th scope="col">Words</th>'
        f'<th scope="col">Speed</th></tr></thead><tbody>{rows}</tbody></table></div>'
        f"{fold('How this is counted', f'<p>{RULE} {MEDIANS}</p>')}"
    )


def _versions(numbers: Sequence[int]) -> str:
    return f"version{only_if(len(numbers) > 1, 's')} {words.listed([str(n) for n in numbers])}"


def _figures(told: Told) -> str:
    """(declined, words) as cells."""
    if not told["answers"]:
        return f"<td>{words.DASH}</td><td>{words.DASH}</td>"
    return (
        f"<td>{words.percent(told['declined'] / told['answers'])}</td><td>{told['words']:.0f}</td>"
    )


def _speed(speed: float | None) -> str:
    return f"{speed:.0f} tokens/s" if speed else words.DASH


def _warning(warning: Told) -> str:
    lately = f"of its last {warning['answers']:,} answers, in four weeks at most"
    if warning["kind"] == "declined":
        text = (
            f"It declines {words.percent(warning['now'])} {lately}; "
            f"{words.percent(warning['before'])} of those in its report card."
        )
    else:
        how = "longer" if warning["now"] > warning["before"] else "shorter"
        text = (
            f"Its answers have become {how}: {warning['now']:.0f} words in the middle {lately}; "
            f"{warning['before']:.0f} in its report card."
        )
    hint = (
        f"Chance alone does that {_rarely(warning['chance'])}. What people ask may have changed: "
        "look at some answers, and teach it what is missing."
    )
    return notice(text, hint, kind="warn")


def _keeping(told: Told) -> str:
    keeping = told["keeping"]
    boxes = "".join(
        f'<label class="check"><input type="checkbox" data-field="{field}"'
        f"{only_if(keeping[field], ' checked')}><span>{label}</span></label>"
        for field, label in (
            ("answers", "Keep ratings, and length, time and refusal of each answer"),
            ("texts", "Keep the questions and answers themselves, too"),
        )
    )
    forget = ""
    if told["texts"]:
        label = f"Forget the {words.amount(told['texts'], 'text')}"
        forget = button("forget", label, "", "quiet bad")
    return (
        f'<div class="typed keeping">{boxes}<p class="small">For all your families. It begins with '
        "the next answer in Compare that a version gives at its full strength.</p>"
        f'<div class="buttons">{button("keep_answers", "Save this choice", "")}{forget}</div></div>'
    )
