"""What another program is told at the end of a run."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from core.config import TrainConfig
from core.errors import UserError
from core.settings import settings
from core.store import Store
from jobs import queue, webhook
from tests.jobs.test_recovery import ROW, until


@pytest.fixture
def told(monkeypatch):
    """What a small server was told; its first answer is an error."""
    received = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append((self.path, json.loads(body)))
            self.send_response(500 if len(received) == 1 else 204)
            self.end_headers()

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("GRAFT_WEBHOOK", f"http://127.0.0.1:{server.server_port}/hook?key=geheim")
    monkeypatch.setattr(webhook, "PAUSES", (0.0, 0.1))
    yield received
    server.shutdown()
    server.server_close()


def new_run():
    return Store().create_run(TrainConfig(name="Support bot"), [ROW], [])


def test_the_end_of_a_run_is_told_once_it_is_taken(told, caplog):
    run = new_run()
    webhook.tell(run)  # it has not ended
    run.finish("failed", error="The disk is full.", hint="Free some space.", seconds=3.5)
    webhook.tell(run)
    until(lambda: len(told) == 2)
    path, message = told[1]
    assert path == "/hook?key=geheim"
    assert message == {
        "text": "“Support bot” failed: The disk is full.", "run": run.id, "name": "Support bot",
        "owner": "local", "status": "failed", "error": "The disk is full.",
        "hint": "Free some space.", "seconds": 3.5,
    }  # fmt: skip
    assert "geheim" not in caplog.text
    assert "500" in caplog.text


def test_a_pause_by_the_disk_is_told_and_one_that_somebody_asked_for_is_not(told):
    run = new_run()
    run.enqueue()
    run.pause()
    webhook.tell(run)
    run.hold("The disk is nearly full: 12 MB are free, 40 MB are needed.")
    webhook.tell(run)
    until(lambda: len(told) == 2)
    ((_, first), (_, message)) = told
    assert first == message  # the second try
    assert message["text"].startswith("“Support bot” is paused: The disk is nearly full")
    assert (message["status"], message["hint"]) == ("paused", "Clean up, then resume.")


def test_an_address_that_is_none_is_refused(monkeypatch):
    monkeypatch.setenv("GRAFT_WEBHOOK", "file:///etc/passwd")
    with pytest.raises(UserError, match="GRAFT_WEBHOOK"):
        settings()


def test_an_address_that_cannot_be_asked_is_not_told_to_the_log(monkeypatch, caplog):
    monkeypatch.setenv("GRAFT_WEBHOOK", "http://127.0.0.1:1/hook geheim")
    monkeypatch.setattr(webhook, "PAUSES", (0.0, 0.0))
    run = new_run()
    run.finish("stopped")
    webhook.tell(run)
    until(lambda: caplog.text.count("InvalidURL") == 2)
    assert "geheim" not in caplog.text


def test_the_worker_tells(told, start_worker):
    run = new_run()
    queue.submit(run)
    start_worker("worker.webhook.PAUSES = (0.0, 0.1)")
    until(lambda: len(told) == 2)
    assert (told[1][1]["status"], told[1][1]["run"]) == ("completed", run.id)
