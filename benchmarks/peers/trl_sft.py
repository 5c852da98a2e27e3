"""trl's SFTTrainer on rows that are tokenised already."""

import sys

from benchmarks.peers.probe import Probe


def main(file: str) -> None:
    probe = Probe(file)
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM
    from trl import SFTConfig, SFTTrainer

    from benchmarks.peers.watch import Watch, arguments

    job = probe.job
    best = job["variant"] == "best"
    rows = [{k: row[k] for k in ("input_ids", "labels")} for row in probe.rows()]
    settings = arguments(job) | {"max_length": job["max_length"]}
    if best:
        # A pack holds about as many tokens as eight rows, and each step takes one.
        mean = sum(len(row["input_ids"]) for row in rows) / len(rows)
        length = max(job["max_length"], round(mean * job["batch_size"]))
        settings |= {
            "packing": True,
            "max_length": length,
            "per_device_train_batch_size": 1,
            "gradient_checkpointing": False,
        }
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=getattr(torch, job["dtype"]))
    lora = LoraConfig(
        r=job["rank"], lora_alpha=job["alpha"], target_modules="all-linear", task_type="CAUSAL_LM"
    )
    watch = Watch(probe)
    trainer = SFTTrainer(
        model,
        args=SFTConfig(**settings),
        train_dataset=Dataset.from_list(rows),
        peft_config=lora,
        callbacks=[watch],
    )
    trainer.train()
    trainer.save_model()
    watch.write(dtype=job["dtype"])


if __name__ == "__main__":
    main(sys.argv[1])
