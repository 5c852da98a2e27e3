"""Every way of learning, and everything to learn, through the page's endpoints: started, trained to
its end, and asked a question beside the original. The lists come from the tables in core.methods.
"""

import json

import pytest
from gradio_client import Client, handle_file

from core.methods import METHODS, OBJECTIVES
from starter.samples import SAMPLES
from tests.serving import serving
from tests.ui.test_api import ask, until

SAMPLE = SAMPLES["tea_shop"]
WAYS = {
    **{f"method-{name}": {"method": name, "quantization": METHODS[name].quantization[0]}
       for name in METHODS},
    **{f"objective-{name}": {"objective": name} for name in OBJECTIVES if name != "answers"},
}  # fmt: skip

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("methods") / "data") as app:
        yield Client(app.url, verbose=False)


@pytest.fixture(scope="module")
def runs(client, tmp_path_factory) -> dict[str, str]:
    """A run for each way, all in the line at once: way -> id."""
    file = tmp_path_factory.mktemp("files") / "better.jsonl"
    with file.open("w", encoding="utf-8") as stream:
        for question, answer in SAMPLE.held_out_rows():
            row = {"prompt": question, "chosen": answer, "rejected": "I do not know."}
            stream.write(json.dumps(row) + "\n")
    answers, pairs = (
        ask(client, "import_dataset", handle_file(str(path)))["id"] for path in (SAMPLE.file, file)
    )
    small = {"base_model": "starter", "max_steps": 3, "eval_steps": 3, "eval_fraction": 0.05}
    return {
        way: ask(
            client, "start_run",
            {**small, "name": way, "dataset": pairs if "objective" in own else answers, **own},
        )["id"]
        for way, own in WAYS.items()
    }  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_it_trains_to_its_end_and_answers_beside_the_original(client, runs, way):
    id = runs[way]
    run = until(
        lambda: (run := ask(client, "run", id))["status"] not in ("queued", "running") and run,
        seconds=300,
    )
    assert (run["status"], run["error"]) == ("completed", "")
    assert run["progress"]["step"] == 3
    assert run["result"]["peak_memory"] > 0
    question, _ = SAMPLE.held_out_rows()[0]
    *_, last = client.submit(id, question, {"max_new_tokens": 4}, api_name="/compare")
    assert last["done"]
    assert last["base"]
    assert last["tuned"]
