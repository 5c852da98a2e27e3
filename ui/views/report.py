"""A run's report card: the verdict, the figures behind it, and the same as a page of its own."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any
from urllib.parse import quote

from core.scores import NOT_A_LABEL
from core.verdict import GUARDS, perplexity
from ui import words
from ui.views.blend import by_parent
from ui.views.parts import button, clip, nothing_yet, notice, only_if

Card = dict[str, Any]
KINDS = {
    "labels": "one of a few labels",
    "json": "JSON",
    "short": "short answers",
    "long": "texts",
}
EXAMPLES = (("back", "The biggest steps back"), ("best", "The best answers"),
            ("worst", "The worst answers"))  # fmt: skip
MOST_FORGOTTEN = 8  # general questions that are shown
LONGEST = 600  # characters of a text that are shown
GUARD_TONES = {"safe": "good", "some": "warn", "much": "bad"}


def verdict(told: dict[str, Any], alone: bool = False) -> str:
    """What to think of the run, above its figures; or how far its card is. `alone`: on a page of
    its own, where nothing can be asked for."""
    match told["state"]:
        case "made":
            return _verdict(told, alone)
        case "waiting":
            return _making("The report card is made when the device is free. Nothing to do.", 0)
        case "making":
            done, of = told["done"], told["of"]
            counted = f" {done} of {of} answers." if of else ""
            return _making(
                f"Making the report card…{counted} You can close this page.",
                round(100 * done / of) if of else 0,
                told["phase"],
            )
        case "failed":
            again = button("make_report", "Make the report card", escape(told["id"]))
            action = f'<div class="buttons">{again}</div>'
            return notice(f"There is no report card: {told['error']}", told["hint"], action=action)
        case _ if told["can_be_made"]:
            again = button("make_report", "Make the report card", escape(told["id"]))
            return (
                '<section class="card verdict"><p>Is it better than the original, and did it '
                "forget anything? The report card asks both.</p>"
                f'<div class="buttons">{again}</div></section>'
            )
    return ""


def not_yet() -> str:
    return nothing_yet(
        "Report card",
        "Is it better than the original, and did it forget anything? The report card is made by "
        "itself once the run has finished.",
    )


def line(told: dict[str, Any]) -> str:
    """What the card comes to, or that it is on its way; the rest stands under #report."""
    match told["state"]:
        case "made":
            said = told["verdict"]
            text = (
                f"<strong>{escape(said['headline'])}</strong> {escape(said['evidence'])} "
                f'<span class="pill {GUARD_TONES[said["guard"]]}">'
                f"{GUARDS[said['guard']].capitalize()}</span>"
            )
            tone = said["task"]
        case "waiting" | "making":
            text, tone = "Its report card is on its way: is it better than the original?", ""
        case "failed":
            text, tone = "Its report card could not be made.", "worse"
        case _ if told["can_be_made"]:
            text, tone = "Is it better than the original? It has no report card yet.", ""
        case _:
            return ""
    link = f'<a href="runs?run={quote(told["id"])}#report">Report card</a>'
    return f'<p class="told-line {tone}"><span>{text}</span> {link}</p>'


def _making(text: str, share: int, phase: str = "") -> str:
    return (
        f'<section class="card verdict" role="status"><p>{escape(text)}</p>'
        f'<div class="bar" role="progressbar" aria-label="Report card" aria-valuenow="{share}" '
        f'aria-valuemin="0" aria-valuemax="100"><span style="width:{share}%"></span></div>'
        f'<p class="small">{escape(phase)}</p></section>'
    )


def _verdict(told: dict[str, Any], alone: bool) -> str:
    said, card, id = told["verdict"], told["card"], escape(told["id"])
    guard = said["guard"]
    buttons = (
        button("download_report", "Download report card", id)
        + button("make_report", "Make it anew", id, "quiet")
    )  # fmt: skip
    return (
        f'<section class="card verdict {said["task"]}" aria-label="Report card">'
        f'<p class="small">Report card</p><h2>{escape(said["headline"])}</h2>'
        f"<p>{escape(said['evidence'])}</p>{_balance(card['comparison'])}"
        f'<p class="guard"><span class="pill {GUARD_TONES[guard]}">'
        f"{GUARDS[guard].capitalize()}</span> {escape(said['general'])}</p>"
        + only_if(said["advice"], f"<p>{escape(said['advice'])}</p>")
        + f'<p class="small">{_told_of(card)}</p>'
        + only_if(not alone, f'<div class="buttons">{buttons}</div>')
        + "</section>"
    )


def _told_of(card: Card) -> str:
    """What the card was made of."""
    held_out, asked = card["rows"]["held_out"], card["rows"]["asked"]
    rows = f"{asked:,} of {words.amount(held_out, 'example')} kept back"
    if asked == held_out:
        rows = f"All {words.amount(held_out, 'example')} kept back"
    told = [rows if held_out else "No examples kept back"]
    if card["kind"]:
        told.append(f"answers are {KINDS[card['kind']]}")
    if card["step"] is not None:
        told.append(f"as at step {card['step']:,}")
    return " · ".join(told)


def _balance(compared: dict[str, Any] | None) -> str:
    """Wins, ties and losses as one bar, with their numbers."""
    if compared is None:
        return ""
    parts = (("better", compared["wins"]), ("equal", compared["ties"]),
             ("worse", compared["losses"]))  # fmt: skip
    drawn = "".join(
        f'<span class="{name}" style="flex-grow:{count}">{count} {name}</span>'
        for name, count in parts
        if count
    )
    return f'<div class="balance">{drawn}</div>'


# ---- the figures


def details(told: dict[str, Any], opened: bool = False) -> str:
    """The figures and examples behind the verdict; `opened`: with nothing folded away."""
    if told["state"] != "made":
        return ""
    card = told["card"]
    folded = [
        *_labels(card),
        *((title, _examples(card["examples"][name])) for name, title in _shown(card)),
        *_general(card["general"]["questions"]),
    ]
    folds = "".join(
        f'<details class="more-of-it"{only_if(opened, " open")}><summary>{escape(title)}</summary>'
        f"{html}</details>"
        for title, html in folded
    )
    return (
        '<section class="card fold report" aria-label="Figures of the report card">'
        f"<h2>Original and yours</h2>{_figures(card)}{by_parent(card)}{folds}</section>"
    )


def _shown(card: Card) -> list[tuple[str, str]]:
    return [(name, title) for name, title in EXAMPLES if card["examples"][name]]


def _figures(card: Card) -> str:
    rows = [
        (title, small, *(of(card["figures"][side]) for side in ("base", "tuned")))
        for title, small, of in _measures(card["kind"])
    ]
    if card["loss"]:
        base, tuned = card["loss"]["base"], card["loss"]["tuned"]
        rows.append(("Surprise by the examples", "loss", words.loss(base), words.loss(tuned)))
        rows.append(
            (
                "As if choosing among so many words",
                "perplexity",
                perplexity(base),
                perplexity(tuned),
            )
        )
    questions, texts = card["general"]["questions"], card["general"]["perplexity"]
    of = f" of {questions['asked']}"
    rows.append(("General questions right", "", f"{questions['base']}{of}",
                 f"{questions['tuned']}{of}"))  # fmt: skip
    rows.append(("Surprise by general texts", "perplexity",
                 *(f"{texts[side]:,.3g}" for side in ("base", "tuned"))))  # fmt: skip
    return _table(
        ("", "Original", "Yours"),
        [
            (f'{escape(title)} <span class="small">{escape(small)}</span>', base, tuned)
            for title, small, base, tuned in rows
        ],
    )


def _measures(kind: str | None) -> list[tuple[str, str, Any]]:
    """What is told of each side: title, the field's word, and where it stands in the figures."""
    if kind is None:
        return []

    def share(name: str) -> Any:
        return lambda figures: words.percent(figures[name])

    def of_100(name: str) -> Any:
        return lambda figures: f"{100 * figures[name]:.1f}"

    by_kind = {
        "labels": [
            ("Right label", "accuracy", share("accuracy")),
            ("Balanced over the labels", "macro F1", of_100("macro_f1")),
            ("Answers that are a label", "valid", share("valid")),
        ],
        "json": [
            ("Answers that are JSON", "valid", share("valid")),
            ("All fields right", "exact match", share("exact")),
            ("Fields right", "F1", of_100("score")),
        ],
        "short": [
            ("Right word for word", "exact match", share("exact")),
            ("Words right", "token F1", of_100("token_f1")),
        ],
        "long": [
            ("Likeness to the expected answer", "chrF", of_100("chrf")),
            ("Words in the same order", "ROUGE-L", of_100("rouge_l")),
        ],
    }
    return [
        *by_kind[kind],
        ("Length of an answer", "words", lambda figures: f"{figures['words']:.1f}"),
        ("Says again what it said", "repeated 4-grams", share("repetition")),
        ("Comes to an end by itself", "stop token", share("ended")),
    ]


def _labels(card: Card) -> list[tuple[str, str]]:
    """F1 of each label on both sides, and the confusion matrix of the tuned one."""
    if card["kind"] != "labels":
        return []
    base, tuned = card["figures"]["base"], card["figures"]["tuned"]
    names = list(tuned["labels"])
    per_label = _table(
        ("Label", "Original", "Yours", "Examples"),
        [
            (
                escape(clip(label, 60)),
                f"{100 * base['labels'].get(label, {'f1': 0})['f1']:.0f}",
                f"{100 * tuned['labels'][label]['f1']:.0f}",
                f"{tuned['labels'][label]['rows']:,}",
            )
            for label in names
        ],
    )
    confusion = tuned["confusion"]
    answered = [
        name for name in (*names, NOT_A_LABEL) if any(name in of for of in confusion.values())
    ]
    cells = [
        (
            escape(clip(label, 60)),
            *(_cell(confusion.get(label, {}).get(name, 0), label == name) for name in answered),
        )
        for label in names
        if label in confusion
    ]
    head = ("Expected", *(escape(clip(name, 60)) for name in answered))
    return [
        (
            "Each label",
            '<p class="small">F1, of 100: it is high where a label is given whenever it is right, '
            f"and only then.</p>{per_label}",
        ),
        (
            "What it takes for what (confusion matrix)",
            '<p class="small">A row for each expected label; the columns are what yours answered.'
            f"</p>{_table(head, cells)}",
        ),
    ]


def _cell(count: int, right: bool) -> str:
    if not count:
        return '<span class="nothing">0</span>'
    return f'<span class="{"hit" if right else "miss"}">{count:,}</span>'


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Of HTML; the first of each row is its name."""
    titles = "".join(f'<th scope="col">{title}</th>' for title in head)
    body = "".join(
        f'<tr><th scope="row">{name}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'
        for name, *cells in rows
    )
    return (
        '<div class="table facts"><table>'
        f"<thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _examples(rows: Iterable[dict[str, Any]]) -> str:
    return "".join(
        _example(
            row["question"],
            ("Expected", "", row["expected"]),
            ("Original", "base", row["base"]),
            ("Yours", "tuned", row["tuned"]),
        )
        for row in rows
    )


def _general(questions: dict[str, Any]) -> list[tuple[str, str]]:
    """What it forgot, and what it knows now and did not."""
    kinds = (("lost", "General questions that it no longer gets right"),
             ("gained", "General questions that it gets right now"))  # fmt: skip
    return [
        (
            title,
            "".join(
                _example(
                    one["question"],
                    ("Original", "base", one["base"]),
                    ("Yours", "tuned", one["tuned"]),
                )
                for one in questions[name][:MOST_FORGOTTEN]
            )
            + _rest(len(questions[name]) - MOST_FORGOTTEN),
        )
        for name, title in kinds
        if questions[name]
    ]


def _rest(count: int) -> str:
    return only_if(count > 0, f'<p class="small">And {count} more.</p>')


def _example(question: str, *answers: tuple[str, str, str]) -> str:
    said = "".join(
        f'<div class="{side}"><dt>{who}</dt>'
        f"<dd>{escape(clip(text, LONGEST)) or words.DASH}</dd></div>"
        for who, side, text in answers
    )
    return (
        f'<article class="example"><p>{escape(clip(question, LONGEST)) or words.DASH}</p>'
        f"<dl>{said}</dl></article>"
    )


# ---- a page of its own


def document(told: dict[str, Any], model: str, made: float, style: str) -> str:
    """The card as one HTML file that needs nothing else."""
    name = escape(told["name"])
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>Report card of {name}</title><style>{style}</style>"
        "<script>document.documentElement.classList.toggle('dark', "
        "matchMedia('(prefers-color-scheme: dark)').matches)</script></head>"
        '<body class="gradio-container"><main class="page report-page">'
        f'<div class="heading"><h1>{name}</h1>'
        f'<p class="lead">{escape(model)}, tuned with Graft. Report card of '
        f"{escape(words.date(made))}.</p></div>"
        f"{verdict(told, alone=True)}{details(told, opened=True)}</main></body></html>\n"
    )
