"""The choice of one's model where its answers stand beside the original's: Compare and the vote.

Which one it is stands in the address, so that a reload comes back to it.
"""

from contextlib import suppress

import gradio as gr

from core.errors import NotFound
from core.runs import Run
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


def chosen(request: gr.Request) -> tuple[gr.Dropdown, Run | None, list[Run]]:
    """(the picker, the run that the address names, all that can be chosen); where the address names
    none, it is the newest that has finished."""
    asked = request.query_params.get("run")
    usable = [
        run
        for run in page.store(request).runs()
        if run.adapter is not None and run.status != "damaged"
    ]
    with suppress(NotFound):  # a draft is in no list
        if asked and (named := page.store(request).run(asked)).is_draft:
            usable.insert(0, named)
    wanted = (run for run in usable if (run.id == asked if asked else run.status in FINISHED))
    found = next(wanted, None)
    picker = gr.Dropdown(
        [(run.name, run.id) for run in usable],
        value=found.id if found else None,
        visible=bool(usable),
    )
    return picker, found, usable
