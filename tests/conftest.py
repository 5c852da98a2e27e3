"""Every test lives in a data directory of its own and never reaches a network."""

import os
import signal
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
if "PYTEST_XDIST_WORKER" in os.environ:  # side by side: one core for each, and for its children
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell's background job ignores Ctrl-C and hands that down; the apps under test must not.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data directory of this test; children inherit it through the environment."""
    path = tmp_path / "data"
    monkeypatch.setenv("GRAFT_DATA", str(path))
    return path


@pytest.fixture(scope="session")
def testdata() -> Path:
    """Real files with known outcomes, kept outside the repository; without them tests skip."""
    path = Path(os.environ.get("GRAFT_TESTDATA", ROOT.parent / "shared" / "testdata"))
    if not path.is_dir():
        pytest.skip("needs the real files of GRAFT_TESTDATA (default ../shared/testdata)")
    return path


@pytest.fixture(scope="session")
def starter() -> Path:
    """The embedded starter model."""
    return ROOT / "starter" / "model"
