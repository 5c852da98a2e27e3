"""Real workers for the tests in this folder, with a trainer that learns nothing (trainer.py),
without report cards (evaluator.py) and without things to take home (exporter.py), each of which
would cost seconds."""

import subprocess
import sys

import psutil
import pytest

from core.store import Store
from jobs.children import ROOT

WORKER = (
    "import sys; from jobs import exports, making, reports, worker; "
    "worker.TRAINER = 'tests.jobs.trainer'; reports.EVALUATOR = 'tests.jobs.evaluator'; "
    "exports.MAKER = 'tests.jobs.exporter'; "
)


@pytest.fixture
def start_worker(data_dir):
    """Start workers on the test's data directory; none outlives the test."""
    started = []

    def start(settings: str = "pass") -> subprocess.Popen:
        worker = subprocess.Popen(
            [sys.executable, "-c", f"{WORKER}{settings}; sys.exit(worker.main())"],
            cwd=ROOT,
            start_new_session=True,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(worker)
        return worker

    yield start
    for worker in started:
        worker.kill()
        worker.wait()
        worker.stderr.close()
    for run in Store().runs():
        if pid := run.pid:
            psutil.Process(pid).kill()
