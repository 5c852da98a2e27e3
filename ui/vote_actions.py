"""What a person can do about a blind vote between a run and its original. Like `ui.actions`."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

from core import ballots, prepare
from core.ballots import Question
from core.errors import UserError
from core.prepare import NAME_LENGTH
from core.store import Store
from ui import actions, views


def votes(store: Store, id: str) -> dict[str, Any]:
    """What the blind votes on a run, as it is now, say: whether it is better than the original, and
    how sure. Votes on what it was before it learned on don't count.

    Parameters:
        id: the run's id
    Returns:
        id, verdict ("better", "worse", "even" or "unclear"), text (the verdict in words), votes
        (their number), wins, losses, ties, bad; share of the wins among wins and losses, low and
        high (its likely range, 95 %), p (two-sided sign test), more (how many more votes may make
        it clear; null: too many); and cast [{messages, tuned, base, preferred}].
    """
    run = store.run(id)
    state = ballots.read(run)
    return {
        "id": run.id,
        "text": views.vote.sentence(state.tally),
        **state.tally.describe(),
        "cast": [
            {"messages": vote.pair.messages, **vote.pair.answers, "preferred": vote.preferred}
            for vote in state.cast
        ],
    }


def votes_dataset(store: Store, id: str) -> dict[str, Any]:
    """Make a dataset of the votes for a side: the preferred answer as chosen, the other as
    rejected.

    Parameters:
        id: the run's id
    Returns:
        The dataset, as from `dataset`; its shape is "preference".
    """
    run = store.run(id)
    rows = ballots.preferences(ballots.read(run).cast)
    if not rows:
        raise UserError(
            "No vote prefers one of two different answers yet.", "Vote on some more.", field="id"
        )
    return prepare.new_dataset(store, f"Votes on {run.name}"[:NAME_LENGTH], rows).describe()


def answer_pair(store: Store, id: str, question: Question) -> Iterator[str]:
    """Have both sides answer and keep the pair; yields what happens meanwhile, in words."""
    run = store.run(id)
    conversation = [dict(message) for message in question.messages]
    with closing(actions.compare(store, id, conversation, question.sampling)) as growing:
        for answer in growing:
            yield answer["phase"]
    ballots.add(run, question, answer, answer["adapters"][run.id])
