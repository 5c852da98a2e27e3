"""The program that holds llama.cpp: JSON of llama_cpp.Asking in, JSON of what comes of it out.

It is run by its path and imports nothing of Graft, so that it begins at once.
"""

import ctypes
import json
import os
import signal
import sys
import urllib.request
from typing import Any

PR_SET_PDEATHSIG = 1  # of <sys/prctl.h>
GREEDY = {"temperature": 0, "top_k": 1, "repeat_penalty": 1.0, "cache_prompt": False}


def main() -> None:
    if sys.platform == "linux":  # whoever asked may be killed, or leave for who needs the memory
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    asking = json.load(sys.stdin)
    if os.getppid() != asking["parent"]:
        sys.exit("Who asked is gone.")
    server = _server(asking)
    found = {
        "answers": [_answer(server, talk, asking["limit"]) for talk in asking["conversations"]],
        "next": [_next(server, ids, asking["likeliest"]) for ids in asking["prompts"]],
        "tokens": [_tokens(server, text) for text in asking["texts"]],
    }
    print(json.dumps(found), flush=True)
    os._exit(0)  # nothing is left to be put away


def _server(asking: dict[str, Any]) -> Any:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = asking["file"]
    if asking["adapter"]:
        params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(asking["adapter"], 1.0)]
    params.n_ctx = asking["context"]
    params.n_parallel = 1
    params.n_gpu_layers = 0
    params.cpuparams.n_threads = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    # As exact as it can be: keys, values and attention in 32 bits, and nothing read into answers.
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.force_pure_content_parser = True
    params.reasoning_format = xllamacpp.common_reasoning_format.COMMON_REASONING_FORMAT_NONE
    params.fit_params = params.warmup = params.ctx_shift = False
    params.verbosity = -1
    return xllamacpp.Server(params)


def _answer(server: Any, messages: list[dict[str, str]], limit: int) -> str:
    request = {"messages": messages, "max_tokens": limit} | GREEDY
    said = server.handle_chat_completions(request)
    if "error" in said and messages[0]["role"] == "system":  # refused: told as Graft then tells it
        first = {**messages[1], "content": f"{messages[0]['content']}\n\n{messages[1]['content']}"}
        said = server.handle_chat_completions(request | {"messages": [first, *messages[2:]]})
    return _checked(said)["choices"][0]["message"]["content"] or ""


def _next(server: Any, ids: list[int], likeliest: int) -> dict[int, float]:
    # Most prompts go on from the one before: what that shares is not computed again.
    request = (
        {"prompt": ids, "n_predict": 1, "n_probs": likeliest} | GREEDY | {"cache_prompt": True}
    )
    said = _checked(server.handle_completions(request))["choices"][0]["logprobs"]
    return {one["id"]: one["logprob"] for one in said["content"][0]["top_logprobs"]} if said else {}


def _tokens(server: Any, text: str) -> list[int]:
    body = json.dumps({"content": text, "parse_special": True, "add_special": False}).encode()
    request = urllib.request.Request(
        f"{server.listening_address}/tokenize", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["tokens"]


def _checked(said: Any) -> Any:
    if "error" in said:
        sys.exit(str(said["error"].get("message", said["error"])))
    return said


if __name__ == "__main__":
    main()
