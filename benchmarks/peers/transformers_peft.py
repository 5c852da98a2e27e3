"""transformers.Trainer with a peft model, as their documentation puts them together."""

import sys

from benchmarks.peers.probe import Probe


def main(file: str) -> None:
    probe = Probe(file)
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import (
        AutoModelForCausalLM,
        AutoTokenizer,
        DataCollatorForSeq2Seq,
        Trainer,
        TrainingArguments,
    )

    from benchmarks.peers.watch import Watch, arguments

    job = probe.job
    tuned = job["variant"] == "tuned"
    options = {}
    if job["quantization"] == "4bit":
        from transformers import BitsAndBytesConfig

        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=getattr(torch, job["dtype"]),
        )  # fmt: skip
    model = AutoModelForCausalLM.from_pretrained(
        job["model"], dtype=getattr(torch, job["dtype"]), **options
    )
    model.config.use_cache = False
    lora = LoraConfig(
        r=job["rank"], lora_alpha=job["alpha"], target_modules="all-linear", task_type="CAUSAL_LM"
    )
    model = get_peft_model(model, lora, autocast_adapter_dtype=not tuned)
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    watch = Watch(probe)
    by_length = {"train_sampling_strategy": "group_by_length"} if tuned else {}
    trainer = Trainer(
        model,
        TrainingArguments(**(arguments(job) | by_length)),
        train_dataset=probe.rows(),
        data_collator=DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=-100),
        callbacks=[watch],
    )
    trainer.train()
    trainer.save_model()
    watch.write(dtype=job["dtype"])


if __name__ == "__main__":
    main(sys.argv[1])
