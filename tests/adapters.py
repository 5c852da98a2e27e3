"""LoRAs by hand, without torch: for tests of what is done with adapters that others made."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from core.earlier import CONFIG, WEIGHTS
from core.models import BaseModel


def write_lora(
    folder: Path,
    base: BaseModel,
    rank: int = 4,
    seed: int = 1,
    std: float = 0.05,
    parts: Sequence[str] = ("q_proj", "v_proj"),
    **config: object,
) -> Path:
    """An adapter in PEFT's format with random weights on these parts of every layer."""
    folder.mkdir(parents=True, exist_ok=True)
    chance = np.random.default_rng(seed)
    tensors = {}
    for module, (out, into) in base.linear.items():
        if module.rsplit(".", 1)[-1] in parts:
            for name, shape in (("A", (rank, into)), ("B", (out, rank))):
                values = chance.normal(0, std, shape).astype(np.float32)
                tensors[f"base_model.model.{module}.lora_{name}.weight"] = values
    save_file(tensors, folder / WEIGHTS)
    told = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": base.id,
        "r": rank, "lora_alpha": 2 * rank, "target_modules": list(parts),
        "use_rslora": False, **config,
    }  # fmt: skip
    (folder / CONFIG).write_text(json.dumps(told))
    return folder
