"""What a run can be taken home as: each way out with its sentence, its size and how it stands."""

from collections.abc import Sequence
from html import escape
from typing import Any
from urllib.parse import quote

from ui import words
from ui.views.parts import button, clip, fold, link, nothing_yet, only_if

Way = dict[str, Any]
GROUPS = (
    ("For Python", ("adapter", "merged")),
    ("For Ollama, LM Studio and llama.cpp", ("gguf",)),
    ("To train it again yourself", ("kit",)),
)
"""Headings, and with what the ids of the formats below them begin."""
SELDOM = ("gguf-f16", "gguf-q6_k", "gguf-q5_k_m", "gguf-adapter", "kit-without-data")
"""In a fold, which is open once one of them is asked for."""
LONGEST = 400  # characters of an answer that are shown


def card(told: dict[str, Any]) -> str:
    if not told["can_be_made"]:
        return nothing_yet(
            "Take it home",
            "Once the run has finished, what it learned can be taken home: as an adapter, as a "
            "whole model, for Ollama and LM Studio, or as a program that trains it again.",
        )
    groups = "".join(
        f"<h3>{escape(title)}</h3>{_ways(told['id'], ways)}"
        for title, begins in GROUPS
        if (ways := [way for way in told["formats"] if way["format"].startswith(begins)])
    )
    return (
        '<section class="card fold take-home" aria-label="Take it home"><h2>Take it home</h2>'
        "<p>What it learned is yours. What answers is asked saved questions before it is offered, "
        f"and held beside the chat.</p>{groups}</section>"
    )


def _ways(run: str, ways: Sequence[Way]) -> str:
    often = "".join(_way(run, way) for way in ways if way["format"] not in SELDOM)
    seldom = [way for way in ways if way["format"] in SELDOM]
    asked = any(way["state"] != "none" or way["made"] for way in seldom)
    if not seldom:
        return often
    others = f"<summary>Others</summary>{''.join(_way(run, way) for way in seldom)}"
    return f'{often}<details class="others"{only_if(asked, " open")}>{others}</details>'


def _way(run: str, way: Way) -> str:
    return (
        f'<article class="way" aria-label="{escape(way["title"])}"><div class="what">'
        f"<h4>{escape(way['title'])}</h4><p>{escape(way['sentence'])}</p>{_stands(way)}</div>"
        f'<div class="do">{_buttons(run, way)}</div></article>'
    )


def _stands(way: Way) -> str:
    made = _made(way) if way["made"] else ""
    match way["state"]:
        case "waiting":
            return made + _making("Waiting until the device is free. You can close this page.", 0)
        case "making":
            done, of = way["done"], way["of"]
            counted = f" {done:,} of {of:,}." if of else ""
            said = f"{way['phase'] or 'Starting'}…{counted} You can close this page."
            return made + _making(said, round(100 * done / of) if of else 0)
        case "failed":
            return made + (
                f'<p class="told bad" role="status"><strong>It could not be prepared:</strong> '
                f"{escape(way['error'])} {escape(way['hint'])}</p>"
            )
    if made:
        return made
    if way["lacks"]:
        return f'<p class="small">{escape(way["lacks"])}</p>'
    return f'<p class="small">It will take {words.size(way["disk"])}.</p>'


def _making(said: str, share: int) -> str:
    return (
        f'<p class="small" role="status">{escape(said)}</p>'
        '<div class="bar" role="progressbar" aria-label="Preparing" '
        f'aria-valuenow="{share}" aria-valuemin="0" aria-valuemax="100">'
        f'<span style="width:{share}%"></span></div>'
    )


def _made(way: Way) -> str:
    made = way["made"]
    facts = f"{words.size(made['bytes'])} · prepared {words.when(made['at'])}"
    facts += only_if(made["is_folder"], " · packed on its way to you, and takes no more room here")
    stale = (
        '<p class="told warn"><strong>Of an earlier state:</strong> the run has learned on since. '
        "Prepare it anew.</p>"
    )
    return (
        _proof(made["proof"])
        + only_if(way["stale"], stale)
        + f'<p class="small">{facts}</p>'
        + fold("How that was found, and where it is", _details(made["proof"], made["place"]))
    )


def _proof(proof: dict[str, Any]) -> str:
    """The one line; nothing where nothing could be asked."""
    if "asked" not in proof:
        return ""
    asked, same, near = proof["asked"], proof["same"], proof["near"]
    beside = "in the chat" if proof["bits"] == "none" else "with the original in 16 bits"
    said = f"{same} of {asked} answers the same as {beside}"
    if near:
        parts = "part" if near > 1 else "parts"
        said += f"; {near} {parts} where the choice was so close that rounding turns it"
    if not proof["trusted"]:
        return (
            f'<p class="told bad" role="status"><strong>Not to be trusted:</strong> {said}. '
            "Where it differs stands below.</p>"
        )
    if "same_as_chat" in proof:
        bits = proof["bits"].removesuffix("bit")
        said += f"; {proof['same_as_chat']} as in the chat, which has the original in {bits} bits"
    return f'<p class="told good"><strong>Checked:</strong> {said}.</p>'


def _details(proof: dict[str, Any], path: str) -> str:
    told = ""
    if "asked" in proof:
        told = (
            f"<p>{proof['asked']} saved questions were answered by the chat and by what was "
            "prepared, loaded from its files alone, always with the likeliest next word.</p>"
        )
    told += "".join(_parted(one) for one in proof.get("parted", ()))
    if logits := proof.get("logits"):
        apart = "is the same"
        if logits["max"]:
            apart = f"differs by {logits['mean']:.2g} on average and {logits['max']:.2g} at most"
        told += (
            f"<p>At {logits['places']:,} places of these answers, what it thinks of each next word "
            f'<span class="small">logits</span> {apart}.</p>'
        )
    if leads := proof.get("leads"):
        told += (
            f"<p>Given the chat’s own words, it goes on with the chat’s next one at "
            f"{words.percent(leads['same_choices'])} of {leads['places']:,} places. By how much it "
            "finds the likeliest word likelier than the second is off by "
            f"{leads['usual']:.2g} usually, as a difference of logits; so where two answers part, "
            f"rounding may have turned a choice as close as {leads['allowed']:.2g}.</p>"
        )
    return f'{told}<p class="where">On this server: <code>{escape(path)}</code></p>'


def _parted(one: dict[str, Any]) -> str:
    margin = one["margin"]
    by = "a word that the chat would hardly say"
    if margin is not None:
        by = f"{words.short(margin)} less likely to the chat (as a difference of logits)"
    return (
        f'<div class="example"><p>{escape(clip(one["question"], LONGEST))}</p><dl>'
        f'<div class="tuned"><dt>The chat</dt><dd>{escape(clip(one["chat"], LONGEST))}</dd></div>'
        f'<div class="base"><dt>What was prepared</dt><dd>{escape(clip(one["artefact"], LONGEST))}'
        f'</dd></div></dl><p class="small">They part at word {one["word"]}: {by}.</p></div>'
    )


def _buttons(run: str, way: Way) -> str:
    id, made = escape(way["format"]), way["made"]
    download = ""
    if made:
        address = f"take-home/{quote(run)}/{quote(way['format'])}"  # ui.downloads
        download = link(address, "Download", "")
    if way["state"] in ("waiting", "making"):
        return download + button("cancel_export", "Cancel", id)
    if way["state"] == "failed":
        return download + button("make_export", "Try again", id)
    if not made:
        return "" if way["lacks"] else button("make_export", "Prepare", id)
    anew = way["stale"] or not made["proof"].get("trusted", True)
    return (
        download
        + only_if(anew and not way["lacks"], button("make_export", "Prepare anew", id))
        + button("delete_export", "Delete", id, "quiet")
    )
