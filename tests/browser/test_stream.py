"""The stream of answers, against a server that ends it in the worst moments."""

import pytest
from playwright.sync_api import Page

from ui.theme import HERE

# Each request for the stream gets the next of these answers and the end. "late" is asked before
# the stream is, and its number is told 100 ms after.
SERVER = """
let streams, told;
const serve = (ids) => new Response([
  ...ids.map((id) => ({ msg: 'process_completed', event_id: id, output: { data: [id] } })),
  { msg: 'close_stream' },
].map((message) => `data: ${JSON.stringify(message)}\\n\\n`).join(''));
window.fetch = async (what) => {
  const { pathname, search } = new URL(what.url ?? what);
  if (pathname.endsWith('/queue/data')) return serve(streams.shift());
  if (search === '?late') await told;
  return new Response(JSON.stringify({ event_id: search.slice(1) }));
};
window.ask = async (answers, late) => {
  streams = answers;
  told = new Promise((then) => setTimeout(then, 100));
  await fetch('http://graft/queue/join?first');
  const asked = late && fetch('http://graft/queue/join?late');
  const text = await (await fetch(new Request('http://graft/queue/data'))).text();
  await asked;
  return { left: streams.length, ends: text.split('close_stream').length - 1,
           answers: [...text.matchAll(/"event_id":"(.+?)"/g)].map((found) => found[1]) };
};
"""


@pytest.mark.parametrize(
    ("streams", "late", "answers"),
    [
        ([["first"]], False, ["first"]),
        ([["first"], ["late"]], True, ["first", "late"]),
        ([["late", "first"]], True, ["late", "first"]),  # the answer before the question's number
    ],
)
def test_a_stream_ends_once_nothing_is_left_to_answer(page: Page, streams, late, answers):
    page.add_script_tag(content=SERVER)
    page.add_script_tag(content=(HERE / "stream.js").read_text("utf-8"))
    found = page.evaluate("([streams, late]) => ask(streams, late)", [streams, late])
    assert found == {"left": 0, "ends": 1, "answers": answers}
