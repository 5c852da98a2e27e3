"""Bringing an adapter: what was recognised, and what of it does not fit."""

from collections.abc import Iterable
from html import escape

from core.bring_adapter import Look
from core.methods import METHODS
from core.peft_format import Adapter
from ui import words
from ui.views.parts import facts, notice, only_if

SHOWN = 6  # names of parts


def what_to_bring() -> str:
    return (
        '<p class="small">A zip of the adapter’s folder, or adapter_config.json and '
        "adapter_model.safetensors together. LoRA, rsLoRA, DoRA, (IA)³ and prefixes; safetensors "
        "only.</p>"
    )


def recognised(source: str, found: Look) -> str:
    """What was brought, and how it stands with the base model."""
    return (
        f'<section class="card recognised"><div><h2>{escape(source)}</h2>'
        f'<dl class="settings">{facts(_facts(found.adapter))}</dl></div>{_verdict(found)}</section>'
    )


def _facts(adapter: Adapter) -> Iterable[tuple[str, str]]:
    config, method = adapter.config, METHODS[adapter.method]
    yield "Way of learning", escape(method.title)
    if adapter.ranks:
        ranks = sorted(set(adapter.ranks.values()))
        told = words.short(ranks[0]) if len(ranks) == 1 else f"{ranks[0]} to {ranks[-1]}"
        yield 'How much it could learn <span class="small">rank</span>', told
        alpha = words.short(config.lora_alpha)
        yield 'How strongly it speaks <span class="small">alpha</span>', alpha
    if adapter.modules:
        short = list(dict.fromkeys(name.rsplit(".", 1)[-1] for name in adapter.modules))
        named = ", ".join(short[:SHOWN]) + only_if(len(short) > SHOWN, " …")
        layers = words.amount(adapter.layers, "layer")
        yield "Parts that it changes", escape(f"{len(adapter.modules)} in {layers}: {named}")
    elif config.num_virtual_tokens:
        yield "Invisible beginning", words.amount(config.num_virtual_tokens, "token")
    yield "Size", f"{words.size(adapter.bytes)}, {words.parameters(adapter.parameters)} parameters"
    yield "Made for", escape(adapter.made_for[:200]) or "it does not say"


def _verdict(found: Look) -> str:
    if found.base is None:
        named = found.adapter.made_for[:200]
        return notice(
            f"None of the models on this machine fits it{only_if(named, f'. It names {named}')}.",
            "If the model that it was made for is in a folder here, write its path below. If not, "
            "start a training with it on New, which downloads it, and come back to this page: what "
            "you brought stays for a day.",
            kind="warn",
        )
    if found.problem:
        return notice(found.problem, "Choose the model that it was made for.")
    notes = "".join(f"<li>{escape(note)}</li>" for note in found.notes)
    return notice(
        f"It fits {found.base.title}.", kind="good", action=f'<ul class="notes">{notes}</ul>'
    )
