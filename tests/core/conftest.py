"""A language model so small that a test can train it in a second, and rows for it."""

import shutil
import sys
from pathlib import Path

import pytest

from core.files import read_json, write_json

ROWS = [
    {
        "messages": [
            {"role": "user", "content": f"What is {a} and {b}?"},
            {"role": "assistant", "content": f"{a} and {b} make {a + b}." + " Good." * (a % 3)},
        ]
    }
    for a in range(6)
    for b in range(5)
]


class ChatHere:
    """What the chat process does, in the test's own process."""

    def __init__(self):
        from core.chat_process import Chat

        self.chat = Chat(self._emit)
        self.held = self.chat.held
        self._events = []

    def _emit(self, **event):
        self._events.append(event)

    def answer(self, request):
        """The events of one request. Raises what it fails of."""
        from core.chat_child import as_exception

        self._events = []
        self.chat.take({"id": 1, **request})
        self.chat.step()
        while not self.chat.idle:
            self.chat.step()
        if "error" in self._events[-1]:
            raise as_exception(self._events[-1])
        return self._events


EXACT = """
import torch
from core import chat_process, held
held.pick_dtype = lambda device: torch.float32
chat_process.main()
"""


@pytest.fixture(scope="module")
def exact_chat():
    """A chat whose process computes in fp32: in bf16 several rows are rounded otherwise than one,
    and a near tie may fall otherwise."""
    from core import chat, chat_child

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chat_child, "PROGRAM", [sys.executable, "-c", EXACT])
        server = chat.ChatServer()
        yield server
        server.close()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory, starter: Path) -> Path:
    """A Llama of two layers with random weights and the starter's tokenizer, in its own folder."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("models") / "tiny"
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=4096,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(starter / name, folder / name)
    return folder


@pytest.fixture(scope="session")
def roomy_model(tiny_model, tmp_path_factory) -> Path:
    """The tiny model with room for answers that take long."""
    folder = tmp_path_factory.mktemp("models") / "roomy"
    shutil.copytree(tiny_model, folder)
    config = read_json(folder / "config.json")
    write_json(folder / "config.json", {**config, "max_position_embeddings": 20_000})
    return folder


@pytest.fixture
def make_adapted(roomy_model):
    """make_adapted(**settings) -> a completed run with a random adapter."""
    from core.config import TrainConfig
    from core.store import Store
    from tests.core.test_generate import save_adapter

    def make(std=0.2, seed=1, model=roomy_model, **settings):
        config = TrainConfig(**{"name": "sums", "base_model": str(model)} | settings)
        run = Store().create_run(config, ROWS, [])
        save_adapter(model, run.path / "adapter", std=std, seed=seed)
        run.finish("completed")
        return run

    return make


@pytest.fixture
def make_run(tiny_model):
    """make_run(**settings) -> a Run on the tiny model with 24 rows to learn and 6 kept back."""
    from core.config import TrainConfig
    from core.store import Store

    def make(rows=ROWS, **settings):
        settings = {
            "name": "sums",
            "base_model": str(tiny_model),
            "max_steps": 6,
            "eval_steps": 3,
            "batch_size": 4,
            "lora_r": 4,
            "learning_rate": 0.01,
            "samples": 0,
        } | settings
        return Store().create_run(TrainConfig(**settings), rows[:24], rows[24:])

    return make
