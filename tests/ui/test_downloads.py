"""What was prepared comes to the browser as it is, or packed on its way, to its owner alone."""

import io
import zipfile

import pytest
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from core.exports.export import Export
from core.files import write_text
from core.store import Store
from core.users import Users
from tests.browser import stage
from ui.downloads import ROUTE
from ui.logins import Logins
from ui.own_route import OwnRoute

PASSWORD = "correct horse"


def prepared(store, format, name, content="packed"):
    run = stage.finish(stage.add_run(store, "Blüten & Co"), "completed")
    export = Export(run, format)
    export.path.mkdir(parents=True)
    export.file.touch()
    artefact = export.fresh() / name
    if name == "model":
        write_text(artefact / "parts" / "model.safetensors", content)
    write_text(artefact / "config.json" if name == "model" else artefact, content)
    export.finish(artefact, {}, 1.0)
    return f"/take-home/{run.id}/{format}"


@pytest.fixture
def browser(data_dir):
    return TestClient(OwnRoute(PlainTextResponse("a page"), ROUTE))


def test_a_file_comes_as_it_is_and_goes_on_where_it_was_broken_off(browser):
    address = prepared(Store(), "gguf-q8_0", "Bot.zip", "all of it")
    whole = browser.get(address)
    assert (whole.status_code, whole.text) == (200, "all of it")
    assert 'attachment; filename="Bot.zip"' in whole.headers["content-disposition"]
    rest = browser.get(address, headers={"range": "bytes=4-"})
    assert (rest.status_code, rest.text) == (206, "of it")


def test_a_folder_is_packed_on_its_way_and_its_size_is_told_before(browser, data_dir):
    address = prepared(Store(), "merged", "model")
    before = sorted(data_dir.rglob("*"))
    told = browser.get(address)
    assert told.headers["content-length"] == str(len(told.content))
    assert "filename*=utf-8''Bl%C3%BCten" in told.headers["content-disposition"]
    with zipfile.ZipFile(io.BytesIO(told.content)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["config.json", "parts/model.safetensors", "CHECKSUMS"]
    assert sorted(data_dir.rglob("*")) == before
    asked = browser.head(address)
    assert (asked.content, asked.headers["content-length"]) == (b"", told.headers["content-length"])


def test_what_is_not_there_is_said_and_all_else_is_a_page(browser):
    run = stage.finish(stage.add_run(Store(), "Bot"), "completed")
    for address in (f"/take-home/{run.id}/merged", "/take-home/nobody/merged",
                    f"/take-home/{run.id}/onnx", "/take-home/..%2Fother/merged"):  # fmt: skip
        told = browser.get(address)
        assert told.status_code == (200 if "%2F" in address else 404), told.text
    assert "Have it prepared first." in browser.get(f"/take-home/{run.id}/merged").text
    assert browser.get("/runs").text == "a page"


def test_nobody_else_gets_it(data_dir, tmp_path, monkeypatch):
    known = Users(tmp_path / "users.json")
    for name in ("anna", "ben"):
        known.put(name, PASSWORD)
    monkeypatch.setenv("GRAFT_AUTH", str(tmp_path / "users.json"))
    address = prepared(Store("anna"), "adapter", "Bot.zip")
    door = TestClient(Logins(OwnRoute(PlainTextResponse("a page"), ROUTE), known, "secret"))
    assert door.get(address).status_code == 401
    assert door.get(address, auth=("ben", PASSWORD)).status_code == 404
    assert door.get(address, auth=("anna", PASSWORD)).text == "packed"
