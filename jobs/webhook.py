"""Tells another program that a run has ended, or that a full disk has paused it: a POST of JSON to
GRAFT_WEBHOOK.

    {"text": "“Support bot” completed.", "run": ID, "name": …, "owner": …, "status": "completed",
     "error": "", "hint": "", "seconds": 312.5}

`text` is what Slack, Mattermost and others show. No example goes with it. The run never waits for
the answer, and nothing depends on it: after three tries it is let go.
"""

import json
import logging
import threading
import time
from http.client import HTTPException
from typing import Any
from urllib.request import Request, urlopen

from core.run_folder import ENDED
from core.runs import Run
from core.settings import settings

log = logging.getLogger(__name__)

PAUSES = (0.0, 5.0, 60.0)  # seconds before each try
PATIENCE = 10.0  # seconds for an answer


def tell(run: Run) -> None:
    """Tell of a run that has ended, or that a full disk has paused, if somebody wants to know.

    From a thread of its own.
    """
    address = settings().webhook
    if not address:
        return
    stands = run.describe()
    if stands["status"] in ENDED or (stands["status"] == "paused" and stands["error"]):
        message = _message(run, stands)
        post = threading.Thread(target=_post, args=(address, message), name="webhook", daemon=True)
        try:
            post.start()
        except RuntimeError as error:  # the system has no thread to give
            log.warning("GRAFT_WEBHOOK is not told of the end of %s: %s", run.id, error)


def _message(run: Run, stands: dict[str, Any]) -> dict[str, Any]:
    status, error = stands["status"], stands["error"]
    verb = "is paused" if status == "paused" else status
    return {
        "text": f"“{run.name}” {verb}{f': {error}' if error else '.'}",
        "run": run.id,
        "name": run.name,
        "owner": run.owner,
        "status": status,
        "error": error,
        "hint": stands["hint"],
        "seconds": stands["result"].get("seconds"),
    }


def _post(address: str, message: dict[str, Any]) -> None:
    request = Request(
        address,
        json.dumps(message).encode(),
        {"Content-Type": "application/json", "User-Agent": "Graft"},
    )
    for pause in PAUSES:
        time.sleep(pause)
        try:
            urlopen(request, timeout=PATIENCE).close()
            return
        except (OSError, HTTPException) as error:
            # The address may hold a secret, which those of the protocol may tell.
            what = type(error).__name__ if isinstance(error, HTTPException) else error
            log.warning("GRAFT_WEBHOOK did not take the end of %s: %s", message["run"], what)
