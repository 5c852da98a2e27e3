"""People, for admins: who may come in, what they have, and the whole line; never what is in it."""

import gradio as gr

from core.errors import UserError
from ui import page, people_actions, views
from ui.parts import panel


def build(demo: gr.Blocks) -> None:
    with page.frame(demo, "People"):
        shown = panel()
    demo.load(_people, None, shown, **page.DIRECT)


def _people(request: gr.Request) -> str:
    try:
        return views.people.overview(people_actions.people(page.store(request)))
    except UserError as refused:
        return views.invitation(str(refused), refused.hint, "Home", "./")
