"""The choice of one's model where its answers stand beside the original's: Compare and the vote.
In Compare a family of the library can be chosen too: its current version, whichever that is when it
is asked.

Which one it is stands in the address, so that a reload comes back to it.
"""

from collections.abc import Iterable
from contextlib import suppress

import gradio as gr

from core import library, versions
from core.errors import NotFound, UserError
from core.runs import Run
from core.store import Store
from ui import page

FINISHED = ("completed", "stopped")


def dropdown() -> gr.Dropdown:
    return gr.Dropdown(label="Your model", allow_custom_value=True, elem_classes="picker")


def go(address: str) -> str:
    """Script: to this page, with the run that was chosen."""
    return f"(run) => {{ window.location.href = '{address}?run=' + encodeURIComponent(run) }}"


def in_the_address(address: str) -> str:
    """Script: this page's address tells the run, and those beside it where there are any."""
    return f"""(run, others) => {{
  const query = new URLSearchParams({{ run, ...(others?.length && {{ with: others.join(',') }}) }});
  if (run) window.history.replaceState(null, '', '{address}?' + query);
}}"""


def chosen(
    request: gr.Request, families: bool = False
) -> tuple[gr.Dropdown, str, Run | None, list[Run]]:
    """(the picker, what is chosen in it, which run that is, all that can be chosen): what the
    address names, else the newest that has finished. `families`: they can be chosen as well as
    runs."""
    store, asked = page.store(request), request.query_params.get("run")
    meant = _run_of(store, asked) if asked else ""
    models = _models(store, meant)
    wanted = (run for run in models if (run.id == meant if asked else run.status in FINISHED))
    found = next(wanted, None)
    choices = _choices(store, models, families, asked or "")
    name = found.id if found else ""
    if found and asked in (id for _, id in choices):
        name = asked
    return gr.Dropdown(choices, value=name or None, visible=bool(models)), name, found, models


def now(request: gr.Request, name: str, families: bool = False) -> gr.Dropdown:
    """The picker with what can be chosen by now: a run may have ended since the page was opened.
    `name`: what is chosen."""
    store = page.store(request)
    models = _models(store, _run_of(store, name) if name else "")
    return gr.Dropdown(_choices(store, models, families, name or ""))


def _models(store: Store, meant: str) -> list[Run]:
    models = usable(store)
    with suppress(NotFound):  # a draft is in no list
        if meant and (named := store.run(meant)).is_draft:
            models.insert(0, named)
    return models


def _choices(store: Store, models: list[Run], families: bool, asked: str) -> list[tuple[str, str]]:
    return [*(_families(store, asked) if families else ()), *titled(store, models)]


def usable(store: Store) -> list[Run]:
    """The runs that can answer, the newest first."""
    return [run for run in store.runs() if run.adapter is not None and run.status != "damaged"]


def titled(store: Store, runs: Iterable[Run]) -> list[tuple[str, str]]:
    """(what they are called, with the versions that they are kept as, and their ids)"""
    kept: dict[str, list[str]] = {}
    for family in library.families(store):
        for version in family.versions:
            kept.setdefault(version.run_id, []).append(version.id)
    return [(" · ".join([run.name, *kept.get(run.id, ())]), run.id) for run in runs]


def _run_of(store: Store, asked: str) -> str:
    with suppress(UserError):
        return versions.find(store, asked).id
    return asked


def _families(store: Store, asked: str) -> list[tuple[str, str]]:
    """Those whose current version can answer, and the version that was asked for by its number."""
    found = []
    for family in library.families(store):
        if family.current and family.current.run:
            found.append((f"{family.name}, current version {family.current.number}", family.name))
        found += [(version.id, asked) for version in family.versions if version.id == asked]
    return found
