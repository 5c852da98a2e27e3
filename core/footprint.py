"""How much memory this process holds, and the most that it held meanwhile.

Of a GPU it is what torch has allocated there, elsewhere the process's resident memory.
"""

import re
import sys
from pathlib import Path

import psutil
import torch


def held(device: torch.device) -> int:
    """Bytes, now."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated()
    return psutil.Process().memory_info().rss


def peak(device: torch.device) -> int:
    """Bytes, the most since the process began; of a GPU with what torch keeps for later."""
    now = torch.cuda.max_memory_reserved() if device.type == "cuda" else _peak(device)
    return max(_forgotten, now)


def loaded(device: torch.device) -> None:
    """Begin the peak anew on a CPU, where weights come from a mapped file: while it is read its
    pages count as the process's, and the system takes them back when it wants."""
    if device.type == "cpu":
        _forget_peak(device)


class Rise:
    """By how many bytes the memory held rises at most from now on."""

    def __init__(self, device: torch.device) -> None:
        global _forgotten
        self._device = device
        _forgotten = peak(device)
        self._told = _forget_peak(device)
        self._before = held(device)

    def bytes(self) -> int | None:
        """None where the system does not tell."""
        return max(0, _peak(self._device) - self._before) if self._told else None


_forgotten = 0  # the peak before the last Rise


def _peak(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset
    if sys.platform == "linux":  # where ru_maxrss is that of the process that started this one too
        status = Path("/proc/self/status").read_text()
        if found := re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE):
            return int(found[1]) * 1024
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def _forget_peak(device: torch.device) -> bool:
    """Whether `_peak` begins anew."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return True
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:  # Linux has it, and only where nobody forbids it
        return False
    return True
