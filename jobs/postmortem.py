"""Why a trainer ended without a word, as far as the system and its log tell."""

import re
import signal
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from core import disk, hardware
from core.runs import Run

KILLED = 9  # SIGKILL, which Windows does not name
NEAR = 0.9  # the share of the machine's memory from which on a kill is likely the system's
AMPLE = 0.5  # the share below which it hardly is, where the system counted no such kill
# Where Linux counts what it ended for want of memory: in this container, or on this machine.
COUNTERS = ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control",
            "/proc/vmstat")  # fmt: skip
# What stands in a log without being the reason of anything: warnings, and bars of progress.
NOISE = re.compile(r"warnings?\.warn|Warning\b|\d+%\|")


def memory_kills() -> int | None:
    """How many processes the system has ended because memory ran out; None where it won't say."""
    for counter in COUNTERS:
        with suppress(OSError):
            if found := re.search(r"^oom_kill (\d+)$", Path(counter).read_text(), re.MULTILINE):
                return int(found[1])
    return None


class Cause(NamedTuple):
    error: str
    """What happened."""
    hint: str
    """What to do."""
    outside: bool = False
    """Whether it lay outside of the run, so that the same again may well succeed."""


def why(run: Run, status: int, kills_before: int | None) -> Cause:
    """Of a run whose trainer ended with this exit status.

    `kills_before` is memory_kills() from before it started.
    """
    if disk.was_full(run.path) or "No space left on device" in run.log():
        hint = f"Free some space, then try again. {again(run)}"
        return Cause("The disk is full.", hint, outside=True)
    if status == -KILLED:
        return _killed(run, kills_before)
    if status < 0:
        name = signal.Signals(-status).name
        error = f"The training crashed inside one of its libraries ({name})."
        hint = "If it happens again, the log tells where."
    else:
        error = f"The training ended without a result (exit status {status})."
        hint = "The log tells where."
    return Cause(f"{error}{_last_line(run)}", f"{hint} {again(run)}")


def _killed(run: Run, kills_before: int | None) -> Cause:
    kills = memory_kills()
    counted = kills is not None and kills_before is not None and kills > kills_before
    used = max((row.get("memory") or 0 for row in run.metrics()), default=0)
    on_gpu = str(run.plan.get("device", "")).startswith("cuda")
    memory = hardware.memory()[0]
    smaller = "" if run.config.base_model == "starter" else ", a smaller model"
    saving = f"the memory saver{smaller} or shorter examples"
    outside = False
    if counted or (not on_gpu and used > NEAR * memory):
        error = "The system ended the training because memory ran out."
        hint = f"Choose {saving}."
    else:
        error = "The training was ended from outside (SIGKILL)."
        known = kills is not None and kills_before is not None and not on_gpu
        outside = known and 0 < used < AMPLE * memory
        hint = (
            "Somebody at this computer did that, or another program."
            if outside
            else "If you did not do that, the system may have, to free memory: close other "
            f"programs, or choose {saving}."
        )
    return Cause(f"{error}{_last_line(run)}", f"{hint} {again(run)}", outside)


def _last_line(run: Run) -> str:
    lines = (line.strip() for line in reversed(run.log().split("\n")))
    last = next((line for line in lines if line and not NOISE.search(line)), "")
    return f" The last line of its log: {last[:300]}" if last else ""


def again(run: Run) -> str:
    """What “Try again” does."""
    if saved := run.saved_step:
        return f"“Try again” goes on from step {saved:,}."
    return "“Try again” starts from the beginning."
