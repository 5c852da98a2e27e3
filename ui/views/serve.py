"""Serve: how other programs ask a model, and the keys with which they may."""

import json
import shlex
from collections.abc import Sequence
from html import escape

from core.keys import Key
from core.vllm import Served
from ui import words
from ui.views.parts import asks, dialog, facts, notice, title

PLACEHOLDER = "YOUR-KEY"
QUESTION = "What can you do for me?"


def made(text: str) -> str:
    """The new key, this once."""
    shown = f'<pre class="code secret"><code>{escape(text)}</code></pre>{_copy(text)}'
    hint = "Copy it now: it is kept as a fingerprint only, and can’t be shown again."
    return notice("This is your key.", hint, kind="good", action=shown)


def listing(keys: Sequence[Key]) -> str:
    """The keys that there are, each with a way to end it."""
    if not keys:
        return '<p class="small">There is no key yet, so no program is answered.</p>'
    rows = "".join(
        f'<li><div><strong>{escape(key.name)}</strong> <code class="small">…{escape(key.ends)}'
        f'</code><p class="small">{_used(key)}</p></div>'
        f"{asks('revoke-key', 'Revoke', escape(key.id))}</li>"
        for key in keys
    )
    return f'<ul class="key-list" aria-label="Keys">{rows}</ul>'


def _used(key: Key) -> str:
    used = f"used last {words.when(key.used)}" if key.used else "never used"
    return f"Made {words.when(key.created)}, {used}."


def dialogs() -> str:
    return dialog(
        "revoke-key", "Revoke this key?",
        "Programs that use it are no longer answered, from now on. There is no way back; a new key "
        "can be made at any time.",
        "revoke", "Revoke", "Keep it", bad=True,
    )  # fmt: skip


def programs(address: str, model: str, key: str = "") -> str:
    """Address and model, and two ways to ask that can be copied as they are."""
    key = key or PLACEHOLDER
    told = facts((("Address", _mono(address)), ("Model", _mono(model))))
    return (
        f'<dl class="serve-facts">{told}</dl>'
        + _code("In a terminal", curl(address, model, key))
        + _code("In Python, with the package openai", python(address, model, key))
    )


def curl(address: str, model: str, key: str = PLACEHOLDER) -> str:
    messages = [{"role": "user", "content": QUESTION}]
    asked = {"model": model, "messages": messages, "temperature": 0, "max_tokens": 200}
    return (
        f"curl {shlex.quote(f'{address}/chat/completions')} \\\n"
        f"  -H {shlex.quote(f'Authorization: Bearer {key}')} \\\n"
        f"  -H 'Content-Type: application/json' \\\n"
        f"  -d {shlex.quote(json.dumps(asked, ensure_ascii=False))}"
    )


def python(address: str, model: str, key: str = PLACEHOLDER) -> str:
    address, model, key, question = map(json.dumps, (address, model, key, QUESTION))
    return f"""from openai import OpenAI

client = OpenAI(base_url={address}, api_key={key})
answer = client.chat.completions.create(
    model={model},
    messages=[{{"role": "user", "content": {question}}}],
    temperature=0,
    max_tokens=200,
)
print(answer.choices[0].message.content)"""


def vllm(served: Served | None, problem: str = "", hint: str = "") -> str:
    """How it is served to many, or why not."""
    head = title(
        "For many people",
        "Graft answers up to 16 questions at once, beside everything else that it does. A machine "
        "that does nothing but answer is better served by vLLM, on a GPU of its own:",
    )
    if served is None:
        return head + notice(problem, hint, kind="warn")
    notes = "".join(f'<p class="small">{escape(note)}</p>' for note in served.notes)
    return head + _code("In a terminal, where vLLM is installed", served.command) + notes


def _copy(text: str) -> str:
    return f'<button type="button" class="button quiet" data-copy="{escape(text)}">Copy</button>'


def _mono(text: str) -> str:
    return f"<code>{escape(text)}</code>"


def _code(label: str, text: str) -> str:
    return (
        f'<figure class="snippet"><figcaption>{escape(label)}{_copy(text)}</figcaption>'
        f'<pre class="code" tabindex="0"><code>{escape(text)}</code></pre></figure>'
    )
