"""For the contestants that are built on transformers.Trainer: counts what their batches hold.

As a callback it begins each training with our adapter's random start, and stands between the
trainer and its collator to count real and learned tokens, padding left out.
"""

from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from benchmarks.peers.probe import Probe, set_start


class Watch(TrainerCallback):
    def __init__(self, probe: Probe) -> None:
        self.probe = probe
        self.tokens: list[int] = []
        self.learned: list[int] = []
        self.losses: list[float] = []

    def on_train_begin(self, args, state, control, model=None, train_dataloader=None, **_) -> None:
        set_start(model, Path(self.probe.job["start"]))
        loader = getattr(train_dataloader, "base_dataloader", train_dataloader)
        loader.collate_fn = self._counting(loader.collate_fn)

    def on_log(self, args, state, control, logs=None, **_) -> None:
        if logs and "loss" in logs:
            self.losses.append(float(logs["loss"]))

    def _counting(self, collate: Any) -> Any:
        def counted(rows: Any) -> Any:
            # A row may be a pack that is padded already; then its mask says so.
            masks = [row.get("attention_mask") or [1] * len(row["input_ids"]) for row in rows]
            self.tokens.append(sum(value > 0 for mask in masks for value in mask))
            batch = collate(rows)
            self.learned.append(int((batch["labels"] != -100).sum()))
            return batch

        return counted

    def write(self, **facts: Any) -> None:
        steps = len(self.probe.step_ends)
        if len(self.tokens) < steps:
            raise SystemExit(f"{steps} steps, but {len(self.tokens)} batches were seen.")
        self.probe.write(
            losses=self.losses,
            tokens_by_step=self.tokens[:steps],
            tokens=sum(self.tokens[:steps]),
            learned=sum(self.learned[:steps]),
            **facts,
        )


def arguments(job: dict[str, Any]) -> dict[str, Any]:
    """TrainingArguments that say what the job is; everything else stays the contestant's."""
    return {
        "output_dir": f"{job['folder']}/out",
        "per_device_train_batch_size": job["batch_size"],
        "num_train_epochs": 1,
        "learning_rate": job["learning_rate"],
        "lr_scheduler_type": "constant",
        "seed": job["seed"],
        "train_sampling_strategy": "sequential",
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": job["device"] == "cpu",
        "bf16": False,  # the weights have the type already; by autocast it would be slower
    }
