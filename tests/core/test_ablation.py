"""Settings tried beside each other: which runs these are, and which one is recommended."""

import pytest

from core import ablation
from core.ablation import MOST, Trial, noise, recommend, variants
from core.config import TrainConfig
from core.errors import NotFound, UserError
from core.files import append_jsonl, write_bytes, write_json
from core.store import Store

ROW = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
CONFIG = TrainConfig(name="Shop", lora_r=16, lora_alpha=32, learning_rate=0.003)


def test_each_combination_is_a_run_named_by_what_differs():
    made = variants(CONFIG, {"lora_r": [4, 16], "target_modules": ["attention", "all-linear"]})
    assert [(c.lora_r, c.target_modules, c.name) for c in made] == [
        (4, "attention", "Shop · rank 4 · attention"),
        (4, "all-linear", "Shop · rank 4 · all-linear"),
        (16, "attention", "Shop · rank 16 · attention"),
        (16, "all-linear", "Shop · rank 16 · all-linear"),
    ]


def test_one_value_is_set_and_not_named():
    made = variants(CONFIG, {"lora_r": [4, 8, 4], "method": ["dora"]})
    assert [(c.method, c.name) for c in made] == [
        ("dora", "Shop · rank 4"),
        ("dora", "Shop · rank 8"),
    ]


def test_alpha_follows_the_rank_unless_it_was_chosen():
    assert {c.lora_alpha for c in variants(CONFIG, {"lora_r": [4, 8]})} == {None}
    chosen = CONFIG.model_copy(update={"lora_alpha": 10.0})
    assert {c.lora_alpha for c in variants(chosen, {"lora_r": [4, 8]})} == {10.0}


def test_each_method_has_a_step_size_that_suits_it_and_counts_once_without_ranks():
    made = variants(CONFIG, {"lora_r": [4, 8], "method": ["lora", "ia3"]})
    assert [c.name for c in made] == [
        "Shop · rank 4 · LoRA", "Shop · (IA)³", "Shop · rank 8 · LoRA",
    ]  # fmt: skip
    assert {c.learning_rate for c in made} == {None}
    both = variants(CONFIG, {"learning_rate": [0.1, 0.01], "method": ["lora", "dora"]})
    assert {c.learning_rate for c in both} == {0.1, 0.01}
    assert both[0].name == "Shop · step size 0.1 · LoRA"


def test_a_long_name_leaves_room_for_what_differs():
    long = CONFIG.model_copy(update={"name": "x" * 80})
    for config in variants(long, {"lora_r": [4, 8]}):
        assert len(config.name) <= 80
        assert config.name.endswith((" · rank 4", " · rank 8"))


def test_what_differs_behind_the_end_of_a_name_is_tried_all_the_same():
    lists = [[f"layers.{n}.self_attn.q_proj" for n in range(5)] + [last] for last in ("a", "b")]
    made = variants(CONFIG, {"target_modules": lists})
    assert [config.target_modules for config in made] == lists
    assert [config.name[-4:] for config in made] == [" (1)", " (2)"]
    assert all(len(config.name) <= 80 for config in made)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "nothing to stand beside"),
        ({"lora_r": [8]}, "nothing to stand beside"),
        ({"lora_r": list(range(1, MOST + 2))}, f"{MOST + 1} runs"),
        ({"seed": [1, 2]}, "seed"),
        ({"lora_r": [4, 0]}, "lora_r"),
        ({"lora_r": [4, "many"]}, "lora_r"),
        ({"method": ["lora", "magic"]}, "method"),
    ],
)
def test_what_can_not_be_tried_is_said(values, said):
    with pytest.raises(UserError, match=said):
        variants(CONFIG, values)


def a_trial(id, loss, size, seconds=10.0, tests=(9.0, 0.6, 0.52, 0.5, 0.51)):
    return Trial(id, loss, tests, size, seconds)


def test_the_noise_is_what_a_test_more_or_less_changes():
    assert noise(a_trial("a", 0.5, 1)) == pytest.approx(0.01)
    assert noise(a_trial("a", 0.5, 1, tests=(9.0, 0.6, 0.5))) == pytest.approx(0.1)
    # What it knew before it learned is no measure.
    assert noise(a_trial("a", 0.5, 1, tests=(9.0, 0.5))) == 0.0
    assert noise(a_trial("a", 0.5, 1, tests=())) == 0.0


def test_the_smallest_within_the_noise_of_the_best_is_recommended():
    large, middle, small = a_trial("l", 0.5, 64), a_trial("m", 0.509, 16), a_trial("s", 0.52, 4)
    advice = recommend([large, middle, small])
    assert (advice.id, advice.best) == ("m", "l")
    assert recommend([large, small]).id == "l"
    # As large and quicker by chance is no reason to take the worse one.
    assert recommend([large, a_trial("q", 0.505, 64, seconds=5.0)]).id == "l"
    advice = recommend([large, a_trial("q", 0.5, 64, seconds=5.0)])
    assert advice.id == advice.best == "q"
    assert recommend([large]) is None


def finished(store, name, loss, size, group):
    run = store.create_run(TrainConfig(name=name), [ROW], [ROW])
    ablation.mark(run, group, ["lora_r"])
    for step, value in enumerate((5.0, loss + 0.01, loss)):
        append_jsonl(run.path / "metrics.jsonl", {"step": step, "eval_loss": value})
    write_json(run.path / "adapter" / "adapter_config.json", {})
    write_bytes(run.path / "adapter" / "adapter_model.safetensors", b"x" * size)
    run.finish("completed", seconds=3.0, best_eval_loss=loss)
    return run


def test_what_belongs_together_is_a_fact_in_the_folders():
    store = Store()
    first, second = (finished(store, f"r{n}", 0.5, 10 * n, "one") for n in (1, 2))
    finished(store, "other", 0.1, 10, "two")
    alone = store.create_run(TrainConfig(name="alone"), [ROW], [ROW])
    assert ablation.together(store, "one") == [first, second]
    assert ablation.marked(alone) == {}
    assert ablation.trial(alone) is None
    advice = recommend([ablation.trial(run) for run in (second, first)])
    assert advice.id == first.id
    write_bytes(second.path / "ablation.json", b"{")
    assert ablation.together(store, "one") == [first]
    first.remove()
    with pytest.raises(NotFound):
        ablation.together(store, "one")
