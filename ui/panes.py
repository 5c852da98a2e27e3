"""Answers side by side; on a phone one at a time, chosen by tabs, while all of them go on growing.

The tabs are a component of their own: what is written anew with every word can't be clicked.
"""

from typing import Any

import gradio as gr

from ui.parts import CLICKS

# Which pane is shown is on the panes' frame, which stays when they are written anew.
TABS = """
const show = (shown) => {
  const panes = document.getElementById('panes');
  if (panes) panes.dataset.shown = shown;
  element.querySelectorAll('button').forEach((tab, i) => {
    tab.setAttribute('aria-pressed', i === Number(shown));
  });
};
element.addEventListener('click', (event) => {
  const tab = event.target.closest('button');
  if (tab) show([...element.querySelectorAll('button')].indexOf(tab));
});
watch('value', () => setTimeout(() => show(1)));
setTimeout(() => show(1));
"""

# data-copy holds what a click puts into the clipboard. Away from localhost and https there is no
# clipboard to write to, but a selected text can be copied.
COPIES = """
const put = async (text) => {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const field = document.createElement('textarea');
  field.value = text;
  document.body.append(field);
  field.select();
  document.execCommand('copy');
  field.remove();
};
element.addEventListener('click', async (event) => {
  const button = event.target.closest('[data-copy]');
  if (!button) return;
  await put(button.dataset.copy);
  const label = button.textContent;
  button.textContent = 'Copied';
  setTimeout(() => { button.textContent = label; }, 1500);
});
"""


def tabs(**props: Any) -> gr.HTML:
    return gr.HTML("", js_on_load=TABS, apply_default_css=False, elem_classes="pane-tabs", **props)


def panes() -> gr.HTML:
    """A panel (ui.parts) that also copies."""
    return gr.HTML("", js_on_load=CLICKS + COPIES, apply_default_css=False, elem_id="panes")
