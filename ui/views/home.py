"""Home: the first visit, and what runs and ran."""

from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import quote

from ui.views.new import sample_card
from ui.views.parts import only_if
from ui.views.runs import Listed, run_list

ENDED = 4  # ended runs on the home page


def first_visit(samples: Iterable[Any]) -> str:
    """Nothing has run yet: what this is, and the shortest way in. Samples have id, title, blurb."""
    cards = "".join(
        f'<a class="card choice" href="new?sample={quote(sample.id)}">'
        f"{sample_card(sample.title, sample.blurb)}"
        '<span class="go" aria-hidden="true">Try this →</span></a>'
        for sample in samples
    )
    return (
        '<section class="welcome"><h1>Teach a language model your way of answering</h1>'
        '<p class="lead">Bring questions with the answers that you want. Graft teaches a model '
        "from them, on this machine, and shows you the difference.</p>"
        "<h2>Try it with an example: two minutes, no files needed.</h2>"
        f'<div class="choices">{cards}</div>'
        '<p class="or">You have examples of your own? '
        '<a class="button" href="new">Start with your file</a></p></section>'
    )


def overview(listed: Sequence[Listed]) -> str:
    """What runs, waits or wants to go on, in this order; then what ended last."""
    order = ("running", "queued", "paused", "interrupted")
    now = [pair for pair in listed if pair[0]["status"] in order]
    now.sort(key=lambda pair: (order.index(pair[0]["status"]), pair[0].get("position") or 0))
    last = [pair for pair in listed if pair[0]["status"] not in order][:ENDED]
    busy = any(run["status"] == "running" for run, _ in now)
    title = "Something is learning" if busy else "Welcome back"
    parts = [
        f'<div class="heading split"><h1>{title}</h1>'
        f'<a class="button{only_if(not busy, " primary")}" href="new">Teach a model</a></div>'
    ]
    for name, pairs in (("Now", now), ("Lately", last)):
        if pairs:
            parts.append(f"<h2>{name}</h2>{run_list(pairs)}")
    return (
        "".join(parts)
        + '<p class="more"><a href="runs">All runs</a> · <a href="library">Library</a></p>'
    )
