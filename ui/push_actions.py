"""What a person can do to put a run on the Hugging Face Hub. Like `ui.actions`."""

from typing import Any

from core.exports.push import Push, Wish, server_token, suggested
from core.store import Store
from jobs import pushes


def push_to_hub(
    store: Store,
    id: str,
    repo: str,
    token: str = "",
    format: str = "adapter",
    private: bool = True,
) -> dict[str, Any]:
    """Put what was made of a run on the Hugging Face Hub, as one commit. It goes on by itself.

    Parameters:
        id: the run's id
        repo: the repository, name or owner/name; it is made where it is not there
        token: an access token of the Hub that may write; used once and kept nowhere
        format: what is put there: adapter or merged; it must be prepared
        private: whether only its owner can see a repository that is made
    Returns:
        As hub_push.
    """
    pushes.start(store.run(id), Wish(repo.strip(), format, private), token)
    return hub_push(store, id)


def hub_push(store: Store, id: str) -> dict[str, Any]:
    """What of a run is on the Hugging Face Hub, and whether something is being sent there.

    Parameters:
        id: the run's id
    Returns:
        id, state: "none", "pushing", "broken" (it ended without a word), "failed" or "pushed";
        repo, phase, done and of (bytes) while it is sent; error and hint; ready, the formats that
        can be sent; suggested, a name for a repository; has_token, whether the server has one of
        its own; pushed {repo, private, format, url, commit, commit_url, bytes, at}, what was sent
        last, and stale, whether the run has learned on since.
    """
    run = store.run(id)
    push = Push(run)
    going, pushed = push.going, push.pushed
    return {
        "id": run.id,
        "state": push.state,
        "repo": going.get("repo", ""),
        "phase": going.get("phase", ""),
        "done": going.get("done", 0),
        "of": going.get("of", 0),
        "error": going.get("error", ""),
        "hint": going.get("hint", ""),
        "can_be_made": run.status in ("completed", "stopped") and run.adapter is not None,
        "ready": push.ready,
        "suggested": suggested(run.name),
        "has_token": bool(server_token(run.owner)),
        "pushed": {key: value for key, value in pushed.items() if key != "weights"},
        "stale": push.is_stale,
    }


def cancel_push(store: Store, id: str) -> dict[str, Any]:
    """Stop sending a run to the Hugging Face Hub. Nothing of it is to be seen there then.

    Parameters:
        id: the run's id
    Returns:
        As hub_push.
    """
    Push(store.run(id)).cancel()
    return hub_push(store, id)
