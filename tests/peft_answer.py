"""python tests/peft_answer.py BASE ADAPTER QUESTION: the greedy answer of a downloaded adapter.

Knows transformers and peft and nothing of Graft: what whoever downloads an adapter would write.
"""

import sys

from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base, adapter, question = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(adapter)
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter)
prompt = tokenizer.apply_chat_template(
    [{"role": "user", "content": question}],
    add_generation_prompt=True,
    return_tensors="pt",
    return_dict=True,
)
answer = model.generate(**prompt, max_new_tokens=60, do_sample=False)
print(tokenizer.decode(answer[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True))
