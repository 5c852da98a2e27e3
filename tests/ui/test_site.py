"""What the site asks of Gradio's queue beyond its documented settings."""

import gradio as gr

from ui import site


def test_gradios_queue_has_what_is_changed_of_it_and_keeps_no_record_of_events():
    with gr.Blocks() as demo:
        gr.api(lambda: "answered", api_name="ask")
    queue = demo._queue
    before = vars(queue).copy()
    site._spare(queue)
    changed = {name for name, value in vars(queue).items() if before.get(name) != value}
    assert changed <= before.keys()  # a name that a later version no longer reads would be new
    assert queue.sleep_when_free >= site.QUEUE_EVERY
    assert queue.compute_analytics_summary([{"function": "ask"}]) == {"functions": {}}
