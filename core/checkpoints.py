"""All that the next step depends on, on the disk and back.

checkpoints/step-000200/ holds the weights that learn (weights.safetensors), and, written last,
trainer.pt with the optimiser, the random state and where the run stands. Beside it lie
best-000180.safetensors, the weights with the lowest loss on the held-out rows, and
initial.safetensors, what PiSSA and OLoRA took out of the base model.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from core import adapters
from core.files import sync
from core.methods import Method
from core.runs import Run

WEIGHTS = "weights.safetensors"


@dataclass
class State:
    """Where a run stands, besides its weights, its optimiser and the random state."""

    step: int = 0
    seconds: float = 0.0
    tokens: int = 0
    base_eval_loss: float | None = None
    best_eval_loss: float | None = None
    best_step: int = 0
    tests_without_gain: int = 0
    losses: list[float] = field(default_factory=list)
    """The last few, for the final loss."""
    tokens_at_once: int = 0
    """Positions of a forward pass. Less than planned where memory ran out."""
    recompute: bool = False
    """Gradient checkpointing."""
    notes: list[str] = field(default_factory=list)
    """What the person should know of how it went, in sentences."""

    def tested(self, loss: float) -> bool:
        """Keep the loss of a test; whether it is the best since learning began."""
        if self.step == 0:
            self.base_eval_loss = loss
            return False
        if self.best_eval_loss is not None and not loss < self.best_eval_loss:
            self.tests_without_gain += 1
            return False
        self.best_eval_loss, self.best_step = loss, self.step
        self.tests_without_gain = 0
        return True


def best(run: Run, step: int) -> Path:
    """Whoever is killed between keeping the best and the checkpoint that knows of it leaves both
    the new best and the one that the older checkpoint means."""
    return run.path / "checkpoints" / f"best-{step:06d}.safetensors"


def initial(run: Run) -> Path:
    return run.path / "checkpoints" / "initial.safetensors"


def save(
    run: Run,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    state: State,
    method: dict[str, Any],
) -> None:
    """The older checkpoint goes when this one is whole. `method` is what the way of learning
    remembers."""
    folder = run.path / "checkpoints" / f"step-{state.step:06d}"
    adapters.save_weights(adapters.learned(model), folder / WEIGHTS)
    random = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        random["cuda"] = torch.cuda.get_rng_state()
    temporary = folder / ".trainer.pt.tmp"
    saved = {"state": asdict(state), "optimizer": optimizer.state_dict(), "random": random}
    torch.save({**saved, "method": method}, temporary)
    sync(temporary)
    temporary.replace(folder / "trainer.pt")
    for written in (folder, folder.parent):
        sync(written)
    for old in (run.path / "checkpoints").glob("step-*"):
        if old.name < folder.name:
            # trainer.pt first: half a checkpoint must not look whole.
            for file in sorted(old.iterdir(), key=lambda file: file.name != "trainer.pt"):
                file.unlink()
            old.rmdir()
    for old in (run.path / "checkpoints").glob("best-*.safetensors"):
        if old != best(run, state.best_step):
            old.unlink()


def room(model: torch.nn.Module, method: Method) -> int:
    """How many bytes of disk a save takes at most beside what is there: a checkpoint, the best
    weights and what is taken home, while the older ones are still needed."""
    weights = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    copies = 6  # the checkpoint's with Adam's two averages, two best ones, and those to take home
    copies += method.residual  # what is taken home has twice the rank
    copies += 3 * (method.kind == "adalora")  # how much each weight matters
    return copies * weights


def load(
    folder: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[State, dict[str, Any]]:
    """Everything back in its place; and what the way of learning remembered."""
    saved = torch.load(folder / "trainer.pt", map_location="cpu", weights_only=True)
    adapters.load_weights(model, folder / WEIGHTS)
    optimizer.load_state_dict(saved["optimizer"])
    torch.set_rng_state(saved["random"]["cpu"])
    if torch.cuda.is_available() and "cuda" in saved["random"]:
        torch.cuda.set_rng_state(saved["random"]["cuda"])
    return State(**saved["state"]), saved["method"]
