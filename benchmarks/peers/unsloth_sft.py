"""Unsloth's FastLanguageModel with the SFTTrainer that it patches."""

import sys

from benchmarks.peers.probe import Probe


def main(file: str) -> None:
    probe = Probe(file)
    import unsloth  # noqa: I001  # before the libraries that it changes
    import torch
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    from benchmarks.peers.watch import Watch, arguments

    job = probe.job
    best = job["variant"] == "best"
    model, tokenizer = unsloth.FastLanguageModel.from_pretrained(
        job["model"],
        max_seq_length=job["max_length"],
        dtype=getattr(torch, job["dtype"]),
        load_in_4bit=False,
    )
    model = unsloth.FastLanguageModel.get_peft_model(
        model,
        r=job["rank"],
        lora_alpha=job["alpha"],
        lora_dropout=0,
        use_gradient_checkpointing=False if best else "unsloth",
        random_state=job["seed"],
    )
    settings = arguments(job) | {"max_length": job["max_length"]}
    if best:
        settings |= {"train_sampling_strategy": "group_by_length", "gradient_checkpointing": False}
    rows = [{k: row[k] for k in ("input_ids", "labels")} for row in probe.rows()]
    watch = Watch(probe)
    trainer = SFTTrainer(
        model,
        args=SFTConfig(**settings),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        callbacks=[watch],
    )
    trainer.train()
    trainer.save_model()
    watch.write(dtype=job["dtype"])


if __name__ == "__main__":
    main(sys.argv[1])
