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

# A fold that somebody opened or closed stays so when the panel comes anew: Gradio takes away what
# the new HTML does not have, `open` too. A fold is known by its words and what it stands in.
FOLDS = """
const folds = new Map();
const named = (fold) =>
  `${fold.closest('[aria-label]')?.ariaLabel}: ${fold.querySelector('summary')?.textContent}`;
element.addEventListener('click', ({ target }) => {
  const fold = target.closest('summary')?.parentElement;
  if (fold) folds.set(named(fold), !fold.open);
});
new MutationObserver(() => element.querySelectorAll('details').forEach((fold) => {
  const open = folds.get(named(fold)) ?? fold.open;
  if (fold.open !== open) fold.open = open;
})).observe(element, { childList: true, subtree: true, attributeFilter: ['open'] });
"""

# A key presses the button whose data-keys names it, but not while somebody types or holds it down.
KEYS = (
    CLICKS
    + """
document.addEventListener('keydown', (event) => {
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
  if (event.target.closest?.('input, textarea, select, [contenteditable]')) return;
  const pressed = [...element.querySelectorAll('[data-keys]')].find(
    (button) => button.dataset.keys.split(' ').includes(event.key));
  if (!pressed?.checkVisibility()) return;
  event.preventDefault();
  pressed.click();
});
"""
)

# Ticked boxes (data-tick="id") stay ticked when the list comes anew, on its other pages too; a bar
# (.ticked) then says how many there are, and its link names them all.
TICKS = (
    CLICKS
    + """
const read = () => new Set(JSON.parse(sessionStorage.getItem('graft-ticked') ?? '[]'));
const show = () => {
  const ticked = read();
  element.querySelectorAll('[data-tick]').forEach((box) => {
    box.checked = ticked.has(box.dataset.tick);
  });
  const bar = element.querySelector('.ticked');
  if (!bar) return;
  bar.hidden = !ticked.size;
  bar.querySelector('.count').textContent = ticked.size;
  const link = bar.querySelector('a');
  link.href = 'beside?runs=' + [...ticked].map(encodeURIComponent).join(',');
  link.hidden = ticked.size < 2;
};
const keep = (ticked) => {
  sessionStorage.setItem('graft-ticked', JSON.stringify([...ticked]));
  show();
};
element.addEventListener('change', ({ target }) => {
  if (target.dataset.tick === undefined) return;
  const ticked = read();
  if (target.checked) ticked.add(target.dataset.tick);
  else ticked.delete(target.dataset.tick);
  keep(ticked);
});
element.addEventListener('click', (event) => {
  if (event.target.closest('[data-untick]')) keep(new Set());
});
watch('value', () => setTimeout(show));
setTimeout(show);
"""
)

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

# The named fields of a form are the component's value: data-field="mapping" data-key="q" is
# value.mapping.q. A field with data-rereads asks for the form anew, as a click on "reread".
FIELDS = (
    """
const read = () => {
  const value = {};
  element.querySelectorAll('[data-field]').forEach((field) => {
    if (field.matches('[type=radio], [type=checkbox]') && !field.checked) return;
    const { field: name, key, json, list } = field.dataset;
    const given = json === undefined ? field.value : JSON.parse(field.value);
    if (given === null || (given === '' && json === undefined)) return;
    if (key !== undefined) (value[name] ??= {})[key] = given;
    else if (list !== undefined) (value[name] ??= []).push(given);
    else value[name] = given;
  });
  return value;
};
element.addEventListener('click', (event) => {
  if (event.target.closest('[data-action]')) props.value = read();
}, true);
element.addEventListener('input', (event) => {
  if (!event.target.closest('[data-field]')) return;
  props.value = read();
  if ('rereads' in event.target.dataset) trigger('click', { action: 'reread', id: '' });
  else trigger('input');
});
// A form that comes anew keeps what is typed in it, but for fields with data-clear.
watch('html', () => setTimeout(() => {
  element.querySelectorAll('[data-clear]').forEach((field) => { field.value = ''; });
}));
"""
    + CLICKS
    + FOLDS
)


# The value is {element id: what is wrong there}: each is said at the foot of that element, which
# may be mounted later, as those in a fold are.
NOTES = """
const put = () => {
  document.querySelectorAll('.at-field').forEach((note) => {
    if (props.value?.[note.parentElement.id] !== note.textContent) {
      note.parentElement.querySelector('[aria-invalid]')?.removeAttribute('aria-invalid');
      note.remove();
    }
  });
  for (const [id, text] of Object.entries(props.value ?? {})) {
    const place = document.getElementById(id);
    if (!place || place.querySelector('.at-field')) continue;
    const note = document.createElement('p');
    note.className = 'at-field';
    note.setAttribute('role', 'alert');
    note.textContent = text;
    place.append(note);
    place.querySelector('input, textarea')?.setAttribute('aria-invalid', 'true');
  }
};
watch('value', put);
put();
new MutationObserver(put).observe(document.body, { childList: true, subtree: true });
"""

# A slider shows what belongs to one time: the elements with data-at of its number. It stays with
# the newest until the person moves it, and comes back to it when it is moved there. Each time has a
# name, and the one that was chosen is known by it: the panel is made anew as times are added.
SCRUB = """
let chosen = null;
const show = () => {
  const slider = element.querySelector('input[type=range]');
  if (!slider) return;
  const names = slider.dataset.names.split('|');
  const known = names.indexOf(chosen);
  if (known >= 0) slider.value = known;
  slider.setAttribute('aria-valuetext', names[slider.value]);
  element.querySelectorAll('[data-at]').forEach((part) => {
    part.hidden = part.dataset.at !== slider.value;
  });
};
element.addEventListener('input', (event) => {
  const { value, max, dataset } = event.target;
  chosen = value === max ? null : dataset.names.split('|')[value];
  show();
});
watch('value', () => {
  const focused = element.querySelector('input:focus');
  setTimeout(() => {
    show();
    if (focused) element.querySelector('input')?.focus({ preventScroll: true });
  });
});
show();
"""


def panel(value: str = "", **props: Any) -> gr.HTML:
    """A piece of HTML; its elements with data-action trigger `click` with {action, id}."""
    return gr.HTML(value, js_on_load=CLICKS + FOLDS, apply_default_css=False, **props)


def keyed(**props: Any) -> gr.HTML:
    """A panel whose buttons with data-keys can be pressed by these keys too."""
    return gr.HTML("", js_on_load=KEYS, apply_default_css=False, **props)


def ticked() -> gr.HTML:
    """A panel with a list whose boxes can be ticked."""
    return gr.HTML("", js_on_load=TICKS, apply_default_css=False)


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


def scrubber() -> gr.HTML:
    """A panel with a slider that shows one time of many (views.watch)."""
    return gr.HTML("", js_on_load=SCRUB, apply_default_css=False)


def notes() -> gr.HTML:
    """What is wrong, said where it is: its value is {element id: plain text}."""
    return gr.HTML({}, html_template="", js_on_load=NOTES, apply_default_css=False)


def fields(html: str = "", **props: Any) -> gr.HTML:
    """A form of ours: its elements with data-field make the value, a dict; it also clicks.

    To show another form: `gr.update(html=…, value={})`.
    """
    return gr.HTML(
        {}, html=html, html_template="${html}", js_on_load=FIELDS, apply_default_css=False, **props
    )
