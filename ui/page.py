"""What every page has: the top bar with the device at its right, one look at all that changes, the
caller's Store, the errors.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import gradio as gr

from core import hardware
from core.errors import NotFound, UserError
from core.store import Store
from jobs import queue
from ui import api, disk_actions, logins, views
from ui.look import Look
from ui.parts import panel

_OURS = {"show_progress": "hidden", "api_visibility": "private"}
STREAMED = {**_OURS, "concurrency_limit": 4}
"""For handlers that answer more than once: Gradio's queue, whose answers come by one stream."""
DIRECT = {**_OURS, "queue": False}
"""For all others: the request itself is answered, whatever else the page waits for."""

BUSY, IDLE = 3, 10  # seconds between two looks at the device
OTHERS = "somebody else’s model"
HERE = "(query) => { window.location.href = query }"
"""Go to the address that the handler returned."""


def store(request: gr.Request) -> Store:
    return Store(logins.owner(request))


def deleted(request: gr.Request) -> str:
    """What was deleted just now, as the address says, with Undo; empty once it has no trace."""
    try:
        trashed = store(request).trashed(request.query_params.get("deleted", ""))
    except NotFound:
        return ""
    return views.undo(trashed.name, trashed.id)


def undo_deletion(event: gr.EventData, request: gr.Request) -> str:
    """The address of what was in the trash."""
    with api.errors_in_words():
        back = disk_actions.put_back(store(request), event.id)
    return f"{back['kind']}s?{back['kind']}={back['id']}"


@contextmanager
def frame(demo: gr.Blocks, active: str) -> Iterator[Look]:
    """The page's frame: a top bar, then what the caller builds in it, who also says what of it is
    looked at again and again."""
    with gr.Row(elem_classes="top-bar"):
        panel(views.top_bar(active), elem_classes="links")
        chip = panel(elem_classes="device")
    look = Look(active.lower())
    look.at(_chip, chip)
    with gr.Column(elem_classes=["page", active.lower()]):
        yield look
    look.wire(demo, **DIRECT)


def _chip(request: gr.Request) -> tuple[str, float]:
    """The device, what is trained on it, and who is logged in; another person's run has no name."""
    caller, run = logins.user(request), queue.running()
    training = "" if run is None else run.name if run.owner == logins.owner(request) else OTHERS
    chip = views.device_chip(hardware.device().title, training, caller)
    return chip, BUSY if run else IDLE


@contextmanager
def bugs_in_words() -> Iterator[None]:
    """For those who show a UserError in its place: anything else becomes a plain sentence."""
    try:
        yield
    except UserError:
        raise
    except Exception:
        with api.errors_in_words():
            raise
