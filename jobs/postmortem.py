"""Why a trainer ended without a word, as far as the system and its log tell."""

import re
import signal
from contextlib import suppress
from pathlib import Path

from core import disk, hardware
from core.runs import Run

KILLED = 9  # SIGKILL, which Windows does not name
NEAR = 0.9  # the share of the machine's memory from which on a kill is likely the system's
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


def why(run: Run, status: int, kills_before: int | None) -> tuple[str, str]:
    """What happened and what to do, of a run whose trainer ended with this exit status.

    `kills_before` is memory_kills() from before it started.
    """
    if disk.was_full(run.path) or "No space left on device" in run.log():
        return "The disk is full.", f"Free some space, then try again. {_again(run)}"
    if status == -KILLED:
        return _killed(run, kills_before)
    if status < 0:
        name = signal.Signals(-status).name
        error = f"The training crashed inside one of its libraries ({name})."
        hint = "If it happens again, the log tells where."
    else:
        error = f"The training ended without a result (exit status {status})."
        hint = "The log tells where."
    return f"{error}{_last_line(run)}", f"{hint} {_again(run)}"


def _killed(run: Run, kills_before: int | None) -> tuple[str, str]:
    kills = memory_kills()
    counted = kills is not None and kills_before is not None and kills > kills_before
    used = max((row.get("memory") or 0 for row in run.metrics()), default=0)
    on_gpu = str(run.plan.get("device", "")).startswith("cuda")
    smaller = "" if run.config.base_model == "starter" else ", a smaller model"
    saving = f"the memory saver{smaller} or shorter examples"
    if counted or (not on_gpu and used > NEAR * hardware.memory()[0]):
        error = "The system ended the training because memory ran out."
        hint = f"Choose {saving}."
    else:
        error = "The training was ended from outside (SIGKILL)."
        hint = (
            "If you did not do that, the system may have, to free memory: close other programs, "
            f"or choose {saving}."
        )
    return f"{error}{_last_line(run)}", f"{hint} {_again(run)}"


def _last_line(run: Run) -> str:
    lines = (line.strip() for line in reversed(run.log().split("\n")))
    last = next((line for line in lines if line and not NOISE.search(line)), "")
    return f" The last line of its log: {last[:300]}" if last else ""


def _again(run: Run) -> str:
    if checkpoint := run.checkpoint:
        return f"“Try again” goes on from step {int(checkpoint.name.split('-')[1])}."
    return "“Try again” starts from the beginning."
