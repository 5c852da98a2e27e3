"""Runs beside each other: curves, results and the settings that differ."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from html import escape
from typing import Any
from urllib.parse import quote

from core.blending import MOST as MOST_BLENDED
from core.config import TrainConfig
from core.figures import Figures
from ui import chart, overlay, words
from ui.views.parts import invitation, link, notice, only_if
from ui.views.settings import model_title, setting

MOST = len(overlay.LETTERS)


def _score(value: float | None) -> str:
    return words.DASH if value is None else words.percent(value)


COLUMNS: dict[str, tuple[str, str, Callable[[Any], str], bool]] = {
    "best_eval_loss": ("Best test", "eval loss", words.loss, False),
    "final_eval_loss": ("Last test", "eval loss", words.loss, False),
    "score": ("Report card", "score", _score, True),
    "trainable_parameters": ("Learns", "parameters", words.parameters, False),
    "adapter_bytes": ("Adapter", "size", words.size, False),
    "seconds": ("Time", "taken", words.took, False),
    "peak_memory": ("Memory", "at its highest", words.size, False),
}
"""Figure -> title, small print, in words, whether more is better."""


@dataclass(frozen=True)
class Told:
    """A run as this page knows it."""

    letter: str
    id: str
    name: str
    status: str
    """In words."""
    figures: Figures
    settings: dict[str, Any]
    metrics: chart.Metrics


def page(
    runs: Sequence[Told], differ: Sequence[str], sort: str, gone: int = 0, alike: bool = True
) -> str:
    """`gone`: how many that were asked for are not shown; `alike`: whether the same was tested."""
    notes = ""
    if gone:
        notes += notice(
            f"{words.amount(gone, 'run is', 'runs are')} no longer here, or too many at once.",
            f"At most {MOST} runs fit beside each other.",
            kind="warn",
        )
    if not alike:
        notes += _not_alike()
    return notes + _curves(runs) + _results(runs, sort) + _settings(runs, differ) + _blend(runs)


def _blend(runs: Sequence[Told]) -> str:
    """The way to make one of them, where they have one original."""
    bases = {run.settings.get("base_model") for run in runs}
    if not 2 <= len(runs) <= MOST_BLENDED or len(bases) > 1:
        return ""
    ids = ",".join(quote(run.id) for run in runs)
    return (
        f'<div class="buttons more">{link(f"blend?runs={ids}", "Blend their adapters", "")}</div>'
    )


def results(runs: Sequence[Told], differ: Sequence[str], alike: bool = True) -> str:
    """The tables alone, in the order of the runs; their links lead to the page with the curves."""
    return ("" if alike else _not_alike()) + _results(runs, "") + _settings(runs, differ)


def _not_alike() -> str:
    return notice(
        "They were not tested on the same.",
        "Other examples, another model or another way of counting: their test losses can’t be "
        "compared with each other.",
        kind="warn",
    )


def nothing() -> str:
    return invitation(
        "Which runs?",
        "Tick two or more in the list of runs; their curves, results and settings then stand "
        "beside each other.",
        "Choose runs",
        "runs",
    )


def ordered(runs: Sequence[Told], sort: str) -> list[Told]:
    """By this figure, the best first and those without it last; as they are for another word."""
    if sort not in COLUMNS:
        return list(runs)
    sign = -1 if COLUMNS[sort][3] else 1

    def rank(run: Told) -> tuple[bool, float]:
        value = asdict(run.figures)[sort]
        return value is None, sign * (value or 0)

    return sorted(runs, key=rank)


def address(ids: Sequence[str], sort: str = "") -> str:
    told = ",".join(map(quote, ids))
    return f"beside?runs={told}{only_if(sort, f'&sort={quote(sort)}')}"


def _curves(runs: Sequence[Told]) -> str:
    tests = [(run.letter, chart.series(run.metrics, "eval_loss")) for run in runs]
    practice = [(run.letter, chart.smoothed(chart.series(run.metrics, "loss"))) for run in runs]
    legend = "".join(
        f"<li>{overlay.key(run.letter)} <strong>{run.letter}</strong> {escape(run.name)}</li>"
        for run in runs
    )
    legend = f'<ul class="legend">{legend}<li class="small">Lower is better</li></ul>'
    drawn = ""
    for title, small, lines in (
        ("Test, on examples kept back", "eval loss", tests),
        ("Practice", "train loss, smoothed", practice),
    ):
        if svg := overlay.overlay(lines):
            drawn += (
                f'<section class="card plot" aria-label="{title}"><h2>{title} '
                f'<span class="small">{small}</span></h2>{legend}{svg}</section>'
            )
    return drawn or (
        '<section class="card plot empty"><p>The curves appear here after their first steps.</p>'
        "</section>"
    )


def _results(runs: Sequence[Told], sort: str) -> str:
    ids = [run.id for run in runs]
    shown = [name for name in COLUMNS if any(asdict(run.figures)[name] is not None for run in runs)]
    best = {name: _best(runs, name) for name in shown}
    heads = "".join(
        f'<th scope="col"{only_if(name == sort, _SORTED[COLUMNS[name][3]])}>'
        f'<a href="{address(ids, name)}">{COLUMNS[name][0]} '
        f'<span class="small">{COLUMNS[name][1]}</span></a></th>'
        for name in shown
    )
    body = ""
    for run in ordered(runs, sort):
        values = asdict(run.figures)
        cells = "".join(
            f"<td{only_if(values[name] is not None and values[name] == best[name], _BEST)}>"
            f"{COLUMNS[name][2](values[name])}</td>"
            for name in shown
        )
        without = address([id for id in ids if id != run.id], sort)
        body += (
            f'<tr><th scope="row">{overlay.key(run.letter)} {run.letter} '
            f'<a href="runs?run={quote(run.id)}">{escape(run.name)}</a> '
            f'<span class="small">{escape(run.status)}</span></th>{cells}'
            f'<td><a class="quiet" href="{without}" aria-label="Remove {escape(run.name)}">'
            "Remove</a></td></tr>"
        )
    return _table("Results", "A click on a title sorts by it.", f"<th></th>{heads}<th></th>", body)


_SORTED = {True: ' aria-sort="descending"', False: ' aria-sort="ascending"'}
_BEST = ' class="top"'


def _best(runs: Sequence[Told], name: str) -> Any:
    """The best value of a column; None where all runs have the same."""
    values = [asdict(run.figures)[name] for run in runs]
    known = {value for value in values if value is not None}
    if len(known) < 2:
        return None
    return max(known) if COLUMNS[name][3] else min(known)


def _settings(runs: Sequence[Told], differ: Sequence[str]) -> str:
    if not differ:
        same = "<p>They have the same settings.</p>" if len(runs) > 1 else ""
        return f'<section class="card fold"><h2>Settings</h2>{same}</section>' if same else ""
    heads = "".join(f'<th scope="col">{run.letter} {escape(run.name)}</th>' for run in runs)
    body = ""
    for name in differ:
        field = TrainConfig.model_fields[name]
        term = (field.json_schema_extra or {}).get("term") or ""
        cells = "".join(f"<td>{escape(_setting(run.settings, name))}</td>" for run in runs)
        body += (
            f'<tr><th scope="row">{escape(field.title or name)} '
            f'<span class="small">{escape(str(term))}</span></th>{cells}</tr>'
        )
    return _table("What differs", "All other settings are the same.", f"<th></th>{heads}", body)


def _setting(settings: dict[str, Any], name: str) -> str:
    value = settings.get(name)
    if value in (None, ""):
        return words.DASH
    return model_title(settings) if name == "base_model" else str(setting(value, name))


def _table(title: str, below: str, head: str, body: str) -> str:
    return (
        f'<section class="beside-table"><h2>{title}</h2><p class="small">{below}</p>'
        f'<div class="table facts" tabindex="0" role="region" aria-label="{title}"><table><thead>'
        f"<tr>{head}</tr></thead><tbody>{body}</tbody></table></div></section>"
    )
