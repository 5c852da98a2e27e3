"""The real app, killed again and again while its worker and trainers go about their work."""

import json
import os
import random
import shutil
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import httpx
import pytest

from core.runs import Run
from core.store import Store
from jobs import queue
from jobs.worker import serving as worker_of_data
from tests.jobs.test_recovery import until
from tests.serving import start

SEED = int(os.environ.get("GRAFT_SEED", "5"))
STARTING = "it starts"
WHILE = (
    *("start_run", STARTING, "pause_run", STARTING, "resume_run", STARTING),
    "download_adapter",
)
ROUNDS = 3  # each kills a server at all these moments
CONFIG = {"max_steps": 80, "eval_steps": 10, "eval_fraction": 0.25, "lora_r": 2}


def ask(url: str, endpoint: str, *arguments: Any) -> Any:
    """What the endpoint answers. Raises httpx.HTTPError where the server is killed meanwhile."""
    with httpx.Client(base_url=f"{url}gradio_api/call/", timeout=120) as server:
        event = server.post(endpoint, json={"data": arguments}).json()["event_id"]
        said = server.get(f"{endpoint}/{event}").text
    if "event: complete" not in said:
        raise httpx.RemoteProtocolError(said)
    return json.loads(said.partition("data: ")[2].partition("\n")[0])[0]


def learning(url: str, config: dict[str, Any]) -> Run:
    """A run that learns by now; begun, or gone on with, where nothing trains."""
    while not (run := queue.running()) or len(run.metrics()) < 4:
        if not run and not queue.waiting():
            left = [run for run in Store().runs() if run.status in ("paused", "interrupted")]
            ask(url, "resume_run", left[0].id) if left else ask(url, "start_run", config)
        time.sleep(0.05)
    return run


def paused(url: str, config: dict[str, Any]) -> Run:
    while not (found := [run for run in Store().runs() if run.status == "paused"]):
        run = learning(url, config)
        with suppress(httpx.HTTPError):  # it was quicker
            ask(url, "pause_run", run.id)
        until(lambda run=run: run.status != "running", 240)
    return found[0]


def completed() -> Run:
    """A run whose adapter is to be packed anew when it is asked for."""
    done = next(run for run in Store().runs() if run.status == "completed")
    shutil.rmtree(done.path / "export", ignore_errors=True)
    return done


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX systems")
def test_the_web_server_is_killed_at_21_random_moments_and_every_run_ends_as_if_left_alone(
    data_dir, record_property
):
    """It is killed while it starts, and while it is asked to queue a run, to pause it (its trainer
    saves then), to go on with it, and to hand out its adapter. The worker lives through it all."""
    print(f"GRAFT_SEED={SEED}")
    dice, told, exported = random.Random(SEED), [], []
    app = start(data_dir)
    try:
        app.wait()
        rows = [{"question": f"What is {n} and 1?", "answer": f"It is {n + 1}."} for n in range(24)]
        config = {**CONFIG, "dataset": ask(app.url, "new_dataset", "Sums", rows)["id"]}
        undisturbed = Store().run(ask(app.url, "start_run", config)["id"])
        until(lambda: undisturbed.status == "completed", 240)
        worker = worker_of_data()
        with ThreadPoolExecutor(1) as page:
            for moment in WHILE * ROUNDS:
                answer = None
                if moment == STARTING:
                    time.sleep(dice.uniform(0, 3))
                else:
                    app.wait()
                    match moment:
                        case "start_run":
                            argument = config
                        case "pause_run":
                            argument = learning(app.url, config).id
                        case "resume_run":
                            argument = paused(app.url, config).id
                        case "download_adapter":
                            exported.append(completed())
                            argument = exported[-1].id
                    answer = page.submit(ask, app.url, moment, argument)
                    time.sleep(dice.uniform(0, 0.2))
                app.kill()
                with suppress(httpx.HTTPError):
                    if answer and (said := answer.result()) and moment == "start_run":
                        told.append(said["id"])
                assert worker_of_data() == worker
                app = start(data_dir)

        app.wait()
        # What was broken off between two steps is not lost: it waits to be asked for.
        until(lambda: not queue.waiting() and not queue.running(), 240)
        for run in ask(app.url, "runs"):
            assert run["status"] in ("completed", "paused", "interrupted")
            if run["status"] != "completed":
                ask(app.url, "resume_run", run["id"])
        until(lambda: all(run.status == "completed" for run in Store().runs()), 240)
        assert set(told) <= {run.id for run in Store().runs()}
        losses = [row["loss"] for row in undisturbed.metrics() if "loss" in row]
        record_property("measured", f"{len(Store().runs())} runs, all completed")
        for run in Store().runs():
            assert [row["loss"] for row in run.metrics() if "loss" in row] == pytest.approx(
                losses, abs=1e-6
            )
            assert run.result["final_loss"] == pytest.approx(undisturbed.result["final_loss"])
        for run in exported:
            with zipfile.ZipFile(ask(app.url, "download_adapter", run.id)["path"]) as archive:
                assert archive.testzip() is None
        assert "Traceback" not in (data_dir.parent / "app.log").read_text()
    finally:
        app.end()
