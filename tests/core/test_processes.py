"""A process is known again, whatever the clock says, and a later one is not taken for it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from core.processes import identity, is_alive

ROOT = Path(__file__).parent.parent.parent


def test_this_process_is_alive_and_one_that_ended_is_not():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    known = identity(child.pid)
    assert is_alive(known)
    assert is_alive(identity())
    child.kill()
    child.stdin.close()
    if os.name != "nt":
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # a zombie until it is waited for
        assert not is_alive(known)
    child.wait()
    assert not is_alive(known)
    with pytest.raises(psutil.NoSuchProcess):
        identity(child.pid)


def test_another_start_or_another_boot_is_another_process():
    assert not is_alive({**identity(), "created": identity()["created"] + 5})
    assert not is_alive({**identity(), "boot": "another"})
    # A child knows its parent by number and start alone.
    assert is_alive({"pid": os.getpid(), "created": float(str(identity()["created"]))})


@pytest.mark.skipif(sys.platform != "linux", reason="sets Linux' clock, for one process only")
def test_a_clock_that_is_set_does_not_make_a_process_another(tmp_path):
    told = Path("/proc/stat").read_text()
    later = re.sub(r"btime (\d+)", lambda found: f"btime {int(found[1]) + 3600}", told)
    assert later != told
    (tmp_path / "stat").write_text(later)
    code = f"from core.processes import is_alive; print(is_alive({identity()!r}))"
    mounted = f"mount --bind {tmp_path / 'stat'} /proc/stat"
    try:
        seen = subprocess.run(
            ["unshare", "-m", "sh", "-c", f'{mounted} && exec "$0" -c "$1"', sys.executable, code],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
    except FileNotFoundError:
        pytest.skip("needs unshare")
    if seen.returncode:
        pytest.skip(f"not allowed here: {seen.stderr}")
    assert seen.stdout.strip() == "True"
