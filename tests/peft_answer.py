"""python tests/peft_answer.py BASE ADAPTER QUESTION: the greedy answer of a downloaded adapter.

Knows transformers and peft and nothing of Graft: what whoever downloads an adapter would write.
"""

import re
import sys
from pathlib import Path

from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base, adapter, question = sys.argv[1:]
card = Path(adapter, "README.md").read_text(encoding="utf-8")
dtype = re.search(r'dtype="(\w+)"', card)[1]  # near ties fall otherwise in another type
tokenizer = AutoTokenizer.from_pretrained(adapter)
base_model = AutoModelForCausalLM.from_pretrained(base, dtype=dtype)
model = PeftModel.from_pretrained(base_model, adapter)
prompt = tokenizer.apply_chat_template(
    [{"role": "user", "content": question}],
    add_generation_prompt=True,
    return_tensors="pt",
    return_dict=True,
)
answer = model.generate(**prompt, max_new_tokens=60, do_sample=False)
print(tokenizer.decode(answer[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True))
