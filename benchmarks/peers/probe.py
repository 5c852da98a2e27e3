"""What is measured inside each contestant's process, ours too, by the same few lines.

A hook behind every optimiser step takes the time; behind the first one it also looks at the
gradients of the adapter's first and last layer. What the looking takes is left out of the times.
"""

import gc
import json
import os
import re
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook


class Probe:
    def __init__(self, file: str) -> None:
        self.file = Path(file)
        self.job: dict[str, Any] = json.loads(self.file.read_text(encoding="utf-8"))
        self.step_ends: list[float] = []
        self.gradients: dict[str, float] = {}
        self._looked = 0.0
        register_optimizer_step_post_hook(self._after_step)

    def rows(self) -> list[dict[str, list[int]]]:
        """input_ids, attention_mask and labels of each row."""
        with Path(self.job["rows"]).open(encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    def _after_step(self, *_: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = time.time()
        self.step_ends.append(now - self.job["launched"] - self._looked)
        if len(self.step_ends) == 1:
            model = adapted_model()
            self.gradients = gradient_norms(model)
            if self.job.get("keep_start"):
                # B is zero, so A has no gradient in the first step and is still what it was.
                keep_start(model, Path(self.job["start"]))
            self._looked = time.time() - now

    def write(self, **facts: Any) -> None:
        """result.json: what was seen, and the driver's own `facts`."""
        result = {
            "step_ends": self.step_ends,
            "gradients": self.gradients,
            "peak": peak_memory(),
            "versions": versions(),
            **facts,
        }
        (self.file.parent / "result.json").write_text(json.dumps(result), encoding="utf-8")


def adapted_model() -> torch.nn.Module:
    """The PeftModel of this process, wherever its trainer keeps it."""
    from peft import PeftModel

    return next(found for found in gc.get_objects() if PeftModel in type(found).__mro__)


def gradient_norms(model: torch.nn.Module) -> dict[str, float]:
    """Of lora_B, in the first and the last block. lora_A's is zero in the first step."""
    squares: dict[int, float] = {}
    for name, parameter in model.named_parameters():
        block = re.search(r"\.(\d+)\.", name)
        if "lora_B" in name and block and parameter.grad is not None:
            norm = float(parameter.grad.float().norm())
            squares[int(block[1])] = squares.get(int(block[1]), 0.0) + norm**2
    if not squares:
        return {}
    return {"first": squares[min(squares)] ** 0.5, "last": squares[max(squares)] ** 0.5}


def keep_start(model: torch.nn.Module, file: Path) -> None:
    torch.save({n: p.detach().cpu().float() for n, p in model.named_parameters() if "lora_A" in n},
               file)  # fmt: skip


@torch.no_grad()
def set_start(model: torch.nn.Module, file: Path) -> None:
    """Begin with the same random adapter as ours did, or equal losses would mean little."""
    kept = torch.load(file, weights_only=True)
    names = [name for name, _ in model.named_parameters() if "lora_A" in name]
    if set(names) != set(kept):
        raise SystemExit(f"Another adapter than ours: {sorted(set(names) ^ set(kept))[:4]}")
    for name, parameter in model.named_parameters():
        if name in kept:
            parameter.copy_(kept[name])


def peak_memory() -> int:
    """Bytes: of the GPU where there is one, else the most that this process ever held."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status")
    if status.exists():
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        if found:
            return int(found[1]) * 1024
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def versions() -> dict[str, str]:
    found = {}
    for name in ("torch", "transformers", "peft", "accelerate", "trl", "llamafactory", "unsloth"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found | {"threads": os.environ.get("OMP_NUM_THREADS", "")}
