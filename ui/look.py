"""What a page shows of facts that change: one timer and one request for all of it, so that a page
which stays open costs little, however many cards it has.

The page asks /looks/PAGE, and not an event of Gradio's, which would make all components anew each
time: half of what such a look cost. What is as it was is not sent again: it costs nothing to draw,
and what somebody marks, opens or types in it stays. The machine is there for the training first:
the more pages look, the less often each does.
"""

import math
import os
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any

import gradio as gr
from anyio import to_thread
from gradio.blocks import Block, postprocess_update_dict
from gradio.utils import is_prop_update
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

FIRST = 1.5  # seconds until the second look
MOST = 30.0  # seconds that a page waits at most; beyond MOST * LOOKS pages the training pays
LOOKS = min(5, os.cpu_count() or 1)  # a second, of all pages; one takes about 13 ms of a core

Show = Callable[[gr.Request], tuple]
"""What each component of a part shows now and, last, in how many seconds to look again."""


class Pace:
    """Each look takes its share of a second; who comes while others have taken it waits longer."""

    def __init__(self, looks: float = LOOKS) -> None:
        """`looks`: in a second."""
        self._share, self._taken, self._lock = 1 / looks, 0.0, threading.Lock()

    def after(self, seconds: float) -> float:
        """How long a page waits that wants to look again in so many seconds; whole half seconds."""
        now = time.monotonic()
        with self._lock:
            self._taken = min(max(self._taken, now) + self._share, now + MOST)
            waits = self._taken - now
        return max(seconds, math.floor(2 * waits) / 2)


_pace = Pace()


# A tick that comes before the last one is answered is passed over. An answer that is older than one
# that was shown comes too late; one that was asked for beside another may leave out what changed
# back meanwhile, so all is asked for once more. Another server may have other components. A proxy
# answers for a server that does not.
LOOK = """async () => {
  const tick = %s, page = '%s';
  const looks = (window.graftLooks ??= { seen: '', server: '', asked: 0, shown: 0, ticks: 0 });
  if (tick && looks.ticks) return [];
  looks.ticks += tick;
  const [turn, seen] = [++looks.asked, looks.seen];
  const answer = await fetch(`looks/${page}${window.location.search}`, {
    method: 'POST', headers: { 'x-graft-seen': seen }, signal: AbortSignal.timeout(30000),
  }).catch(() => null);
  const told = answer?.ok ? await answer.json().catch(() => null) : null;
  looks.ticks -= tick;
  const lost = !answer || [502, 503, 504].includes(answer.status);
  document.body.classList.toggle('lost', lost);
  document.body.classList.toggle('amiss', !lost && !told);
  if (!told || turn < looks.shown) return [];
  if (looks.server && looks.server !== told.server) window.location.reload();
  looks.seen = looks.seen === seen ? told.seen : '';
  looks.server = told.server;
  looks.shown = turn;
  const values = [];
  for (const [at, value] of told.changed) values[at] = value;
  return values;
}"""
SERVER = secrets.token_hex(4)
"""Which server this is: another one after each start."""


class Look:
    """The parts of a page that are looked at together; the most pressing one says how soon."""

    def __init__(self, page: str) -> None:
        """`page`: its name in /looks/PAGE."""
        self._page = page
        self._parts: list[tuple[Show, Sequence[Any]]] = []
        self._handled: list[Any] = []
        self._outputs: list[Block] = []

    def at(self, show: Show, *components: Any) -> None:
        """Nobody else may change these components: HTML, or a layout that is shown or hidden."""
        self._parts.append((show, components))

    def after(self, handled: Any) -> None:
        """Look as soon as this event was handled, too."""
        self._handled.append(handled.then)

    def wire(self, demo: gr.Blocks, **options: Any) -> None:
        """`options`: of each event."""
        timer = gr.Timer(FIRST)
        self._outputs = [component for _, components in self._parts for component in components]
        self._outputs.append(timer)
        for event in (demo.load, timer.tick, *self._handled):
            script = LOOK % (int(event == timer.tick), self._page)
            event(None, None, self._outputs, js=script, **options)
        _looks[self._page] = self

    def told(self, request: gr.Request, seen: str) -> dict[str, Any]:
        """`changed`, places in the outputs with their values, and `seen`, to be sent with the next
        look: a digest of each value. It is empty when the page was opened. `server` is another one
        after a restart."""
        values: list[Any] = []
        soonest = float("inf")
        for show, _ in self._parts:
            *shown, seconds = show(request)
            values += shown
            soonest = min(soonest, seconds)
        values.append(gr.update(value=_pace.after(soonest)))
        now, before = [*map(_digest, values)], seen.split()
        changed = [
            (at, _as_sent(self._outputs[at], value))
            for at, value in enumerate(values)
            if now[at : at + 1] != before[at : at + 1]
        ]
        return {"changed": changed, "seen": " ".join(now), "server": SERVER}


_looks: dict[str, Look] = {}


def _digest(value: Any) -> str:
    known = value.constructor_args if isinstance(value, Block) else value
    return blake2b(repr(known).encode(), digest_size=6).hexdigest()


def _as_sent(component: Block, value: Any) -> Any:
    """What Gradio sends a page of a component's value, or of a change of its properties."""
    if not isinstance(value, Block) and not is_prop_update(value):
        return value
    given = dict(value.constructor_args if isinstance(value, Block) else value)
    given.pop("__type__", None)
    changed = type(component)(**{**component.constructor_args, **given, "render": False})
    told = postprocess_update_dict(changed, given)
    # The properties of an HTML's template are in `props`; by themselves they are taken for events.
    return {name: value for name, value in told.items() if not callable(value)}


async def _answer(request: Request) -> Response:
    look = _looks.get(request.path_params["page"])
    if look is None:
        return PlainTextResponse("There is no such page.\n", 404)
    seen = request.headers.get("x-graft-seen", "")
    return JSONResponse(await to_thread.run_sync(look.told, gr.Request(request), seen))


ROUTE = Route("/looks/{page}", _answer, methods=["POST"], middleware=[Middleware(GZipMiddleware)])
