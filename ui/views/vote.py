"""The blind vote: two answers without names, the verdict, and then which was which."""

from collections.abc import Sequence
from html import escape
from urllib.parse import quote

from core.ballots import Ballots, Pair, Vote
from core.votes import Tally
from ui import words
from ui.views.parts import (
    button,
    clip,
    facts,
    fold,
    invitation,
    link,
    notice,
    only_if,
    stands_before,
)

BUTTONS = (
    ("left", "Left", "1 ArrowLeft"),
    ("right", "Right", "2 ArrowRight"),
    ("tie", "Tie", "3"),
    ("bad", "Both bad", "4"),
)
HEADLINES = {
    "better": "Yours is better",
    "worse": "The original is better",
    "even": "As good as each other",
    "unclear": "Not yet clear",
}
GIVEN = {"tuned": "yours", "base": "the original", "tie": "tie", "bad": "both bad"}


def ballot(pair: Pair, state: Ballots, expected: str = "") -> str:
    """Two answers to vote on. Nothing in it tells which is whose."""
    told = stands_before(pair.messages[:-1])
    if expected:
        told += fold("The answer in your examples", f"<p>{escape(expected)}</p>")
    votes = "".join(
        f'<button type="button" class="button" data-action="{choice}" data-id="{pair.id}" '
        f'data-keys="{keys}">{label} <kbd>{keys[0]}</kbd></button>'
        for choice, label, keys in BUTTONS
    )
    left, right = (pair.answers[side].strip() for side in (pair.left, pair.right))
    same = '<p class="small">Both say the same: a tie.</p>' if left == right else ""
    return _stack(
        f"{_so_far(state)}{_question(pair.question)}{told}"
        f'<div class="duel">{_side("Left", left)}{_side("Right", right)}</div>{same}'
        f'<div class="votes card" role="group" aria-label="Your vote">{votes}</div>'
        '<p class="small keys">Which is better? Keys: 1 or ←, 2 or →, 3, 4.</p>'
    )


def waiting(state: Ballots, phase: str, question: str = "") -> str:
    """Both answers come at the same moment: who is done first would tell who it is."""
    doing = phase or "Both are answering"
    empty = f'<span class="waiting">{escape(doing)}…</span>'
    asked = _question(question) if question else ""
    sides = "".join(_side(name, empty, whole=True) for name in ("Left", "Right"))
    return _stack(f'{_so_far(state)}{asked}<div class="duel">{sides}</div>')


def failed(state: Ballots, problem: str, hint: str) -> str:
    again = f'<div class="buttons">{button("more", "Try again", "")}</div>'
    return _stack(_so_far(state) + notice(problem, hint, action=again))


def no_rows(state: Ballots) -> str:
    """The run kept nothing back that could be asked."""
    return _stack(
        f'{_so_far(state)}<section class="card invitation"><h2>Type a question</h2><p>This run '
        "kept no questions back. Ask what you know the answer to; both answer it.</p></section>"
    )


def invited() -> str:
    """On other pages: the way here."""
    return button("vote", "Vote blind", "")


def nothing_to_vote_on(others: bool) -> str:
    """`others`: whether there are runs, only not the one that was asked for."""
    if others:
        return invitation(
            "This run has no answers to vote on",
            "It was deleted, or has not finished yet. Choose another one above.",
            "Runs",
            "runs",
        )
    return invitation(
        "Nothing to vote on yet",
        "When a run has finished, you can vote between its answers and the original’s, without "
        "knowing which is which.",
        "Teach a model",
        "new",
    )


def sentence(tally: Tally) -> str:
    """The verdict in words, honest about chance."""
    if not tally.votes:
        return "No votes yet."
    if tally.share is None:
        return f"Not yet clear: no preference in {words.amount(tally.votes, 'vote')}."
    more = ""
    if tally.verdict == "unclear":
        more = f" {_more(tally)}"
    return f"{HEADLINES[tally.verdict]}: {_counted(tally)}.{more}"


def verdict(state: Ballots) -> str:
    """What the votes say, how sure that is, what to do with them, and which was which."""
    tally = state.tally
    lines = [f"<p>{escape(_counted(tally).capitalize())}.</p>" if tally.decided else ""]
    if tally.verdict == "unclear":
        lines.append(f"<p>{escape(_more(tally))}</p>")
    if state.questions < tally.votes:
        lines.append(
            f"<p>They are on {words.amount(state.questions, 'question')}, some asked again: they "
            "speak for those, and less surely for others.</p>"
        )
    counts = facts(
        [
            ("Yours", f"{tally.wins:,}"),
            ("The original", f"{tally.losses:,}"),
            ("Tie", f"{tally.ties:,}"),
            ("Both bad", f"{tally.bad:,}"),
        ]
    )
    onward = ""
    if tally.decided:
        onward = button("teach", "Teach it what you prefer", "", "primary")
        onward += button("keep", "Keep as a dataset", "")
    return (
        f'<section class="card outcome {tally.verdict}" aria-label="Verdict"><h2>'
        f"{HEADLINES[tally.verdict]}</h2>{''.join(lines)}{_scale(tally)}"
        f'<dl class="counts">{counts}</dl>'
        '<p class="small">The range holds what very many votes would show, with 95 % confidence '
        f"(Wilson). Between equals, so uneven a count comes up {_chance(tally.p)} (sign test). "
        "Ties and “both bad” say nothing about which is better, so they don’t count in the share. "
        "Looking again and again gives luck more chances: decide first how many votes you will "
        "give.</p>"
        f'<div class="buttons">{onward}{button("more", "Go on voting", "", "quiet")}</div>'
        f"</section>{_which_was_which(state.cast)}"
    )


def kept(name: str, id: str, rows: int, run: str) -> str:
    """The dataset that was made of the votes."""
    links = link(f"datasets?dataset={quote(id)}", "Look at it")
    links += link(f"new?dataset={quote(id)}&onward={quote(run)}", "Teach it what you prefer")
    return notice(
        f"“{name}” has {words.amount(rows, 'preference')} now.",
        "Its questions may have been kept back from this run; a training with them keeps others.",
        kind="good",
        action=f'<div class="buttons">{links}</div>',
    )


def _counted(tally: Tally) -> str:
    low, high = tally.likely
    return (
        f"yours preferred in {tally.wins:,} of {tally.decided:,} ({words.percent(tally.share or 0)}"
        f", likely between {100 * low:.0f} and {words.percent(high)})"
    )


def _more(tally: Tally) -> str:
    if tally.more is None:
        return "There may be no difference that votes can show."
    step = 1 if tally.more <= 12 else 5 if tally.more <= 50 else 10
    more = max(1, round(tally.more / step) * step)
    return f"About {words.amount(more, 'more vote')} will tell, if they go on like this."


def _chance(p: float) -> str:
    if p > 0.5:
        return "most of the time"
    return "less than 1 time in 1,000" if p < 0.001 else f"1 time in {round(1 / p):,}"


def _so_far(state: Ballots) -> str:
    """How many votes there are; what they say is not told before somebody asks."""
    count = len(state.cast)
    before = ""
    if state.earlier:
        before = (
            f'<p class="small">{words.amount(state.earlier, "earlier vote")} on other weights '
            "don’t count: it has learned on since.</p>"
        )
    if not count:
        return before
    undo = button("undo", "Undo", "", "quiet") if count > state.shown else ""
    return (
        f'<div class="so-far"><p role="status">{words.amount(count, "vote")} so far</p>{undo}'
        f"{button('verdict', 'Show the verdict', '', '')}</div>{before}"
    )


def _question(text: str) -> str:
    return f'<div class="turn user"><span class="who">Question</span><p>{escape(text)}</p></div>'


def _side(name: str, text: str, whole: bool = False) -> str:
    """One of the two answers; `whole`: it is HTML."""
    said = text if whole else escape(text) or '<span class="waiting">It said nothing.</span>'
    return (
        f'<section class="pane blind" aria-label="{name}"><header><h2>{name}</h2></header>'
        f"<p>{said}</p></section>"
    )


def _stack(html: str) -> str:
    return f'<div class="stack">{html}</div>'


def _scale(tally: Tally) -> str:
    """The share and its likely range between “never yours” and “always yours”."""
    if tally.share is None:
        return ""
    low, high = (100 * end for end in tally.likely)
    return (
        '<svg class="share" viewBox="-8 0 416 44" role="img" aria-label="From the original on the '
        f'left to yours on the right: likely between {low:.0f} and {high:.0f} %">'
        '<path class="line" d="M0 14H400"/><path class="middle" d="M200 4V24"/>'
        f'<path class="range" d="M{4 * low:.1f} 14H{4 * high:.1f}"/>'
        f'<circle cx="{400 * tally.share:.1f}" cy="14" r="6"/>'
        '<text x="0" y="40">original</text><text x="200" y="40" text-anchor="middle">equal</text>'
        '<text x="400" y="40" text-anchor="end">yours</text></svg>'
    )


def _which_was_which(cast: Sequence[Vote]) -> str:
    rows = "".join(
        f"<li><p><strong>{escape(clip(vote.pair.question, 200))}</strong></p>"
        f'<p class="{only_if(vote.preferred == "tuned", "won")}"><span class="who">Yours, '
        f"{_place(vote, 'tuned')}</span> {_said(vote, 'tuned')}</p>"
        f'<p class="{only_if(vote.preferred == "base", "won")}"><span class="who">Original, '
        f"{_place(vote, 'base')}</span> {_said(vote, 'base')}</p>"
        f'<p class="small">Your vote: {GIVEN[vote.preferred]}</p></li>'
        for vote in reversed(cast)
    )
    return (
        '<details class="card fold cast"><summary><h2>Which was which</h2></summary>'
        f"<ol reversed>{rows}</ol></details>"
    )


def _said(vote: Vote, side: str) -> str:
    return escape(vote.pair.answers[side].strip()) or "It said nothing."


def _place(vote: Vote, side: str) -> str:
    return "left" if vote.pair.left == side else "right"
