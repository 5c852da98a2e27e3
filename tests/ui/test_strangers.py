"""Two people and one server: whatever one asks for by the other's ids is not there."""

import hashlib
import json
from pathlib import Path

import httpx
import pytest
from gradio.routes import App as Server
from gradio_client import Client, handle_file

from core import keys, library
from core.store import Store
from tests.browser import stage
from tests.serving import PASSWORDS, serving_people
from ui import site

NOT_THERE = r"not found|There is no "

# What each endpoint is asked with the ids of another person; one that takes no id is None.
FOREIGN = {
    "dataset": ["DATASET"],
    "estimate": [{"dataset": "DATASET"}],
    "xray": [{"dataset": "DATASET"}, 0],
    "lengths": [{"dataset": "DATASET"}],
    "start_run": [{"dataset": "DATASET"}],
    "run": ["RUN"],
    "metrics": ["RUN"],
    "stop_run": ["RUN"],
    "pause_run": ["RUN"],
    "discard_run": ["RUN"],
    "resume_run": ["RUN"],
    "keep_run": ["RUN"],
    "move_run": ["RUN", 1],
    "delete_run": ["RUN"],
    "compare": ["RUN", "Hello", None],
    "download_adapter": ["RUN"],
    "download_diagnostics": ["RUN"],
    "report": ["RUN"],
    "make_report": ["RUN"],
    "download_report": ["RUN"],
    "exports": ["RUN"],
    "make_export": ["RUN", "adapter"],
    "cancel_export": ["RUN", "adapter"],
    "delete_export": ["RUN", "adapter"],
    "download_export": ["RUN", "adapter"],
    "import_again": ["DATASET", None],
    "examine_dataset": ["DATASET"],
    "preview_fix": ["DATASET", "duplicate"],
    "fix_dataset": ["DATASET", "duplicate", None],
    "undo_dataset": ["DATASET"],
    "dataset_rows": ["DATASET", 0, 5],
    "edit_row": ["DATASET", 0, {}],
    "delete_rows": ["DATASET", [0]],
    "add_rows": ["DATASET", [{"question": "a", "answer": "b"}]],
    "rename_dataset": ["DATASET", "Mine"],
    "delete_dataset": ["DATASET"],
    "download_dataset": ["DATASET"],
    "put_back": ["TRASHED"],
    "delete_checkpoints": ["RUN"],
    "remove_upload": ["UPLOAD"],
    "votes": ["RUN"],
    "votes_dataset": ["RUN"],
    "ablation": ["RUN"],
    "estimate_ablation": [{"dataset": "DATASET"}, {"lora_r": [4, 8]}],
    "start_ablation": [{"dataset": "DATASET"}, {"lora_r": [4, 8]}],
    "family": ["FAMILY"],
    "add_version": ["mine", "RUN", "", None],
    "describe_version": ["FAMILY", 1, "mine", None],
    "make_current": ["FAMILY", 1, "", False],
    "roll_back": ["FAMILY", ""],
    "undo_roll_back": ["FAMILY"],
    "set_gate": ["FAMILY", {"active": True}],
    "remove_family": ["FAMILY"],
    "roll_out": ["FAMILY", 1, 50, "", False],
    "end_rollout": ["FAMILY", ""],
    "health": ["FAMILY"],
    "rate_answer": ["FAMILY", "up", "", "Hello", "", None],
    "forget_texts": ["FAMILY"],
    "import_adapter_from_hub": ["RUN", None],
    "blend": [{"RUN": 1.0}, None],
    "keep_blend": ["RUN", "Mine"],
    "push_to_hub": ["RUN", "name", "hf_x", "adapter", True],
    "hub_push": ["RUN"],
    "cancel_push": ["RUN"],
    **dict.fromkeys(
        ["import_adapter", "datasets", "models", "runs", "people", "import_dataset", "import_text",
         "import_from_hub", "new_dataset", "disk_usage", "trash", "empty_trash", "clear_caches",
         "library", "keep_answers"]
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    with serving_people(tmp_path_factory.mktemp("people")) as app:
        yield app


@pytest.fixture(scope="module")
def annas(app):
    """The ids of what Anna has: a dataset, a finished run with an adapter, the family that it is
    kept in, a dataset in the trash and an upload."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRAFT_DATA", str(app.data))
        store = Store("anna")
        dataset = stage.add_dataset(store, "Anna's secret shop")
        run = stage.finish(stage.add_run(store, "Anna's secret run"), "completed")
        family = library.add(store, "Anna's secret family", run).family
        deleted = store.dataset(stage.add_dataset(store, "Anna's secret rest")).delete()
        upload = store.create_upload("Anna's secret file", lambda folder: {"file": "secret.csv"})
    return {
        "DATASET": dataset, "RUN": run.id, "FAMILY": family, "TRASHED": deleted.id,
        "UPLOAD": upload.id,
    }  # fmt: skip


def call(app, endpoint, arguments, name="ben"):
    """(event, data) that the plain HTTP interface ends with."""
    calls, auth = f"{app.url}gradio_api/call/{endpoint}", (name, PASSWORDS[name])
    event = httpx.post(calls, json={"data": arguments}, auth=auth).json()["event_id"]
    said = httpx.get(f"{calls}/{event}", auth=auth, timeout=60).text.strip().split("\n")[-2:]
    return said[0].removeprefix("event: "), said[1].removeprefix("data: ")


def filled(value, ids):
    """The arguments with ids put in."""
    text = json.dumps(value)
    for word, id in ids.items():
        text = text.replace(word, id)
    return json.loads(text)


def fingerprint(folder: Path) -> str:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return hashlib.sha256(
        b"".join(str(file).encode() + file.read_bytes() for file in files)
    ).hexdigest()


def test_every_endpoint_is_tried_by_a_stranger(app):
    named = httpx.get(f"{app.url}gradio_api/info", auth=("ben", PASSWORDS["ben"])).json()
    assert {name.strip("/") for name in named["named_endpoints"]} == FOREIGN.keys()


@pytest.mark.parametrize("endpoint", [name for name, asked in FOREIGN.items() if asked])
def test_the_ids_of_another_person_are_not_there(app, annas, endpoint):
    before = fingerprint(app.data / "anna")
    for way in ("{}", "../../anna/{kind}/{}", "{data}/anna/{kind}/{}"):
        kinds = {"TRASHED": "datasets/.trash", "FAMILY": "library"}
        ids = {
            word: way.format(id, kind=kinds.get(word, f"{word.lower()}s"), data=app.data)
            for word, id in annas.items()
        }
        event, said = call(app, endpoint, filled(FOREIGN[endpoint], ids))
        assert event == "error", said
        assert "not found" in said, said
        for id in sorted(ids.values(), key=len, reverse=True):  # which it may repeat
            said = said.replace(id, "").replace(id[:100], "")
        assert "secret" not in said
    assert fingerprint(app.data / "anna") == before
    assert not list((app.data / "ben" / "runs").glob("*"))


@pytest.mark.parametrize(
    "endpoint", ["datasets", "runs", "library", "models", "trash", "disk_usage"]
)
def test_a_list_has_nothing_of_another_person(app, annas, endpoint):
    event, said = call(app, endpoint, [])
    assert event == "complete"
    assert not any(id in said for id in annas.values())
    assert "secret" not in said


@pytest.mark.parametrize(
    "config",
    [
        {"base_model": "{run}/adapter"},
        {"base_model": "{data}/ben/../anna/runs/{id}/adapter"},
        {"continue_from": "{run}/adapter"},
        {"continue_from": "{id}"},
    ],
)
def test_what_another_person_trained_is_no_model_to_go_on_from(app, annas, config):
    mine = json.loads(
        call(app, "new_dataset", ["Mine", [{"question": "a", "answer": "b"}] * 60])[1]
    )
    run = app.data / "anna" / "runs" / annas["RUN"]
    names = {"run": str(run), "data": str(app.data), "id": annas["RUN"]}
    asked = {key: value.format(**names) for key, value in config.items()}
    event, said = call(app, "start_run", [{"dataset": mine[0]["id"], **asked}])
    assert event == "error"
    assert "not found" in said


def test_a_file_that_another_person_brought_is_not_handed_out(app, annas):
    rows = app.data / "anna" / "datasets" / annas["DATASET"] / "rows.jsonl"
    auth = ("ben", PASSWORDS["ben"])
    assert httpx.get(f"{app.url}gradio_api/file={rows}", auth=auth).status_code == 403
    event, _ = call(app, "import_dataset", [{"path": str(rows)}, None])
    assert event == "error"


@pytest.mark.parametrize(
    "page", ["home", "runs?run={RUN}", "library?family={FAMILY}", "beside?runs={RUN}"]
)
def test_what_a_page_looks_at_is_not_another_person_s(app, annas, page):
    look = f"{app.url}looks/{page.format(**annas)}"
    assert httpx.post(look).status_code == 401
    hers, his = (
        httpx.post(look, auth=(name, PASSWORDS[name])).raise_for_status().text
        for name in ("anna", "ben")
    )
    assert "secret" in hers
    for id in sorted(annas.values(), key=len, reverse=True):  # which it may repeat
        his = his.replace(id, "")
    assert "secret" not in his


def test_only_admins_see_who_is_there_and_what_waits(app, annas):
    assert call(app, "people", [])[0] == "error"
    event, said = call(app, "people", [], "root")
    assert event == "complete"
    (told,) = json.loads(said)
    anna = next(user for user in told["people"] if user["name"] == "anna")
    assert (anna["datasets"], anna["runs"]) == (1, 1)
    assert anna["bytes"] > 0
    # An admin has no more of the others' things than anybody else.
    assert call(app, "run", [annas["RUN"]], "root")[0] == "error"
    assert call(app, "dataset_rows", [annas["DATASET"], 0, 5], "root")[0] == "error"


def test_data_that_nobody_logs_in_for_is_listed(app, monkeypatch):
    monkeypatch.setenv("GRAFT_DATA", str(app.data))
    stage.add_dataset(Store("gone"), "Left behind")
    (told,) = json.loads(call(app, "people", [], "root")[1])
    left = told["people"][-1]
    assert (left["name"], left["role"], left["datasets"], left["limits"]) == ("gone", "", 1, {})


def test_the_owner_has_it_all(app, annas):
    client = Client(app.url, auth=("anna", PASSWORDS["anna"]), verbose=False)
    assert client.predict(annas["RUN"], api_name="/run")["name"] == "Anna's secret run"
    assert client.predict(annas["DATASET"], 0, 5, api_name="/dataset_rows")
    assert [run["id"] for run in client.predict(api_name="/runs")] == [annas["RUN"]]
    (family,) = client.predict(api_name="/library")
    assert (family["name"], family["current"]) == (annas["FAMILY"], 1)
    told = client.predict(annas["FAMILY"], api_name="/family")
    assert [event["by"] for event in told["log"]] == ["anna", "anna"]
    assert client.predict(annas["FAMILY"], api_name="/health")["weeks"] == []


def test_what_is_brought_by_a_program_is_its_person_s(app, tmp_path):
    file = tmp_path / "sums.csv"
    file.write_text("question,answer\n" + "".join(f"{a} and 1?,{a + 1}\n" for a in range(40)))
    client = Client(app.url, auth=("ben", PASSWORDS["ben"]), verbose=False)
    id = client.predict(handle_file(str(file)), None, api_name="/import_dataset")["id"]
    assert (app.data / "ben" / "datasets" / id / "rows.jsonl").exists()


@pytest.mark.parametrize("tool", ["runs", "datasets", "new_dataset"])  # direct, and by a queue
def test_tools_of_an_assistant_belong_to_who_asks(app, annas, tool):
    arguments = {"name": "By a tool", "rows": [{"question": "a", "answer": "b"}]}
    asked = {
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": tool, "arguments": arguments if tool == "new_dataset" else {}},
    }  # fmt: skip
    mcp, headers = f"{app.url}gradio_api/mcp/", {"accept": "application/json, text/event-stream"}
    auth = ("ben", PASSWORDS["ben"])
    said = httpx.post(mcp, json=asked, headers=headers, auth=auth, timeout=60).text
    assert '"isError":false' in said.replace(" ", "")
    assert "secret" not in said
    assert httpx.post(mcp, json=asked, headers=headers).status_code == 401
    assert (app.data / "ben" / "datasets").exists()


def routes():
    """(method, path) of everything that the server answers to."""

    def of(routes, before=""):
        for route in routes:
            path = before + (getattr(route, "path", None) or "")
            inside = getattr(route, "original_router", route)  # FastAPI's included routers
            if inner := getattr(inside, "routes", None):
                yield from of(inner, path)
            else:
                for method in getattr(route, "methods", None) or {"GET"}:
                    yield method, path

    return sorted(set(of(Server.create_app(site.build(), mcp_server=True).routes)))


def test_without_a_login_nothing_is_answered(app):
    """Whatever the server has, so that a new route can't be forgotten."""
    found = routes()
    assert len(found) > 60
    stranger = httpx.Client(base_url=app.url, timeout=30)
    for method, path in found:
        filled_in = path.replace("{", "").replace("}", "").replace(":path", "")
        if filled_in.rstrip("/") in ("/login", "/logout") or "startup-events" in filled_in:
            continue
        for accept in ("text/html", "application/json"):
            said = stranger.request(method, filled_in, headers={"accept": accept})
            assert said.status_code in (401, 303), (method, path, said.status_code)
            if said.status_code == 303:
                assert "login?to=" in said.headers["location"]


def test_the_endpoint_lets_in_by_keys_alone_and_no_key_opens_the_pages(app, annas, monkeypatch):
    monkeypatch.setenv("GRAFT_DATA", str(app.data))
    models = f"{app.url}v1/models"
    assert httpx.get(models).status_code == 401
    assert httpx.get(models, auth=("anna", PASSWORDS["anna"])).status_code == 401
    opens = {
        name: {"authorization": f"Bearer {keys.make(Store(name), 'a test')[1]}"}
        for name in ("anna", "ben")
    }
    for name, status in (("anna", 500), ("ben", 404)):  # hers has no weights, but it is there
        there = httpx.get(f"{models}/{annas['RUN']}", headers=opens[name])
        assert there.status_code == status
        listed = httpx.get(models, headers=opens[name]).json()["data"]
        assert [model["id"] for model in listed] == ["starter"]
    assert httpx.get(f"{app.url}config", headers=opens["anna"]).status_code == 401
    elsewhere = {"origin": "http://evil.example", **opens["anna"]}
    assert httpx.get(models, headers=elsewhere).status_code == 403
    assert httpx.get(models, headers={**opens["anna"], "host": "evil.example"}).status_code == 421
