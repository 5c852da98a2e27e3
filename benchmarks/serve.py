"""python -m benchmarks.serve: eight requests at once against one after the other.

Each asks the chat process for the same answer both times: the base model and three adapters on it,
two questions each, greedily, over the way that the endpoint takes (ChatServer.complete). The two
ways are measured in turn, so that a busy machine troubles both alike; the median of the repeats
counts. In bf16 two ways of adding differ in the last bit: the share of equal answers is told.
"""

import argparse
import os
import shutil
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from core import adapters, loading
from core.chat import ChatServer
from core.config import TrainConfig
from core.models import STARTER, BaseModel, find
from core.runs import Run
from core.sampling import Sampling
from core.store import Store
from core.tokenizer import Tokenizer

QUESTIONS = ("What do you do on Sundays?", "Tell me everything that you know about tea, please.")
AT_ONCE = 8
Request = tuple[Run | None, str]


def tiny(folder: Path) -> Path:
    """A Llama of 6 × 256 with random weights and the starter's tokenizer."""
    torch.manual_seed(0)
    LlamaForCausalLM(
        LlamaConfig(
            vocab_size=4096, hidden_size=256, intermediate_size=688, num_hidden_layers=6,
            num_attention_heads=8, max_position_embeddings=2048,
        )
    ).save_pretrained(folder)  # fmt: skip
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(STARTER / name, folder / name)
    return folder


def tuned(base: BaseModel, seed: int) -> Run:
    """A finished run whose adapter was learned by chance."""
    config = TrainConfig(name=f"run {seed}", base_model=base.id, lora_r=16, lora_alpha=16)
    run = Store().create_run(config, [{"messages": []}], [])
    device = loading.pick_device()
    model = adapters.attach(loading.load_base(base, "none", device, torch.float32), config)
    torch.manual_seed(seed)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    assert base.path is not None
    adapters.save(run.path / "adapter", model, Tokenizer.load(base.path), "")
    run.finish("completed")
    return run


def measure(base: BaseModel, tokens: int, repeats: int) -> dict[str, float]:
    server = ChatServer()
    asked = [(run, text) for run in (None, *(tuned(base, n) for n in (1, 2, 3)))
             for text in QUESTIONS]  # fmt: skip

    def answer(request: Request) -> tuple[str, int]:
        run, text = request
        sampling = Sampling(max_new_tokens=tokens)
        *_, last = server.complete(
            base, "none", run, [{"role": "user", "content": text}], sampling, [], "local"
        )
        return last["text"], last["tokens"]["answer"]

    def in_turn() -> list[tuple[str, int]]:
        return [answer(request) for request in asked]

    def together() -> list[tuple[str, int]]:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(answer, asked))

    try:
        expected = in_turn()  # it loads the model, too
        seconds: dict[str, list[float]] = {"in turn": [], "together": []}
        same = 0
        for _ in range(repeats):
            for name, way in (("in turn", in_turn), ("together", together)):
                started = time.perf_counter()
                told = way()
                seconds[name].append(time.perf_counter() - started)
                same += sum(one == other for one, other in zip(told, expected, strict=True))
    finally:
        server.close()
    written = sum(count for _, count in expected)
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    return {
        "tokens": written,
        "in turn": written / medians["in turn"],
        "together": written / medians["together"],
        "ratio": medians["in turn"] / medians["together"],
        "same": same / (2 * repeats * len(asked)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tokens", type=int, default=100, help="of each answer, at most")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print("| model | tokens | in turn, tokens/s | together, tokens/s | ratio | same answers |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["GRAFT_DATA"] = f"{folder}/data"
        for title, name in (
            ("starter", "starter"),
            ("Llama 6 × 256", str(tiny(Path(folder, "m")))),
        ):
            got = measure(find(name), options.tokens, options.repeats)
            print(
                f"| {title} | {got['tokens']:.0f} | {got['in turn']:.0f} | {got['together']:.0f} "
                f"| {got['ratio']:.2f} | {got['same']:.0%} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
