"""The contract, as another program sees it: the real app, its worker and its trainer."""

import json
import re
import time
import zipfile
from pathlib import Path

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from tests.serving import serving

CONTRACT = {
    "import_dataset", "datasets", "dataset", "models", "estimate", "xray", "lengths", "start_run",
    "runs", "run", "metrics", "stop_run", "pause_run", "discard_run",
    "resume_run", "keep_run", "move_run", "delete_run", "compare", "download_adapter",
    "download_diagnostics", "people", "report", "make_report", "download_report",
    "exports", "make_export", "cancel_export", "delete_export", "download_export",
    "import_text", "import_from_hub", "import_again",
    "examine_dataset", "preview_fix", "fix_dataset", "undo_dataset", "dataset_rows", "edit_row",
    "delete_rows", "add_rows", "new_dataset", "rename_dataset", "delete_dataset",
    "download_dataset",
    "disk_usage", "trash", "put_back", "empty_trash", "delete_checkpoints", "clear_caches",
    "remove_upload", "votes", "votes_dataset",
    "ablation", "estimate_ablation", "start_ablation",
    "library", "family", "add_version", "describe_version", "make_current", "roll_back",
    "undo_roll_back", "set_gate", "remove_family", "roll_out", "end_rollout",
    "health", "keep_answers", "rate_answer", "forget_texts",
    "import_adapter", "import_adapter_from_hub", "blend", "keep_blend",
    "push_to_hub", "hub_push", "cancel_push",
}  # fmt: skip
QUESTIONS = "question,answer\n" + "".join(
    f"What is {a} and {b}?,{a} and {b} make {a + b}.\n" for a in range(6) for b in range(5)
)
MODEL = "starter"
SLOW = "(?:.|.|.){20}(?:.|.|.){2}[^a-z_0-9.]"  # a pattern that tries all ways to fit


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("served") / "data") as app:
        yield app


@pytest.fixture(scope="module")
def client(app):
    return Client(app.url, verbose=False)


@pytest.fixture(scope="module")
def dataset(client, tmp_path_factory):
    """The id of a dataset of 30 sums."""
    file = tmp_path_factory.mktemp("files") / "sums.csv"
    file.write_text(QUESTIONS)
    return client.predict(handle_file(str(file)), {"name": "Sums"}, api_name="/import_dataset")[
        "id"
    ]


def ask(client, endpoint, *arguments):
    return client.predict(*arguments, api_name=f"/{endpoint}")


def until(what, seconds=120.0):
    end = time.monotonic() + seconds
    while not (value := what()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.2)
    return value


def test_the_endpoints_are_those_of_the_contract_each_documented_and_no_other(client):
    endpoints = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert {name.strip("/") for name in endpoints} == CONTRACT
    for name, endpoint in endpoints.items():
        assert endpoint["description"], name
        assert all(parameter["type"] for parameter in endpoint["parameters"]), name


def test_the_same_endpoints_are_tools_for_other_programs(app):
    tools = httpx.get(f"{app.url}gradio_api/mcp/schema").json()
    assert {tool["name"] for tool in tools} == CONTRACT
    (tool,) = (tool for tool in tools if tool["name"] == "xray")
    assert "request" not in tool["inputSchema"]["properties"]
    assert "counted from 0" in tool["inputSchema"]["properties"]["row"]["description"]


def test_a_file_becomes_a_dataset(client, dataset):
    facts = ask(client, "dataset", dataset)
    assert (facts["name"], facts["shape"], facts["rows"]) == ("Sums", "pairs", 30)
    assert facts["columns"] == ["question", "answer"]
    assert all({"level", "code", "count", "text", "rows"} <= set(f) for f in facts["findings"])
    assert dataset in [found["id"] for found in ask(client, "datasets")]


def test_columns_that_say_nothing_are_asked_for_and_can_be_mapped(client, tmp_path):
    file = tmp_path / "things.csv"
    file.write_text(QUESTIONS.replace("question,answer", "aa,bb"))
    with pytest.raises(AppError, match="aa, bb"):
        ask(client, "import_dataset", handle_file(str(file)))
    mapping = {"aa": "user", "bb": "assistant"}
    facts = ask(client, "import_dataset", handle_file(str(file)), {"mapping": mapping})
    assert facts["rows"] == 30
    assert facts["name"] == "things"


def test_the_options_of_an_import_reach_it(client, tmp_path):
    archive, tests = tmp_path / "both.zip", tmp_path / "later.csv"
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("a.csv", "q;c;a\nWo?;Łódź;Tam.\n".encode("cp1250"))
        made.writestr("b.csv", "q;c;a\nWho?;here;Me.\n".encode("cp1250"))
    tests.write_text("q;c;a\nNew?;;Yes.\nwho;here;Me.\n")
    options = {
        "name": "Both", "member": "*", "encoding": "cp1250", "header": True,
        "templates": {"user": "{q} ({c})"}, "held_out": handle_file(str(tests)),
    }  # fmt: skip
    facts = ask(client, "import_dataset", handle_file(str(archive)), options)
    assert (facts["rows"], facts["held_out"], facts["encoding"]) == (1, 2, "binary")
    assert facts["templates"] == {"user": "{q} ({c})"}
    again = ask(client, "import_again", facts["id"], {"templates": None, "member": "a.csv"})
    assert (again["rows"], again["held_out"], again["name"]) == (1, 2, "Both")
    pasted = ask(client, "import_text", "Q: Why?\nA: So.\n", {"name": "Talk"})
    assert (pasted["name"], pasted["rows"]) == ("Talk", 1)
    for options, words in (
        ({"header": "yes"}, "header: 'yes' is not what"),
        ({"encoding": "klingon"}, "encoding: “klingon” is not known"),
        ({"templates": {"user": "{nothing}"}}, "templates: .*“nothing”"),
        ({"held_out": {"path": __file__}}, "held_out: a file must be uploaded"),
    ):
        with pytest.raises(AppError, match=words):
            ask(client, "import_dataset", handle_file(str(tests)), options)


@pytest.mark.long
def test_a_run_from_its_settings_to_its_adapter(client, dataset, tmp_path):
    config = {"base_model": MODEL, "dataset": dataset, "max_steps": 4, "eval_steps": 2}
    estimate = ask(client, "estimate", config)
    assert estimate["steps"] == 4
    assert estimate["fits"] == "fits"
    assert estimate["adapter_bytes"] > 0
    seen = ask(client, "xray", config, 0)
    assert {token["state"] for token in seen["tokens"]} <= {"learned", "context", "cut"}
    learned = "".join(token["text"] for token in seen["tokens"] if token["state"] == "learned")
    assert "0 and 0 make 0." in learned
    lengths = ask(client, "lengths", {**config, "max_length": 8})
    assert lengths["rows"] == lengths["shortened"] == 30
    assert sum(bar["rows"] for bar in lengths["bins"]) == 30

    started = ask(client, "start_run", config)
    assert started["position"] == 1
    id = started["id"]
    waits = ("queued", "running")
    run = until(lambda: (run := ask(client, "run", id))["status"] not in waits and run)
    assert (run["status"], run["error"]) == ("completed", "")
    assert run["progress"]["step"] == run["progress"]["total_steps"] == 4
    assert run["config"]["lora_r"] == estimate["config"]["lora_r"]
    assert id in [found["id"] for found in ask(client, "runs")]
    assert [row["step"] for row in ask(client, "metrics", id)][-1] == 4

    *_, last = client.submit(id, "What is 2 and 3?", {"max_new_tokens": 8}, api_name="/compare")
    assert last["done"] is True
    assert {"base", "tuned", id} <= set(last)
    with pytest.raises(AppError, match="completed"):
        ask(client, "stop_run", id)
    with zipfile.ZipFile(ask(client, "download_adapter", id)) as archive:
        assert any(name.endswith("adapter_config.json") for name in archive.namelist())

    assert ask(client, "delete_checkpoints", id) == {"id": id, "status": "completed"}
    assert ask(client, "delete_run", id)["status"] == "deleted"
    with pytest.raises(AppError, match="not found"):
        ask(client, "run", id)


def test_what_is_deleted_can_be_put_back_until_the_trash_is_emptied(client, tmp_path):
    made = ask(client, "new_dataset", "Short", [{"question": "Who?", "answer": "Me."}])
    deleted = ask(client, "delete_dataset", made["id"])
    assert deleted == {"id": made["id"], "status": "deleted", "trash": deleted["trash"]}
    (found,) = (it for it in ask(client, "trash") if it["id"] == deleted["trash"])
    assert (found["kind"], found["name"], found["was"]) == ("dataset", "Short", made["id"])
    told = ask(client, "disk_usage")
    assert deleted["trash"] in [it["id"] for it in told["trash"]]
    assert told["used"] > 0
    back = ask(client, "put_back", deleted["trash"])
    assert back == {"kind": "dataset", "id": made["id"]}
    assert ask(client, "dataset", made["id"])["rows"] == 1
    ask(client, "delete_dataset", made["id"])
    assert ask(client, "empty_trash")["removed"] >= 1
    assert ask(client, "trash") == []
    assert ask(client, "clear_caches")["bytes"] >= 0


@pytest.mark.long
def test_a_run_is_stopped_and_resumed(client, dataset):
    config = {"base_model": MODEL, "dataset": dataset, "max_steps": 100_000, "name": "long one"}
    id = ask(client, "start_run", config)["id"]
    waiting = ask(client, "start_run", {**config, "max_steps": 1})
    assert ask(client, "run", waiting["id"])["position"] in (1, 2)
    assert ask(client, "stop_run", waiting["id"])["status"] == "stopped"
    until(lambda: ask(client, "run", id)["progress"]["step"] > 2)
    assert ask(client, "stop_run", id)["id"] == id
    until(lambda: ask(client, "run", id)["status"] == "stopped")
    steps = ask(client, "run", id)["progress"]["step"]
    assert ask(client, "resume_run", id)["position"] == 1
    until(lambda: ask(client, "run", id)["progress"]["step"] > steps)
    ask(client, "stop_run", id)
    until(lambda: ask(client, "run", id)["status"] == "stopped")


@pytest.mark.parametrize(
    ("endpoint", "arguments", "words"),
    [
        ("run", ["nowhere"], r"There is no run 'nowhere' \(not found\)\."),
        ("metrics", ["../../x"], "not found"),
        ("run", ["x" * 5000], "not found"),
        ("dataset", ["x" * 5000], "not found"),
        ("dataset", [""], "not found"),
        ("stop_run", ["nowhere"], "not found"),
        ("resume_run", ["nowhere"], "not found"),
        ("keep_run", ["nowhere"], "not found"),
        ("delete_run", ["nowhere"], "not found"),
        ("download_adapter", ["nowhere"], "not found"),
        ("delete_checkpoints", ["nowhere"], "not found"),
        ("put_back", ["../../x"], r"There is no '../../x' in the trash \(not found\)\."),
        ("remove_upload", ["nowhere"], "not found"),
        ("compare", ["nowhere", "Hello", None], "not found"),
        ("run", [7], "id: .*string"),
        ("start_run", ["a text"], "config: .*dict"),
        ("start_run", [{}], "dataset"),
        ("start_run", [{"dataset": "nowhere"}], "not found"),
        ("start_run", [{"lora_r": -1}], "lora_r.*must be at least 1"),
        ("start_run", [{"learning": 1}], "learning: there is no such setting"),
        ("start_run", [{"dataset": "sums", "base_model": "no such model"}], "no such model"),
        ("estimate", [{"dataset": "sums", "batch_size": "many"}], "batch_size"),
        ("xray", [{"dataset": "sums"}, 3000], "row: Sums has no row 3000. Its rows are 0 to 29"),
        ("xray", [{"dataset": "sums"}, 10**30], "row: Sums has no row 1000"),
        ("xray", [{"dataset": "sums"}, "first"], "row: .*integer"),
        ("start_run", [{"target_modules": "(a+)+$"}], "target_modules .*repeats"),
        ("estimate", [{"dataset": "sums", "target_modules": SLOW}], "takes too long"),
        ("start_run", [{"dataset": "sums", "base_model": "~nobody-here/x"}], "There is no"),
        ("start_run", [{"dataset": "sums", "base_model": "\0"}], "There is no"),
        ("import_dataset", [{"path": __file__}, None], "file: a file must be uploaded"),
        ("import_dataset", [None, None], "file: a file must be uploaded"),
        ("compare", [[], "Hello", None], "run: none is named"),
        ("compare", ["nowhere", [], None], "message: there is nothing"),
    ],
)
def test_who_is_wrong_is_told_the_field_and_the_reason(app, dataset, endpoint, arguments, words):
    assert re.search(words, error_of(app, endpoint, arguments))


def error_of(app, endpoint, arguments):
    """What the plain HTTP interface answers; the client would mend some arguments first."""
    calls = f"{app.url}gradio_api/call/{endpoint}"
    event = httpx.post(calls, json={"data": arguments}).json()["event_id"]
    kind, data = httpx.get(f"{calls}/{event}", timeout=30).text.strip().split("\n")[-2:]
    assert kind == "event: error"
    return json.loads(data.removeprefix("data: "))["error"]


def test_an_option_that_does_not_exist_is_named(client, tmp_path):
    file = tmp_path / "sums.csv"
    file.write_text(QUESTIONS)
    with pytest.raises(AppError, match="options: there is no option seperator"):
        ask(client, "import_dataset", handle_file(str(file)), {"seperator": ";"})


def test_damaged_folders_hide_nothing_and_can_be_deleted(app, client, dataset):
    """A dataset with a torn file; runs with an empty config, and with nothing but a place in the
    line, which would be next."""
    for path, content in {
        "datasets/broken/dataset.json": "{",
        "runs/broken/config.json": "",
        "runs/stray/queued.json": "",
    }.items():
        file = app.data / "local" / path
        file.parent.mkdir(parents=True)
        file.write_text(content)
    with pytest.raises(AppError, match=r"dataset\.json is damaged"):
        ask(client, "dataset", "broken")
    listed = {facts["id"]: facts for facts in ask(client, "datasets")}
    assert listed["broken"]["shape"] == "damaged"
    assert listed[dataset]["rows"] == 30
    runs = {run["id"]: run["status"] for run in ask(client, "runs")}
    assert (runs["broken"], runs["stray"]) == ("damaged", "damaged")
    assert "config.json is damaged" in ask(client, "run", "broken")["error"]
    for page in ("", "runs", "runs?run=broken", "datasets"):
        assert httpx.get(f"{app.url}{page}").status_code == 200
    for id in ("broken", "stray"):
        assert ask(client, "delete_run", id)["status"] == "deleted"
    ask(client, "delete_dataset", "broken")
    assert "broken" not in [facts["id"] for facts in ask(client, "datasets")]


def test_a_bug_is_a_plain_sentence_outside_and_a_traceback_in_the_log(app, client):
    odd = app.data / "local" / "datasets" / "odd"
    odd.mkdir(parents=True)
    (odd / "dataset.json").write_text('{"name": "Odd", "history": "a word where a list belongs"}')
    try:
        with pytest.raises(AppError, match="Something went wrong inside Graft"):
            ask(client, "dataset", "odd")
    finally:
        (odd / "dataset.json").unlink()
    assert "Traceback" in (app.data.parent / "app.log").read_text()


def test_files_of_the_data_directory_are_not_served(app, dataset):
    rows = app.data / "local" / "datasets" / dataset / "rows.jsonl"
    assert rows.exists()
    assert httpx.get(f"{app.url}gradio_api/file={rows}").status_code == 403


def test_a_page_of_somebody_else_cannot_ask_under_its_own_name(app):
    for path in ("", "gradio_api/info", "gradio_api/mcp/schema"):
        for host in ("evil.example", "evil.example:7860", "127.0.0.1.evil.example", ""):
            refused = httpx.get(f"{app.url}{path}", headers={"Host": host})
            assert refused.status_code == 421
        assert "GRAFT_ALLOWED_HOSTS" in refused.text
    for host in ("localhost:9", "127.0.0.1", "[::1]:7860", "192.168.1.5:80", "LOCALHOST"):
        assert httpx.get(app.url, headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["localhost.", "[::ffff:127.0.0.1]", "127.0.0.1", "192.168.1.5"])
def test_a_page_of_somebody_else_cannot_ask_under_the_right_name(app, host):
    port = app.url.split(":")[-1].strip("/")
    call = f"{app.url}gradio_api/call/datasets"
    for origin in (
        "http://evil.example",
        f"http://evil.example:{port}",
        "null",
        f"http://{host}:9",
    ):
        headers = {"Host": f"{host}:{port}", "Origin": origin}
        refused = httpx.post(call, json={"data": []}, headers=headers)
        assert refused.status_code == 403
    own = {"Host": f"{host}:{port}", "Origin": f"http://{host}:{port}"}
    assert httpx.post(call, json={"data": []}, headers=own).status_code == 200


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="reads Linux' /proc")
def test_the_web_process_has_never_loaded_torch(app, client, dataset):
    ask(client, "estimate", {"base_model": MODEL, "dataset": dataset})
    assert "libtorch" not in Path(f"/proc/{app.process.pid}/maps").read_text()
