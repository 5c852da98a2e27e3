"""What this machine has: the device that trains, and its memory. Without torch."""

import os
import platform
from dataclasses import dataclass
from functools import cache
from typing import Literal

import psutil
import pynvml


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
    """By what factor other programs make it slower now."""

    @property
    def title(self) -> str:
        """For the chip in the top bar."""
        if self.kind == "cpu":
            return f"CPU · {self.cores} cores"
        used = self.memory_total - self.memory_free
        return f"{self.name} · {used / 1e9:.0f} of {self.memory_total / 1e9:.0f} GB used"


def device() -> Device:
    """The device that a run started now would use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = psutil.virtual_memory()
    if (gpu := _gpu()) is not None:
        info = pynvml.nvmlDeviceGetMemoryInfo(gpu)
        name = pynvml.nvmlDeviceGetName(gpu).removeprefix("NVIDIA ")
        return Device("cuda", name, cores or 1, int(info.total), int(info.free), _gpu_flops(gpu))
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        return Device("mps", "Apple GPU", cores or 1, memory.total, memory.available, 2e12)
    cores = cores or 1
    # Of the last minute: so many threads share the cores with ours.
    slowdown = max(1.0, (psutil.getloadavg()[0] + cores) / cores - 0.25)
    return Device(
        "cpu", "CPU", cores, memory.total, memory.available, 30e9 * cores, round(slowdown, 2)
    )


@cache
def _gpu():
    """The first NVIDIA GPU that this process may use, None without one."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0") in ("", "-1"):
        return None
    try:
        pynvml.nvmlInit()
        return pynvml.nvmlDeviceGetHandleByIndex(0) if pynvml.nvmlDeviceGetCount() else None
    except pynvml.NVMLError:
        return None


def _gpu_flops(gpu) -> float:
    """A third of the bf16 matrix rate of its generation, scaled by its number of processors."""
    major, _ = pynvml.nvmlDeviceGetCudaComputeCapability(gpu)
    per_core = {7: 6e9, 8: 14e9, 9: 50e9}.get(major, 50e9 if major > 9 else 1e9)
    return pynvml.nvmlDeviceGetNumGpuCores(gpu) * per_core / 3
