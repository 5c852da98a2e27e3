"""“Put it on the Hugging Face Hub” on a run's page: what is there, what is being sent, and a form.

The token is in the page's field until it is sent, and nowhere on this server afterwards.
"""

from typing import Any

import gradio as gr

from core.errors import NotFound, UserError
from core.exports.push import FORMATS
from ui import api, page, push_actions, views
from ui.look import Look
from ui.parts import panel

BUSY, IDLE = 1.5, 10  # seconds between two looks


def build() -> dict[str, Any]:
    """The card, empty until the run has something to send."""
    with gr.Column(visible=False, elem_classes=["card", "push"]) as card:
        told = panel()
        with gr.Column(visible=False, elem_classes="push-form") as form:
            format = gr.Radio(
                [(title, id) for id, title in FORMATS.items()],
                value="adapter",
                label="What to put there",
            )
            repo = gr.Textbox(
                label="Name there",
                info="Of a repository, which is made if it is not there. With your organization’s "
                "name and a “/” before it, it is made for that.",
                max_lines=1,
            )
            private = gr.Checkbox(
                value=True, label="Private: without this tick everybody can see and download it"
            )
            token = gr.Textbox(label="Access token", type="password", max_lines=1)
            problem = panel()
            send = gr.Button("Put it on the Hub", variant="primary", elem_classes="send")
    return {
        "card": card, "told": told, "form": form, "problem": problem,
        "format": format, "repo": repo, "private": private, "token": token, "send": send,
    }  # fmt: skip


def attach(demo: gr.Blocks, look: Look, parts: dict[str, Any]) -> None:
    """Keep the card up to date."""
    look.at(_show, parts["card"], parts["told"], parts["form"])
    demo.load(_begin, None, [parts["repo"], parts["token"]], **page.DIRECT)
    asked = {name: parts[name] for name in ("format", "repo", "private", "token")}
    sent = [parts["token"], parts["problem"]]
    look.after(parts["send"].click(_send, None, sent, inputs_kwargs=asked, **page.DIRECT))
    look.after(parts["told"].click(_act, None, None, **page.DIRECT))


def _begin(request: gr.Request) -> tuple[Any, Any]:
    """What the form proposes."""
    store = page.store(request)
    try:
        told = push_actions.hub_push(store, request.query_params.get("run", ""))
    except NotFound:
        return gr.skip(), gr.skip()
    where = "Make one that may write at huggingface.co/settings/tokens. It is used once, not kept."
    if told["has_token"]:
        where = f"Left empty, the server’s own (HF_TOKEN) is used. {where}"
    return told["pushed"].get("repo") or told["suggested"], gr.Textbox(info=where)


def _show(request: gr.Request) -> tuple[Any, str, Any, float]:
    store = page.store(request)
    try:
        told = push_actions.hub_push(store, request.query_params.get("run", ""))
    except NotFound:  # the list, or deleted
        return gr.Column(visible=False), "", gr.Column(visible=False), IDLE
    asks = bool(told["ready"]) and told["state"] != "pushing"
    return (
        gr.Column(visible=told["can_be_made"]),
        views.push.status(told),
        gr.Column(visible=asks),
        BUSY if told["state"] == "pushing" else IDLE,
    )


def _send(request: gr.Request, **asked: Any) -> tuple[Any, str]:
    """The token's field, empty once it was handed on; and what is wrong with the form."""
    store = page.store(request)
    try:
        with page.bugs_in_words():
            push_actions.push_to_hub(store, request.query_params.get("run", ""), **asked)
    except UserError as problem:
        return gr.skip(), views.notice(str(problem), problem.hint)
    return "", ""


def _act(event: gr.EventData, request: gr.Request) -> None:
    if event.action == "cancel_push":
        with api.errors_in_words():
            push_actions.cancel_push(page.store(request), request.query_params.get("run", ""))
