"""The page's own building blocks: HTML whose buttons reach Python, and cards to choose from.

Their templates contain nothing but `${…}`: what is put there is inserted as it is, never evaluated
(between {{…}} it would be). Text from people must be escaped in the HTML already (views.py does).
"""

from typing import Any

import gradio as gr

# A click on data-action="stop" data-id="…" becomes the component's click event. data-opens="…"
# shows the <dialog> of that id, whose buttons then speak of the same data-id; data-closes hides it.
CLICKS = """
element.addEventListener('click', (event) => {
  const target = event.target.closest('[data-action],[data-opens],[data-closes]');
  if (!target || target.disabled) return;
  const { action, id, opens } = target.dataset;
  const shown = target.closest('dialog');
  const asked = opens && document.getElementById(opens);
  if (asked) { asked.dataset.id = id || ''; asked.showModal(); }
  if (shown) shown.close();
  if (action) trigger('click', { action, id: id || shown?.dataset.id || '' });
});
"""

# The chosen radio is the component's value; the browser's own radios bring the keyboard with them.
CHOICES = """
const show = () => element.querySelectorAll('input[type=radio]').forEach((radio) => {
  radio.checked = radio.value === props.value;
});
element.addEventListener('change', (event) => {
  if (event.target.type !== 'radio') return;
  props.value = event.target.value;
  trigger('input');
});
watch(['value', 'html'], show);
show();
"""

# Every <select data-column> is one column's part; the component's value is {column: part}.
PARTS = """
element.addEventListener('change', () => {
  props.value = Object.fromEntries([...element.querySelectorAll('select[data-column]')]
    .filter((select) => select.value)
    .map((select) => [select.dataset.column, select.value]));
  trigger('input');
});
"""


def panel(value: str = "", **props: Any) -> gr.HTML:
    """A piece of HTML; its elements with data-action trigger `click` with {action, id}."""
    return gr.HTML(value, js_on_load=CLICKS, apply_default_css=False, **props)


def cards(html: str = "", value: str | None = None, **props: Any) -> gr.HTML:
    """One of several cards (views.radio_cards); its value is the chosen card's id.

    To show other cards: `gr.update(html=…)`.
    """
    return gr.HTML(
        value,
        html=html,
        html_template="${html}",
        js_on_load=CHOICES,
        apply_default_css=False,
        **props,
    )


def column_parts(**props: Any) -> gr.HTML:
    """A table's first rows with a picker above each column; its value is {column: part}.

    To show a table: `gr.update(html=views.data.column_parts(…), value={})`.
    """
    return gr.HTML(
        {}, html="", html_template="${html}", js_on_load=PARTS, apply_default_css=False, **props
    )
