"""Run after run through the real queue: web server and worker stay as large as they were.

GRAFT_SOAK says how many runs.
"""

import os
import time

import psutil
import pytest
from gradio_client import Client

from tests.serving import serving

RUNS = int(os.environ.get("GRAFT_SOAK", "12"))
WARM = max(3, RUNS // 4)  # after so many, nothing is loaded for the first time any more
GROWTH = 1.05


@pytest.mark.long
@pytest.mark.timeout(60 + 60 * RUNS)
def test_run_after_run_takes_no_more_memory_and_no_more_files(tmp_path, record_property):
    with serving(tmp_path / "data") as app:
        client = Client(app.url, verbose=False)

        def ask(endpoint, *arguments):
            return client.predict(*arguments, api_name=f"/{endpoint}")

        def traces():
            """(bytes, open files) of the web server and of the worker."""
            processes = psutil.Process(app.process.pid), psutil.Process(app.worker)
            return [(process.memory_info().rss, process.num_fds()) for process in processes]

        rows = [{"question": f"What is {a}?", "answer": f"It is {a}."} for a in range(8)]
        dataset = ask("new_dataset", "Sums", rows)["id"]
        waiting = [
            ask("start_run", {"dataset": dataset, "max_steps": 1, "eval_fraction": 0})["id"]
            for _ in range(RUNS)
        ]
        warm = None
        for number, run in enumerate(waiting):
            while (status := ask("run", run)["status"]) in ("queued", "running"):
                time.sleep(0.5)
            assert status == "completed", ask("run", run)["error"]
            if number + 1 == WARM:
                warm = traces()
        time.sleep(2)
        for name, before, after in zip(("web server", "worker"), warm, traces(), strict=True):
            print(f"{name}: {before[0] / 1e6:.1f} -> {after[0] / 1e6:.1f} MB, "
                  f"{before[1]} -> {after[1]} files")  # fmt: skip
            grown, files = after[0] / before[0] - 1, after[1] - before[1]
            record_property("measured", f"{name} {grown:+.1%}, {files:+} files in {RUNS} runs")
            assert after[0] <= GROWTH * before[0], name
            assert after[1] <= before[1], name
