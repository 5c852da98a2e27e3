"""A run can answer as it stood at its last checkpoint, beside what was kept of it."""

import shutil

import pytest
import torch

from core import adapters, versions
from core.checkpoints import WEIGHTS
from core.config import TrainConfig
from core.errors import NotFound
from core.files import write_text
from core.mixed import MixedModel
from core.runs import Run
from core.store import Store
from core.tokenizer import Tokenizer
from tests.core.conftest import ROWS, ChatHere
from tests.core.test_generate import SHORT, alone, decode, load

ASK = [{"role": "user", "content": "What is 2 and 3?"}]


def learned_on(model):
    """What learns is somewhere else now."""
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.data += torch.randn_like(parameter) * (0.02 if "ia3" in name else 0.2)


@pytest.fixture
def make(roomy_model):
    """make(method) -> (the run, kept at step 3, ended at step 9; the model as it ended)."""

    def make(method="lora", used_step=3) -> tuple[Run, torch.nn.Module]:
        torch.manual_seed(0)
        config = TrainConfig(
            name="sums", base_model=str(roomy_model), method=method, lora_r=4, lora_alpha=8
        )
        run = Store().create_run(config, ROWS, [])
        model = adapters.attach(load(roomy_model), config)
        learned_on(model)
        adapters.save(run.path / "adapter", model, Tokenizer.load(roomy_model), "")
        learned_on(model)
        checkpoint = run.path / "checkpoints" / "step-000009"
        adapters.save_weights(adapters.learned(model), checkpoint / WEIGHTS)
        write_text(checkpoint / "trainer.pt", "")
        run.finish("completed", step=9, used_step=used_step)
        return run, model.eval()

    return make


@pytest.mark.parametrize("method", ["lora", "dora", "ia3"])
def test_a_checkpoint_answers_as_the_model_did_when_it_was_saved(make, roomy_model, method):
    run, model = make(method)
    version = versions.last(run)
    assert (version.id, version.name) == (f"{run.id}@9", "sums, step 9")
    mixed = MixedModel(load(roomy_model))
    mixed.load("kept", run.adapter)
    mixed.load("ended", run.adapter, version.weights)
    base, kept, ended = decode(mixed, (SHORT, None), (SHORT, "kept"), (SHORT, "ended"))
    assert ended == alone(model, SHORT)
    assert base != kept != ended


def test_the_chat_puts_it_beside_what_was_kept(make):
    run, _ = make()
    sides = [versions.find(Store(), id) for id in (run.id, f"{run.id}@9")]
    assert [versions.at(versions.address(side)) for side in sides] == sides
    *_, last = ChatHere().answer(
        {
            "runs": [versions.address(side) for side in sides],
            "messages": dict.fromkeys(("base", *(side.id for side in sides)), ASK),
            "sampling": {"max_new_tokens": 5},
        }
    )
    assert last["changed"].keys() == {run.id, f"{run.id}@9"}
    assert len(set(last["adapters"].values())) == 2


def test_there_is_none_where_it_would_be_the_same_or_is_gone(make):
    same, _ = make(used_step=9)
    assert versions.last(same) is None
    run, _ = make()
    version = versions.last(run)
    for id in (f"{run.id}@8", f"{run.id}@../x"):
        with pytest.raises(NotFound, match="has no checkpoint"):
            versions.find(Store(), id)
    shutil.rmtree(run.path / "checkpoints")
    assert versions.last(run) is None
    with pytest.raises(NotFound, match="The checkpoint of sums, step 9 was deleted"):
        assert version.weights
