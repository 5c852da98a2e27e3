"""What this machine has: the device that trains, and its memory. Without torch."""

import math
import os
import platform
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import psutil
import pynvml

from core.settings import settings


@dataclass(frozen=True)
class Device:
    kind: Literal["cuda", "mps", "cpu"]
    name: str
    cores: int
    memory_total: int
    """In bytes: the GPU's own memory, or the machine's."""
    memory_free: int
    flops: float
    """A cautious guess at what it reaches in training, in multiply-adds x 2 per second. The planner
    prefers what it has measured."""

    slowdown: float = 1.0
    """By what factor others make it slower now."""

    @property
    def title(self) -> str:
        """For the chip in the top bar."""
        if self.kind == "cpu":
            return f"CPU · {self.cores} cores"
        used = self.memory_total - self.memory_free
        return f"{self.name} · {used / 1e9:.0f} of {self.memory_total / 1e9:.0f} GB used"


BUSY = 1.5
"""From which slowdown on people are told of it."""


def device(ours: float = 0.0) -> Device:
    """The device that a run started now would use. `ours`: as for `slowdown`."""
    cores = _cores()
    total, free = memory()
    if (gpu := _gpu()) is not None:
        name = "NVIDIA GPU"
        with suppress(pynvml.NVMLError):
            name = pynvml.nvmlDeviceGetName(gpu).removeprefix("NVIDIA ")
        with suppress(pynvml.NVMLError):  # a GPU that shares the machine's memory has none to tell
            info = pynvml.nvmlDeviceGetMemoryInfo(gpu)
            total, free = int(info.total), int(info.free)
        return Device("cuda", name, cores, total, free, _gpu_flops(gpu))
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        return Device("mps", "Apple GPU", cores, total, free, 2e12)
    flops = cores * (100e9 if number_bytes("cpu") == 2 else 30e9)
    return Device("cpu", "CPU", cores, total, free, flops, slowdown(ours))


def slowdown(ours: float = 0.0) -> float:
    """By what factor others make the processor slower now. `ours`: how much of the last minute's
    load is our own, as a share of all cores."""
    cores = _cores()
    # So many threads of others shared the cores.
    others = max(0.0, psutil.getloadavg()[0] - ours * cores)
    slower = max(1.0, (others + cores) / cores - 0.25)
    # In steps, lest two looks a moment apart promise different times.
    return round(2 ** (round(2 * math.log2(slower)) / 2), 2)


def _cores() -> int:
    """That this process may use."""
    known = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return known or 1


def memory(groups: Path = Path("/sys/fs/cgroup")) -> tuple[int, int]:
    """Bytes of the machine's memory, and of what Graft may take of it: what is free, within a
    container's limits, less what GRAFT_KEEP_FREE leaves to others.

    `groups` is where Linux tells of control groups, the first generation or the second.
    """
    machine, kept = psutil.virtual_memory(), settings().keep_free * 1e9
    total, free = machine.total, machine.available
    for folder, limit, used, cached in (
        (groups, "memory.max", "memory.current", "inactive_file"),
        (groups / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
         "total_inactive_file"),
    ):  # fmt: skip
        with suppress(OSError, ValueError):  # no such file; "max"
            most = int((folder / limit).read_text())
            stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            taken = int((folder / used).read_text()) - int(stat.get(cached, 0))
            if most < machine.total:
                return most, int(max(0, min(free, most - taken) - kept))
    return total, int(max(0, free - kept))


@cache
def number_bytes(kind: str) -> int:
    """Of the numbers in which models are held and computed there: 2 or 4. On a processor without
    instructions for bf16, fp32 is faster."""
    if kind != "cpu":
        return 2 if kind == "cuda" else 4
    with suppress(OSError):
        flags = Path("/proc/cpuinfo").read_text()
        return 2 if "avx512_bf16" in flags or "amx_bf16" in flags else 4
    return 4


@cache
def _gpu():
    """The first NVIDIA GPU that this process may use, None without one."""
    # CUDA takes the first of these, a number or a UUID.
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    try:
        pynvml.nvmlInit()
        if first.startswith(("GPU-", "MIG-")):
            return pynvml.nvmlDeviceGetHandleByUUID(first)
        if not first.isdecimal() or int(first) >= pynvml.nvmlDeviceGetCount():
            return None
        return pynvml.nvmlDeviceGetHandleByIndex(int(first))
    except pynvml.NVMLError:
        return None


def _gpu_flops(gpu) -> float:
    """A third of the bf16 matrix rate of its generation, scaled by its number of processors."""
    try:
        major, _ = pynvml.nvmlDeviceGetCudaComputeCapability(gpu)
        per_core = {7: 6e9, 8: 14e9, 9: 50e9}.get(major, 50e9 if major > 9 else 1e9)
        return pynvml.nvmlDeviceGetNumGpuCores(gpu) * per_core / 3
    except pynvml.NVMLError:
        return 10e12
