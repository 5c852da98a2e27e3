"""The model card that goes with an adapter: what it is, from what, and how to use it."""

from typing import Any

from core.config import TrainConfig
from core.models import BaseModel
from core.runs import Run


def model_card(run: Run, config: TrainConfig, base: BaseModel, result: dict[str, Any]) -> str:
    """README.md of the adapter, with the front matter that the Hub reads."""
    plan = run.plan
    losses = [
        f"| {title} | {result[key]:.3f} |"
        for title, key in (
            ("the base model, on the rows kept back", "base_eval_loss"),
            ("with this adapter, on the rows kept back", "best_eval_loss"),
            ("with this adapter, at the end of training", "final_loss"),
        )
        if result.get(key) is not None
    ]
    return f"""\
---
base_model: {base.id}
library_name: peft
tags: [lora, graft]
---

# {run.name}

A LoRA adapter for {base.title} (`{base.id}`), made with Graft.

It learned from {plan["train_rows"]} examples ({plan["learned_tokens_per_epoch"]} learned tokens, \
{config.num_train_epochs:g} times through); {plan["eval_rows"]} more were kept back.

| loss per token of | |
|---|---|
{chr(10).join(losses)}

## Settings

| | |
|---|---|
| method | {config.method}, base in {_bits(config)} |
| rank, alpha, dropout | {config.lora_r}, {config.lora_alpha:g}, {config.lora_dropout:g} |
| target modules | {_modules(config)} |
| learning rate | {config.learning_rate:g}, {config.lr_scheduler_type} |
| examples per update | {config.batch_size} |
| steps | {result["step"]}; the weights are those of step {result["used_step"]} |
| longest example | {plan["max_length"]} tokens |

## Use it

```python
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base = AutoModelForCausalLM.from_pretrained({str(base.path if base.path else base.id)!r})
model = PeftModel.from_pretrained(base, "path/of/this/folder")
tokenizer = AutoTokenizer.from_pretrained("path/of/this/folder")
prompt = tokenizer.apply_chat_template(
    [{{"role": "user", "content": "Hello"}}],
    add_generation_prompt=True, return_tensors="pt", return_dict=True,
)
answer = model.generate(**prompt, max_new_tokens=100)
print(tokenizer.decode(answer[0, prompt["input_ids"].shape[1]:], skip_special_tokens=True))
```
"""


def _bits(config: TrainConfig) -> str:
    return {"none": "16 or 32 bits", "8bit": "8 bits", "4bit": "4 bits (nf4)"}[config.quantization]


def _modules(config: TrainConfig) -> str:
    targets = config.target_modules
    return f"`{targets}`" if isinstance(targets, str) else ", ".join(f"`{t}`" for t in targets)
