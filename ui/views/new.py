"""New: the steps, the cards to choose from, the summary."""

from collections.abc import Sequence
from html import escape
from typing import Any

from ui import words
from ui.views.parts import CURRENT, button, facts, notice, only_if
from ui.views.settings import model_title

STEPS = ("Data", "Model", "Settings", "Review")
PRESETS = {
    "quick": "A first impression.",
    "balanced": "Right for most.",
    "thorough": "Learns longer and can change more.",
}


def stepper(active: int, done: Sequence[bool]) -> str:
    """The four steps; every one can be gone to."""
    items = "".join(
        f'<li class="{only_if(i == active, "active ")}{only_if(done[i], "done")}">'
        f'<button type="button" data-action="step" data-id="{i}"'
        f"{only_if(i == active, CURRENT)}><span>{'✓' if done[i] and i != active else i + 1}</span>"
        f"{title}</button></li>"
        for i, title in enumerate(STEPS)
    )
    return f'<ol class="stepper" aria-label="Steps">{items}</ol>'


def several() -> str:
    """The way to several runs instead of one."""
    return button("several", "Try several values", "", "quiet")


def onward(step: int) -> str:
    """Back and Next, below a step."""
    back = next = ""
    if step > 0:
        back = (
            f'<button type="button" class="button quiet" data-action="step" data-id="{step - 1}">'
            "Back</button>"
        )
    if step + 1 < len(STEPS):
        next = (
            f'<button type="button" class="button" data-action="step" data-id="{step + 1}">'
            f"Next: {STEPS[step + 1]}</button>"
        )
    return f'<div class="onward">{back}{next}</div>'


def hub_away() -> str:
    return notice(
        "The Hugging Face Hub can’t be reached: a model that is not on this computer can’t be "
        "fetched now.",
        "Connect to the internet, or choose a model that is here.",
        "warn",
    )


def sample_card(title: str, blurb: str) -> str:
    return f"<strong>{escape(title)}</strong><span>{escape(blurb)}</span>"


def model_card(model: dict[str, Any], reachable: bool = True) -> str:
    """One of the list, as the API tells it; `reachable`: whether the Hub answers."""
    known = [f"{words.parameters(model.get('parameters'))} parameters"]
    if model.get("bytes"):
        known.append(words.size(model["bytes"]))
    if model.get("licence"):
        known.append(model["licence"])
    return (
        f"<strong>{escape(model['title'])}</strong><span>{escape(model.get('blurb') or '')}</span>"
        f'<span class="small">{escape(" · ".join(known))}</span>{_tags(model, reachable)}'
    )


def _tags(model: dict[str, Any], reachable: bool) -> str:
    """Whether it is here or can be, and whether it fits."""
    tags = [_fits(model)]
    if model["slow"]:
        tags.append(("warn", "Slow without a GPU"))
    if model["local"]:
        tags.append(("good", "Here already"))
    elif not reachable:
        tags.append(("warn", "Can’t be fetched now"))
    if model["gated"] and not model["local"]:
        tags.append(("", "Needs a free account"))
    shown = (f'<span class="tag {kind}">{text}</span>' for kind, text in tags)
    return f'<span class="tags">{"".join(shown)}</span>'


def _fits(model: dict[str, Any]) -> tuple[str, str]:
    match model["memory"], model["memory_4bit"]:
        case "fits", _:
            return "good", "Fits"
        case _, "fits":
            return "good", "Fits with the memory saver"
        case "tight", _:
            return "warn", "Tight"
        case _, "tight":
            return "warn", "Tight with the memory saver"
    return "bad", "Does not fit"


def preset_card(name: str, seconds: float | None) -> str:
    time = f'<span class="small">{words.duration(seconds)}</span>' if seconds is not None else ""
    return f"<strong>{name.capitalize()}</strong><span>{PRESETS[name]}</span>{time}"


def summary(
    dataset: dict[str, Any] | None = None,
    config: dict[str, Any] | None = None,
    estimate: dict[str, Any] | None = None,
    changed: bool = False,
) -> str:
    """The card that always shows what will run. Without an estimate it says what it knows.
    `changed`: whether any setting is another than Graft would choose."""
    what = [("Examples", words.DASH), ("Model", words.DASH)]
    if dataset:
        what[0] = ("Examples", f"{escape(dataset['name'])} · {dataset['rows']:,}")
    if config:
        what[1] = ("Model", escape(model_title(config)))
        preset = escape(config["preset"].capitalize())
        what.append(("Settings", preset + only_if(changed, ", with changes")))
    verdict = ""
    if estimate:
        what += [
            ("Time", words.duration(estimate["seconds"])),
            ("Steps", f"{estimate['steps']:,}"),
            ("Download", words.size(estimate["adapter_bytes"])),
        ]
        memory = estimate["memory_bytes"]
        kind = {"fits": "good", "tight": "warn", "does not fit": "bad"}[estimate["fits"]]
        verdict = (
            f'<p class="verdict"><span class="pill {kind}">{estimate["fits"].capitalize()}</span>'
            f'<span class="small">{words.size(memory["total"])} of '
            f"{words.size(memory['available'])} memory</span></p>"
            + "".join(f'<p class="small">{escape(text)}</p>' for text in estimate["advice"])
            + remedies(estimate["remedies"])
        )
    if dataset and dataset.get("verdict") == "not yet":
        verdict += f'<p class="small"><strong>Not yet.</strong> {escape(dataset["why"])}</p>'
    return f'<h2>What will run</h2><dl class="facts">{facts(what)}</dl>{verdict}'


REMEDIES = {
    "quantization": "Use the memory saver (4-bit)",
    "gradient_checkpointing": "Compute twice, keep less",
    "tokens_at_once": "Take {} tokens at once",
    "max_length": "Shorten examples to {} tokens",
}


def remedies(found: Sequence[dict[str, Any]]) -> str:
    """Buttons that change one setting each, with what it saves and what it costs."""
    buttons = []
    for remedy in found:
        then = {"fits": ", then it fits", "tight": ", then it is tight"}.get(remedy["fits"], "")
        cuts = f". Cuts {words.amount(remedy['cuts'], 'example')}" if remedy["cuts"] > 0 else ""
        label = REMEDIES[remedy["field"]].format(remedy["value"])
        buttons.append(
            f'<button type="button" class="remedy" data-action="{remedy["field"]}" '
            f'data-id="{remedy["value"]}"><strong>{label}</strong>'
            f'<span class="small">Saves {words.size(remedy["saves"])}{then}{cuts}</span></button>'
        )
    if not buttons:
        return ""
    return f'<div class="remedies"><h3>What makes it smaller</h3>{"".join(buttons)}</div>'


def changing(estimate: dict[str, Any]) -> str:
    """How many parameters learn, in how many parts, and what the adapter weighs."""
    learn, every = estimate["trainable_parameters"], estimate["total_parameters"]
    share = words.percent(learn / every) if learn >= 0.01 * every else "under 1 %"
    told = f"{learn:,} parameters learn ({share})"
    if estimate["config"]["method"] not in ("full", "prefix"):
        told += f", in {estimate['modules']:,} of {estimate['total_modules']:,} parts"
    told += f"; {every:,} stay as they are" if learn < every else ""
    size = words.size(estimate["adapter_bytes"])
    return f'<p class="changing" role="status">{told}. The download: {size}.</p>'


def nothing_to_review() -> str:
    return (
        '<p class="nothing">Choose your examples first: then everything stands here in words.</p>'
    )
