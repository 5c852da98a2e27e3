"""The model card that goes with an adapter: what it is, from what, its limits, how to use it."""

import hashlib
import re
from contextlib import suppress
from typing import Any

from core.catalogue import CATALOGUE
from core.config import TrainConfig
from core.methods import METHODS, OBJECTIVES
from core.models import BaseModel
from core.runs import Run
from core.tokenizer import Tokenizer
from core.verdict import verdict

REPORT = "## Report card"
UNKNOWN = "see the page of the base model"
WHOLE = """\
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("path/of/this/folder")
tokenizer = AutoTokenizer.from_pretrained("path/of/this/folder")"""


def model_card(run: Run, config: TrainConfig, base: BaseModel, result: dict[str, Any]) -> str:
    """README.md of the adapter, with the front matter that the Hub reads."""
    plan, method = run.plan, METHODS[config.method]
    full = method.kind == "full"
    what = "model" if full else "adapter"
    losses = [
        f"| {title} | {result[key]:.3f} |"
        for title, key in (
            ("the base model, on the rows kept back", "base_eval_loss"),
            (f"with this {what}, on the rows kept back", "best_eval_loss"),
            ("the rows that it learned from, in the last steps", "final_loss"),
        )
        if result.get(key) is not None
    ]
    unused = sum(plan.get(k, 0) for k in ("refused_rows", "rows_without_answer", "dropped_rows"))
    learned = plan["train_rows"] - unused
    assert config.batch_size
    times = result["step"] * min(config.batch_size, learned) / learned
    return f"""\
---
base_model: {base.id}
library_name: {"transformers" if full else "peft"}
tags: [{config.method}, graft]
---

# {run.name}

{"Tuned whole from" if full else "An adapter for"} {base.title} (`{base.id}`), made with Graft.

## What it is for

*Say here what it is for, who may use it, and what it should not be used for.*

Licence of the base model: {licence(base)}.

## What it learned from

It learned from {learned} examples ({plan["learned_tokens_per_epoch"]} learned tokens, \
{times:.2g} times through); {plan["eval_rows"]} more were kept back. Fingerprint of all of them: \
`sha256:{fingerprint(run)}`.

| loss per token of | |
|---|---|
{chr(10).join(losses)}

## Settings

| | |
|---|---|
| method | {method.title} ({method.paper}), base in {_bits(config)} |
| learned | {OBJECTIVES[config.objective or "answers"].title} |
| rank, alpha, dropout | {config.lora_r}, {config.lora_alpha:g}, {config.lora_dropout:g} |
| target modules | {_modules(config)} |
| learning rate | {config.learning_rate:g}, {config.lr_scheduler_type} |
| examples per update | {config.batch_size} |
| steps | {result["step"]}; the weights are those of step {result["used_step"]} |
| length limit | {plan["max_length"]} tokens |

## Limits

It knows what the base model knows, and {learned} examples: what is unlike them it may answer \
wrongly, and sound as sure. {_untested(plan)}What the base model should not be used for, this \
should not either.

{usage(base, config, plan.get("dtype", "auto"))}"""


def usage(base: BaseModel, config: TrainConfig, dtype: str = "auto") -> str:
    """The section that says how others load and ask it; `dtype` as `_loading` takes it."""
    return f"""\
## Use it

```python
{_loading(base, config, dtype)}
prompt = tokenizer.apply_chat_template(
    [{{"role": "user", "content": "Hello"}}],
    add_generation_prompt=True, return_tensors="pt", return_dict=True,
)
answer = model.generate(**prompt, max_new_tokens=100, eos_token_id={_ends(base)})
print(tokenizer.decode(answer[0, prompt["input_ids"].shape[1]:], skip_special_tokens=True))
```
"""


def licence(base: BaseModel) -> str:
    """The base model's, as far as the catalogue or its own card tells."""
    listed = next((model.licence for model in CATALOGUE if model.id == base.id), "")
    if listed or base.path is None:
        return listed or UNKNOWN
    with suppress(OSError, UnicodeDecodeError):
        text = (base.path / "README.md").read_text("utf-8")
        front = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
        line = r"^(license\w*): *['\"]?([^'\"\n]+?)['\"]? *$"
        told = dict(re.findall(line, front[1], re.MULTILINE)) if front else {}
        if name := told.get("license_name") or told.get("license"):
            return f"{name} ({told['license_link']})" if "license_link" in told else name
    return UNKNOWN


def fingerprint(run: Run) -> str:
    """The sha256 of the rows that it learned from and of those that were kept back."""
    digest = hashlib.sha256()
    for part in ("train", "eval"):
        with (run.path / f"{part}.jsonl").open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _ends(base: BaseModel) -> list[int]:
    """The tokens that end an answer in the chat; the base's own files may name others."""
    assert base.path is not None
    return sorted(Tokenizer.load(base.path).stop_ids)


def _untested(plan: dict[str, Any]) -> str:
    if plan["eval_rows"]:
        return ""
    return "No examples were kept back, so it was not tested. "


def with_report(text: str, report: dict[str, Any]) -> str:
    """The card with what the run's report card says, in the place of what an earlier one said."""
    said = verdict(report)
    paragraphs = (f"**{said.headline}** {said.evidence} {said.rows}", said.general, said.advice)
    section = "\n\n".join(filter(None, (REPORT, *(one.strip() for one in paragraphs)))) + "\n\n"
    without = re.sub(rf"^{REPORT}\n.*?(?=^## )", "", text, flags=re.DOTALL | re.MULTILINE)
    before, settings, after = without.partition("## Settings\n")
    return before + section + settings + after if settings else f"{without}\n{section}"


def of_merged(text: str) -> str:
    """The card of an adapter as that of the model that it was merged into."""
    text = re.sub(r"^library_name: peft$", "library_name: transformers", text, flags=re.MULTILINE)
    text = re.sub(r"^An adapter for ", "Merged in 16 bits from ", text, flags=re.MULTILINE)
    text = text.replace("| with this adapter,", "| with what was learned,")
    return re.sub(
        r"^from peft import PeftModel\n.*?^tokenizer = [^\n]*$",
        lambda _: WHOLE,
        text,
        flags=re.DOTALL | re.MULTILINE,
    )


def _loading(base: BaseModel, config: TrainConfig, dtype: str) -> str:
    """`dtype`: what it was trained beside, and what gives the answers of the chat."""
    if METHODS[config.method].kind == "full":
        return WHOLE
    names, options = "AutoModelForCausalLM, AutoTokenizer", f', dtype="{dtype}"'
    if config.quantization != "none":
        # It learned beside rounded weights, and LoftQ mends just that rounding.
        names += ", BitsAndBytesConfig"
        options += ", quantization_config=BitsAndBytesConfig(load_in_8bit=True)"
        if config.quantization == "4bit":
            options = f""", dtype="{dtype}", quantization_config=BitsAndBytesConfig(
    load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
)"""
    return f"""\
from peft import PeftModel
from transformers import {names}

base = AutoModelForCausalLM.from_pretrained({str(base.path or base.id)!r}{options})
model = PeftModel.from_pretrained(base, "path/of/this/folder")
tokenizer = AutoTokenizer.from_pretrained("path/of/this/folder")"""


def _bits(config: TrainConfig) -> str:
    return {"none": "16 or 32 bits", "8bit": "8 bits", "4bit": "4 bits (nf4)"}[config.quantization]


def _modules(config: TrainConfig) -> str:
    targets = config.target_modules
    return f"`{targets}`" if isinstance(targets, str) else ", ".join(f"`{t}`" for t in targets)
