"""What is kept of the answers of a family's versions, and what it comes to. Like `ui.actions`."""

from dataclasses import asdict
from typing import Any

from core import ballots
from core import health as kept
from core.chance import exact_shares_test
from core.errors import NotFound, UserError
from core.family import Family, Version, read
from core.store import Store
from core.votes import LEVEL, Tally


def health(store: Store, family: str) -> dict[str, Any]:
    """How the versions of a family do, by week, as far as their answers are kept.

    Parameters:
        family: its name
    Returns:
        keeping {answers, texts}; texts (how many are kept); weeks, the newest first [{begins,
        versions, answers, up, down, declined, words, speed}] (medians; tokens per second);
        warnings [{kind ("declined" or "words"), before (as in the report card), now, answers,
        chance}]; and during a rollout rollout {current, candidate} (as a week, with number and
        liked [share, low, high]), chance, better ("current", "candidate" or null), and votes:
        the blind votes of both against the original {current, candidate, chance}; else null.
    """
    found = read(store, family)
    answers = kept.answers(found)
    return {
        "keeping": asdict(kept.keeping(store)),
        "texts": sum(bool(answer.text) for answer in answers),
        "weeks": [
            {"begins": week.begins, "versions": list(week.versions), **asdict(week.summary)}
            for week in kept.by_week(answers)
        ],
        "warnings": [asdict(warning) for warning in kept.drift(found)],
        "rollout": _rollout(found),
    }


def keep_answers(store: Store, answers: bool, texts: bool = False) -> dict[str, bool]:
    """Whether figures of the answers of your versions are kept, and thumbs for them; by itself
    nothing is.

    Parameters:
        answers: when, how long, how quick, whether it declined, and the thumb
        texts: also what was asked and answered
    Returns:
        answers and texts, as they are from now on.
    """
    return asdict(kept.keep(store, answers, texts))


def rate_answer(
    store: Store,
    model: str,
    thumb: str,
    answer: str = "",
    text: str = "",
    question: str = "",
    seconds: float | None = None,
) -> dict[str, str]:
    """A thumb for an answer of a version; nothing is kept unless `keep_answers` says so.

    Parameters:
        model: a family's name, or a version of it as NAME@3
        thumb: "up" or "down", or empty to take it back
        answer: the id of an answer that was kept; else it is kept now, with what follows
        text: the answer
        question: what was asked
        seconds: how long it took
    Returns:
        answer, the id by which it can be rated again, and thumb.
    """
    if not kept.versions_of(store, model):
        raise NotFound(f"There is no family or version {model[:100]!r}.", field="model")
    if not kept.keeping(store).answers:
        raise UserError(
            "Ratings are not kept.", "Turn them on in the library, under Health.", field="thumb"
        )
    if thumb not in kept.THUMBS:
        raise UserError(f"thumb: {thumb[:40]!r} is none.", "It is up or down.", field="thumb")
    if not answer:
        answer = kept.answered(store, model, text, question, seconds, by="endpoint")
    kept.rate(store, answer, thumb)
    return {"answer": answer, "thumb": thumb}


def forget_texts(store: Store, family: str) -> dict[str, int]:
    """Remove the questions and answers that were kept with a family; the figures stay.

    Parameters:
        family: its name
    Returns:
        texts: how many these were.
    """
    return {"texts": kept.forget_texts(store, family)}


def _rollout(family: Family) -> dict[str, Any] | None:
    """Both versions since the rollout began, by thumbs and by blind votes."""
    rollout, current = family.rollout, family.current
    if rollout is None or current is None:
        return None
    candidate = family.version(rollout.number)
    told = kept.beside(kept.answers(family), current.number, candidate.number, rollout.since)
    better = {"first": "current", "second": "candidate", None: None}[told.better]
    return {
        "current": _side(current, told.first),
        "candidate": _side(candidate, told.second),
        "chance": told.chance,
        "enough": told.enough,
        "better": better,
        "votes": _votes(current, candidate),
    }


def _side(version: Version, summary: kept.Summary) -> dict[str, Any]:
    return {"number": version.number, **asdict(summary), "liked": summary.liked}


def _votes(current: Version, candidate: Version) -> dict[str, Any] | None:
    """Blind votes are given against the original: they compare the two versions by that alone."""
    one, other = (ballots.read(v.run).tally if v.run else Tally() for v in (current, candidate))
    if not one.decided or not other.decided:
        return None
    chance = exact_shares_test(one.wins, one.decided, other.wins, other.decided)
    return {
        "current": one.describe(),
        "candidate": other.describe(),
        "chance": chance,
        "clear": chance < LEVEL,
    }
