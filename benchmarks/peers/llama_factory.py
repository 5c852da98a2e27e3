"""LLaMA-Factory on a dataset that is tokenised already (its option tokenized_path)."""

import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from benchmarks.peers.probe import Probe


def main(file: str) -> None:
    probe = Probe(file)
    if find_spec("torchaudio") is None:  # imported for sound, never called for text
        stand_in = ModuleType("torchaudio")
        stand_in.__spec__ = ModuleSpec("torchaudio", None)
        sys.modules["torchaudio"] = stand_in
    from datasets import Dataset, DatasetDict
    from llamafactory.train.tuner import run_exp

    from benchmarks.peers.watch import Watch, arguments

    job = probe.job
    fast = job["variant"] == "fast"
    rows: list[dict[str, Any]] = list(probe.rows())
    settings = arguments(job)
    del settings["train_sampling_strategy"]  # younger than its transformers
    settings |= {
        "stage": "sft",
        "do_train": True,
        "model_name_or_path": job["model"],
        "dataset": "rows",
        "template": "empty",
        "tokenized_path": f"{job['folder']}/rows",
        "cutoff_len": job["max_length"],
        "finetuning_type": "lora",
        "lora_target": "all",
        "lora_rank": job["rank"],
        "lora_alpha": job["alpha"],
        "bf16": job["dtype"] == "bfloat16",
        "disable_shuffling": True,
    }
    if fast:
        mean = sum(len(row["input_ids"]) for row in rows) / len(rows)
        length = max(job["max_length"], round(mean * job["batch_size"]))
        length = (length // 8 + 1) * 8 - 1  # with its one more: its collator pads to eights
        rows = packs(rows, length)
        settings |= {
            "neat_packing": True,
            "cutoff_len": length,
            "per_device_train_batch_size": 1,
            # Without a GPU it refuses; then bf16 is what its products are computed in.
            "pure_bf16": job["dtype"] == "bfloat16" and job["device"] == "cuda",
            "disable_gradient_checkpointing": True,
        }
    DatasetDict({"train": Dataset.from_list(rows)}).save_to_disk(settings["tokenized_path"])
    watch = Watch(probe)
    run_exp(settings, callbacks=[watch])
    watch.write(dtype=job["dtype"])


def packs(rows: list[dict[str, Any]], length: int) -> list[dict[str, list[int]]]:
    """Rows behind one another, longest first into the first pack with room, in the form that
    `neat_packing` reads: the mask numbers a pack's rows from 1, and padding is 0."""
    groups: list[list[dict[str, Any]]] = []
    for row in sorted(rows, key=lambda row: -len(row["input_ids"])):
        for group in groups:
            if sum(len(other["input_ids"]) for other in [*group, row]) <= length:
                group.append(row)
                break
        else:
            groups.append([row])
    return [_pack(group, length + 1) for group in groups]


def _pack(group: list[dict[str, Any]], length: int) -> dict[str, list[int]]:
    ids = [id for row in group for id in row["input_ids"]]
    labels = [label for row in group for label in row["labels"]]
    mask = [at for at, row in enumerate(group, 1) for _ in row["input_ids"]]
    places = [place for row in group for place in range(len(row["input_ids"]))]
    padding = length - len(ids)
    return {
        "input_ids": ids + [0] * padding,
        "labels": labels + [-100] * padding,
        "attention_mask": mask + [0] * padding,
        "position_ids": places + [0] * padding,
    }


if __name__ == "__main__":
    main(sys.argv[1])
