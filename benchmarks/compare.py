"""python -m benchmarks.compare [MODEL]: what the second answer costs.

One question is answered by an adapter alone, by the base model and the adapter in one batch (as
Compare does), by two rows of the base model, which no sharing can undercut, by one after the other
(as switching the adapter off and on does), by the base model with three adapters in one batch, and
by PEFT's own mixed batch. All answers have the same length.
The first token of all sides is measured for itself: it takes the reading of the question.

The ways are measured in turn, so that a busy machine troubles all of them alike; on a CPU the
figures are processor seconds of one thread. The least of the repeats counts.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from peft import PeftModel

from core import adapters, loading
from core.config import TrainConfig
from core.generate import Answer, generate
from core.mixed import MixedModel
from core.models import find
from core.sampling import Sampling
from core.tokenizer import Tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", nargs="?", default="starter")
    parser.add_argument("--quantization", default="none", choices=("none", "8bit", "4bit"))
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), help="default: as Graft picks")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--prompt", type=int, default=64, help="tokens")
    parser.add_argument("--tokens", type=int, default=64, help="of each answer")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()

    device = loading.pick_device()
    if device.type == "cpu":
        torch.set_num_threads(1)
    dtype = getattr(torch, options.dtype) if options.dtype else loading.pick_dtype(device)
    base = find(options.model)

    def load():
        return loading.load_base(base, options.quantization, device, dtype).to(device)

    with tempfile.TemporaryDirectory() as folder:
        tuned = adapters.attach(load(), TrainConfig(lora_r=options.rank, lora_alpha=options.rank))
        for name, parameter in tuned.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.05)
        adapter = Path(folder) / "adapter"
        adapters.save(adapter, tuned, Tokenizer.load(base.path), "")
        del tuned
        mixed = MixedModel(load())
        for name in "abc":
            mixed.load(name, adapter)
        by_peft = PeftModel.from_pretrained(load(), adapter, adapter_name="a").eval()

    torch.manual_seed(0)
    prompt = torch.randint(5, base.config["vocab_size"], (options.prompt,)).tolist()
    sampling = Sampling(max_new_tokens=options.tokens)

    def ours(tokens: int, *names: str | None) -> None:
        answers = [Answer(prompt, name, tokens) for name in names]
        for _ in generate(mixed, answers, sampling, frozenset()):
            pass

    def peft(tokens: int, *names: str) -> None:
        ids = torch.tensor([prompt] * len(names), device=device)
        by_peft.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, use_cache=True,
            min_new_tokens=tokens, max_new_tokens=tokens, pad_token_id=0,
            **({"adapter_names": list(names)} if len(names) > 1 else {}),
        )  # fmt: skip

    ways: dict[str, Callable[[int], object]] = {
        "adapter alone": lambda n: ours(n, "a"),
        "base and adapter together": lambda n: ours(n, None, "a"),
        "base twice": lambda n: ours(n, None, None),  # what two rows cost, whatever an adapter adds
        "base, then adapter": lambda n: (ours(n, None), ours(n, "a")),
        "base and three adapters together": lambda n: ours(n, None, "a", "b", "c"),
        "PEFT: adapter alone": lambda n: peft(n, "a"),
        "PEFT: base and adapter together": lambda n: peft(n, "__base__", "a"),
    }
    whole: dict[str, list[float]] = {name: [] for name in ways}
    first: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(options.repeats + 1):
        for name, way in ways.items():
            for seconds, tokens in ((first, 1), (whole, options.tokens)):
                taken = clock(partial(way, tokens), device)
                if repeat:  # the first warms up
                    seconds[name].append(taken)
    print(
        f"{base.title}, {str(dtype).removeprefix('torch.')}, quantization {options.quantization}, "
        f"{device}, rank {options.rank}, {options.prompt} + {options.tokens} tokens, "
        f"least of {options.repeats}\n"
    )
    print("| | whole answers, ms | beside the adapter alone | first token, ms | beside it |")
    print("|---|---|---|---|---|")
    alone = [min(seconds["adapter alone"]) for seconds in (whole, first)]
    for name in ways:
        least = [min(seconds[name]) for seconds in (whole, first)]
        cells = (f"{t * 1000:.1f} | {t / a:.2f}x" for t, a in zip(least, alone, strict=True))
        print(f"| {name} | {' | '.join(cells)} |")


@torch.inference_mode()
def clock(way: Callable[[], object], device: torch.device) -> float:
    now = time.process_time if device.type == "cpu" else time.perf_counter
    started = now()
    way()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return now() - started


if __name__ == "__main__":
    main()
