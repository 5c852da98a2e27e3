"""What is minimised: equal to the plain formulas with two models, however a batch is divided."""

import pytest
import torch
from accelerate import Accelerator

from core import adapters, loading, loop, losses
from core.batches import Pair, micro_batches
from core.config import TrainConfig
from core.examples import read
from core.losses import Preference
from core.models import find
from core.tokenizer import Tokenizer
from core.tokens import IGNORED, Encoded

CPU = torch.device("cpu")
PREFERENCES = [
    {
        "messages": [{"role": "user", "content": f"What is {a} and {b}?"}],
        "chosen": f"{a} and {b} make {a + b}." + " Good." * (b % 3),
        "rejected": f"I do not know what {a} may be." * (1 + a % 2),
    }
    for a in range(6)
    for b in range(5)
]


@pytest.fixture(autouse=True)
def in_fp32(monkeypatch):
    monkeypatch.setattr(loading, "pick_dtype", lambda device: torch.float32)


def load(folder):
    return loading.load_base(find(str(folder)), "none", CPU, torch.float32)


@pytest.fixture
def tuned(tiny_model):
    torch.manual_seed(1)
    model = adapters.attach(load(tiny_model), TrainConfig(lora_r=4, lora_alpha=8))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return model


@pytest.fixture
def pairs(tiny_model):
    tokenizer = Tokenizer.load(tiny_model)
    config = TrainConfig(objective="dpo")
    return read(None, tokenizer, PREFERENCES[:7], config).examples(256)


def slow(model, example) -> torch.Tensor:
    """The log probability of the learned tokens, one by one."""
    logits = model(input_ids=torch.tensor([example.ids])).logits[0].double()
    total = torch.zeros((), dtype=torch.double)
    for at, label in enumerate(example.labels):
        if label != IGNORED:
            total = total + logits[at - 1].log_softmax(-1)[label]
    return total


def slow_dpo(model, reference, pairs, beta):
    total = 0
    for pair in pairs:
        with torch.no_grad():
            better, worse = slow(reference, pair.chosen), slow(reference, pair.rejected)
        better, worse = slow(model, pair.chosen) - better, slow(model, pair.rejected) - worse
        total = total - torch.log(torch.sigmoid(beta * (better - worse)))
    return total / len(pairs)


def slow_orpo(model, pairs, beta):
    total = 0
    for pair in pairs:
        p = [
            torch.exp(slow(model, example) / example.learned)
            for example in (pair.chosen, pair.rejected)
        ]
        ratio = torch.log(p[0] / (1 - p[0])) - torch.log(p[1] / (1 - p[1]))
        total = total - torch.log(p[0]) - beta * torch.log(torch.sigmoid(ratio))
    return total / len(pairs)


@pytest.mark.parametrize(("tokens", "packing"), [(9999, True), (1, True), (80, True), (200, False)])
@pytest.mark.parametrize("name", ["dpo", "orpo"])
def test_preferences_equal_the_plain_formula_however_they_are_divided(
    tuned, pairs, tiny_model, name, tokens, packing
):
    reference = load(tiny_model)
    plain = (
        slow_dpo(tuned, reference, pairs, 0.3) if name == "dpo" else slow_orpo(tuned, pairs, 0.3)
    )
    plain.backward()
    expected = [p.grad.clone() for p in tuned.parameters() if p.requires_grad]
    tuned.zero_grad()

    with tuned.disable_adapter():
        known = losses.reference_log_probs(tuned, pairs, tokens, packing, CPU)
    pairs = [Pair(p.chosen, p.rejected, two) for p, two in zip(pairs, known, strict=True)]
    objective, total = Preference(name, 0.3), 0.0
    for micro in micro_batches(pairs, tokens, packing):
        loss = objective.sums(tuned, micro)["loss"] / objective.weight(pairs)
        loss.backward()
        total += loss.item()
    assert total == pytest.approx(float(plain), abs=1e-5)
    ours = [p.grad for p in tuned.parameters() if p.requires_grad]
    for a, b in zip(expected, ours, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_orpos_odds_are_finite_at_both_ends():
    log_p = torch.tensor([-1e-9, -1e-4, -0.69, -50.0], dtype=torch.double)
    rest = losses._log_of_the_rest(log_p)
    assert rest.isfinite().all()
    torch.testing.assert_close(rest[1:3], torch.log(1 - torch.exp(log_p[1:3])))


@pytest.mark.parametrize("name", ["dpo", pytest.param("orpo", marks=pytest.mark.long)])
def test_a_run_learns_the_better_answer(make_run, name):
    run = make_run(PREFERENCES, objective=name, max_steps=12, eval_steps=6, learning_rate=0.003)
    assert loop.train(run, Accelerator(cpu=True)) == "completed"
    first, *_, last = [row for row in run.metrics() if "eval_loss" in row]
    if name == "dpo":
        assert first["eval_loss"] == pytest.approx(0.693147, abs=1e-5)
    assert last["eval_loss"] < first["eval_loss"]
    assert last["eval_reward_margin"] > first["eval_reward_margin"]
    assert last["eval_reward_accuracy"] > 0.9
    assert all("reward_margin" in row for row in run.metrics() if "loss" in row)


def test_the_question_is_no_part_of_the_preference(pairs):
    for pair in pairs:
        shared = 0
        while pair.chosen.ids[shared] == pair.rejected.ids[shared]:
            shared += 1
        assert all(label == IGNORED for label in pair.chosen.labels[: shared - 3])
        assert pair.chosen.labels[-2] != IGNORED


def test_an_equal_pair_teaches_nothing_and_is_refused(make_run):
    same = [{**row, "rejected": row["chosen"]} for row in PREFERENCES[:24]]
    run = make_run([*same[:12], *PREFERENCES[12:]], objective="dpo", max_steps=1)
    loop.train(run, Accelerator(cpu=True))
    assert run.plan["refused_rows"] == 12


def test_packs_are_only_made_where_they_are_exact(tuned, pairs):
    assert losses.packs_exactly(tuned, pairs[0].chosen)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_head_that_stands_alone_is_found_and_gives_the_same_loss_and_gradient(tiny_model, dtype):
    base = loading.load_base(find(str(tiny_model)), "none", CPU, dtype)
    model = adapters.attach(base, TrainConfig(lora_r=4, lora_alpha=8))
    ids = list(range(10, 30))
    example = Encoded(ids, [IGNORED] * 8 + ids[8:])
    head = losses.lone_head(model, example)
    assert head is base.get_output_embeddings()

    (micro,) = micro_batches([example], 64, packing=True)
    learning = [p for p in model.parameters() if p.requires_grad]
    in_parts, whole = (losses.token_losses(model, micro, lone) for lone in (head, None))
    near = {"atol": 1e-5, "rtol": 1e-4} if dtype == torch.float32 else {"atol": 0.1, "rtol": 0.02}
    torch.testing.assert_close(in_parts, whole, **near)
    for ours, plain in zip(
        torch.autograd.grad(in_parts, learning), torch.autograd.grad(whole, learning), strict=True
    ):
        torch.testing.assert_close(ours, plain, **near)


def test_a_head_whose_logits_are_changed_does_not_stand_alone(tiny_model):
    base = load(tiny_model)

    def limit(module, inputs, output):
        output.logits = output.logits.tanh()

    base.register_forward_hook(limit)
    ids = list(range(10, 30))
    assert losses.lone_head(base, Encoded(ids, ids)) is None
