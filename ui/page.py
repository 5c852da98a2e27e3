"""What every page has: the top bar with the device at its right, the caller's Store, the errors."""

from collections.abc import Iterator
from contextlib import contextmanager

import gradio as gr

from core import hardware
from core.errors import UserError
from core.store import Store
from jobs import queue
from ui import api, views
from ui.parts import panel

POLL = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
QUIET = {"show_progress": "hidden", "api_visibility": "private"}

HERE = "(query) => { window.location.href = query }"
"""Go to the address that the handler returned."""


def store(request: gr.Request) -> Store:
    return Store(api.owner(request))


@contextmanager
def frame(demo: gr.Blocks, active: str) -> Iterator[None]:
    """The page's frame: a top bar, then what the caller builds in it."""
    with gr.Row(elem_classes="top-bar"):
        panel(views.top_bar(active), elem_classes="links")
        chip = panel(elem_classes="device")
    with gr.Column(elem_classes=["page", active.lower()]):
        yield
    demo.load(_chip, None, chip, **POLL)
    gr.Timer(3).tick(_chip, None, chip, **POLL)


def _chip() -> str:
    run = queue.running()
    return views.device_chip(hardware.device().title, run.name if run else "")


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
