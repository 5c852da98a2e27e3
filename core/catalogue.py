"""The models that we know to be worth choosing, and their shapes: enough to price each of them
before any of its files is here.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """Of a Llama-like model: the number of its blocks, and how many features wide its parts are."""

    layers: int
    hidden: int
    inside: int
    """Of the feed-forward layer."""
    queries: int
    keys: int
    """Of all heads together; values are as wide."""
    vocabulary: int

    @property
    def linear(self) -> dict[str, tuple[int, int]]:
        """Linear modules inside the blocks: name -> features (out, in)."""
        parts = {
            "self_attn.q_proj": (self.queries, self.hidden),
            "self_attn.k_proj": (self.keys, self.hidden),
            "self_attn.v_proj": (self.keys, self.hidden),
            "self_attn.o_proj": (self.hidden, self.queries),
            "mlp.gate_proj": (self.inside, self.hidden),
            "mlp.up_proj": (self.inside, self.hidden),
            "mlp.down_proj": (self.hidden, self.inside),
        }
        return {
            f"model.layers.{layer}.{name}": features
            for layer in range(self.layers)
            for name, features in parts.items()
        }


@dataclass(frozen=True)
class Listed:
    """One line of the catalogue: a model that we know to be worth choosing."""

    id: str
    title: str
    blurb: str
    parameters: int
    context: int
    licence: str
    shape: Shape
    gated: bool = False

    @property
    def bytes(self) -> int:
        """Of its files, in 16 bits."""
        return self.parameters * 2


CATALOGUE = (
    Listed("starter", "Starter", "Small, comes with Graft, learns in a minute. To try things out.",
           4_040_960, 512, "Apache-2.0",
           Shape(4, 256, 640, 256, 256, 4000)),
    Listed("HuggingFaceTB/SmolLM2-135M-Instruct", "SmolLM2 135M", "Tiny; runs on any computer.",
           134_515_008, 8192, "Apache-2.0",
           Shape(30, 576, 1536, 576, 192, 49152)),
    Listed("HuggingFaceTB/SmolLM2-360M-Instruct", "SmolLM2 360M", "Small; fine without a GPU.",
           361_821_120, 8192, "Apache-2.0",
           Shape(32, 960, 2560, 960, 320, 49152)),
    Listed("Qwen/Qwen3-0.6B", "Qwen3 0.6B", "Small and able, many languages.",
           596_049_920, 40960, "Apache-2.0",
           Shape(28, 1024, 3072, 2048, 1024, 151936)),
    Listed("meta-llama/Llama-3.2-1B-Instruct", "Llama 3.2 1B", "A good all-rounder of its size.",
           1_235_814_400, 131_072, "Llama 3.2 Community",
           Shape(16, 2048, 8192, 2048, 512, 128256), gated=True),
    Listed("google/gemma-3-1b-it", "Gemma 3 1B", "Writes well for its size.",
           999_885_952, 32768, "Gemma",
           Shape(26, 1152, 6912, 1024, 256, 262144), gated=True),
    Listed("Qwen/Qwen3-1.7B", "Qwen3 1.7B", "A step up, many languages.",
           1_720_574_976, 40960, "Apache-2.0",
           Shape(28, 2048, 6144, 2048, 1024, 151936)),
    Listed("HuggingFaceTB/SmolLM3-3B", "SmolLM3 3B", "Fully open, six languages.",
           3_075_098_624, 65536, "Apache-2.0",
           Shape(36, 2048, 11008, 2048, 512, 128256)),
    Listed("Qwen/Qwen3-4B-Instruct-2507", "Qwen3 4B", "The best start with a gaming GPU.",
           4_022_468_096, 262_144, "Apache-2.0",
           Shape(36, 2560, 9728, 4096, 1024, 151936)),
    Listed("mistralai/Mistral-7B-Instruct-v0.3", "Mistral 7B", "A proven classic.",
           7_248_023_552, 32768, "Apache-2.0",
           Shape(32, 4096, 14336, 4096, 1024, 32768)),
    Listed("Qwen/Qwen3-8B", "Qwen3 8B",
           "Strong; wants a GPU of 24 GB, or the memory saver and 12 GB.",
           8_190_735_360, 40960, "Apache-2.0",
           Shape(36, 4096, 12288, 4096, 1024, 151936)),
    Listed("meta-llama/Llama-3.1-8B-Instruct", "Llama 3.1 8B", "Strong, widely supported.",
           8_030_261_248, 131_072, "Llama 3.1 Community",
           Shape(32, 4096, 14336, 4096, 1024, 128256), gated=True),
    Listed("microsoft/phi-4", "Phi-4 14B",
           "The strongest here; wants the memory saver and 16 GB.",
           14_659_507_200, 16384, "MIT",
           Shape(40, 5120, 17920, 5120, 1280, 100352)),
)  # fmt: skip
