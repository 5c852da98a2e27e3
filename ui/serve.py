"""Serve: /serve?run=ID says how other programs ask a model, and makes the keys that they need."""

import gradio as gr

from core import keys, vllm
from core.errors import UserError
from core.store import Store
from ui import page, picker, views
from ui.endpoint import ROOT
from ui.panes import COPIES
from ui.parts import CLICKS, panel

LEAD = "Other programs can ask your models as they ask OpenAI’s: at this address, with a key."


def build(demo: gr.Blocks) -> None:
    with page.frame(demo, "Serve"):
        with gr.Row(elem_classes="compare-head"):
            panel(views.heading("Use it in other programs", LEAD))
            run = picker.dropdown()
        with gr.Column(elem_classes="card"):
            panel(views.title("Keys", "A key opens all your models, and nobody else’s."))
            said = _copies()
            with gr.Row(elem_classes=["line", "make-key"]):
                name = gr.Textbox(
                    label="What is it for?", max_lines=1, max_length=keys.LONGEST_NAME,
                    placeholder="The shop’s website",
                )  # fmt: skip
                make = gr.Button("Make a key", min_width=140, scale=0)
            listed = panel()
        with gr.Column(elem_classes="card"):
            panel(views.title("How to ask"))
            how = _copies()
        with gr.Column(elem_classes="card", visible=False) as for_many:
            many = _copies()
        dialogs = panel(views.serve.dialogs())
    demo.load(_open, None, [run, listed, how, for_many, many], **page.DIRECT)
    run.input(None, run, None, js=picker.go("serve"))
    made = [said, name, listed, how]
    gr.on([make.click, name.submit], _make, [name, run], made, **page.DIRECT)
    dialogs.click(_revoke, None, [said, listed], **page.DIRECT)


def _copies() -> gr.HTML:
    """A panel whose buttons copy."""
    return gr.HTML("", js_on_load=CLICKS + COPIES, apply_default_css=False)


def _open(request: gr.Request) -> tuple:
    """(picker, keys, how to ask, the card for many, how to serve it to many)."""
    store, (choice, model, chosen, _) = page.store(request), picker.chosen(request, families=True)
    model = model or "starter"
    many = _many(store, chosen.id) if chosen else ""
    how, card = views.serve.programs(address(request), model), gr.Column(visible=bool(many))
    return choice, _listed(store), how, card, many


def _make(request: gr.Request, name: str | None, run: str | None) -> tuple:
    """(the new key, an empty field, keys, how to ask with it)."""
    store = page.store(request)
    try:
        with page.bugs_in_words():
            _, text = keys.make(store, name or "")
    except UserError as problem:
        return views.notice(str(problem), problem.hint), *[gr.skip()] * 3
    how = views.serve.programs(address(request), run or "starter", text)
    return views.serve.made(text), "", _listed(store), how


def _revoke(event: gr.EventData, request: gr.Request) -> tuple[str, str]:
    """(what was done, keys)."""
    store = page.store(request)
    try:
        with page.bugs_in_words():
            key = keys.revoke(store, event.id)
    except UserError as problem:  # in another tab, just now
        return views.notice(str(problem), problem.hint), _listed(store)
    done = f"The key “{key.name}” opens nothing any more."
    return views.notice(done, kind="good"), _listed(store)


def _listed(store: Store) -> str:
    return views.serve.listing(keys.keys(store))


def _many(store: Store, run: str) -> str:
    try:
        return views.serve.vllm(vllm.serve(store.run(run)))
    except UserError as problem:
        return views.serve.vllm(None, str(problem), problem.hint)


def address(request: gr.Request) -> str:
    """Where programs reach this server, as the browser has reached it."""
    asked = request.request
    return f"{asked.url.scheme}://{asked.headers.get('host', '')}{ROOT}"
