"""Blends: sums are exact, the other ways do what their papers say, and what comes of them answers
as the arithmetic says."""

import json

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from core import blend, blending, disk, held, loading, sharing
from core.blend import Pair
from core.config import TrainConfig
from core.errors import NotFound, UserError
from core.evaluate import evaluate
from core.files import read_json, write_json, write_jsonl
from core.mixed import MixedModel
from core.models import find
from core.report import Report
from core.store import Store
from core.tokenizer import Tokenizer
from jobs import queue
from tests.adapters import write_lora
from tests.core.conftest import ROWS, ChatHere
from tests.core.test_generate import load

IDS = torch.tensor([[11, 12, 13, 14, 15, 16]])


@pytest.fixture(autouse=True)
def in_fp32(monkeypatch):
    monkeypatch.setattr(loading, "pick_dtype", lambda device: torch.float32)


def recipe(way="cat", weights=(1, 1), **options):
    return blending.recipe_of(weights, {"way": way, **options})


@pytest.fixture
def chance():
    return np.random.default_rng(1)


def pair(chance, rank, out=12, into=8, scale=2.0):
    a, b = chance.normal(size=(rank, into)), chance.normal(size=(out, rank))
    return Pair(a.astype(np.float32), b.astype(np.float32), scale)


def product(some, chosen, module="m"):
    a, b, kept, whole = blend.blend(some, chosen, module)
    return b.astype(np.float64) @ a, kept / whole


def test_the_sum_is_the_sum_whatever_ranks_and_alphas(chance):
    one, two = pair(chance, 3, scale=2.0), pair(chance, 2, scale=0.5)
    wanted = 0.7 * one.difference + 1.5 * two.difference
    for way in ("cat", "svd"):
        made, kept = product([(0.7, one), (1.5, two)], recipe(way))
        np.testing.assert_allclose(made, wanted, atol=1e-5)
        assert kept == pytest.approx(1)
    # Less rank is the best that this rank can be, and says what it has room for.
    made, kept = product([(0.7, one), (1.5, two)], recipe("svd", rank=2))
    s = np.linalg.svd(wanted, compute_uv=False)
    assert np.linalg.norm(made - wanted) == pytest.approx(np.linalg.norm(s[2:]), rel=1e-4)
    assert kept == pytest.approx((s[:2] ** 2).sum() / (s**2).sum(), rel=1e-4)


def test_linear_is_that_of_peft_and_not_the_sum(chance):
    one, two = pair(chance, 3), pair(chance, 3)
    made, _ = product([(1, one), (1, two)], recipe("linear"))
    a = np.sqrt(one.scale) * one.a + np.sqrt(two.scale) * two.a
    b = np.sqrt(one.scale) * one.b + np.sqrt(two.scale) * two.b
    np.testing.assert_allclose(made, b @ a, atol=1e-4)
    assert np.abs(made - one.difference - two.difference).max() > 1
    with pytest.raises(UserError, match="adapters of one rank"):
        product([(1, one), (1, pair(chance, 2))], recipe("linear"))


def slowly(way, weights, differences, density, masks):
    """TIES, DARE and pruning, number by number."""
    out, into = differences[0].shape
    made = np.zeros((out, into))
    kept = []
    for number, difference in enumerate(differences):
        if way.startswith("dare"):
            kept.append(np.where(masks[number], difference / density, 0))
        else:
            largest = sorted(abs(difference).ravel())[-max(1, round(density * difference.size))]
            kept.append(np.where(abs(difference) >= largest, difference, 0))
    for i in range(out):
        for j in range(into):
            values = [weight * one[i, j] for weight, one in zip(weights, kept, strict=True)]
            if way.endswith("ties"):
                total = sum(values)
                agreeing = [v for v in values if v and (v > 0) == (total >= 0)]
                made[i, j] = sum(agreeing) / max(1, len(agreeing))
            else:
                made[i, j] = sum(values)
    return made


@pytest.mark.parametrize("way", ["ties", "dare", "dare_ties", "magnitude_prune"])
def test_the_other_ways_are_those_of_their_papers(chance, way):
    some = [(1.2, pair(chance, 3)), (0.6, pair(chance, 2)), (1.0, pair(chance, 4))]
    chosen = recipe(way, (1.2, 0.6, 1.0), density=0.4, rank=8, seed=7)
    made, kept = product(some, chosen)
    masks = []  # which numbers chance drops is seen where one is blended alone
    for number in range(3):
        alone = [(float(n == number), one.difference) for n, (_, one) in enumerate(some)]
        dropping = recipe("dare", (1, 1, 1), density=0.4, seed=7)
        masks.append(blend._dense(alone, dropping, "m") != 0)
    assert 0.2 < np.mean(masks) < 0.6
    wanted = slowly(way, (1.2, 0.6, 1.0), [one.difference for _, one in some], 0.4, masks)
    np.testing.assert_allclose(made, wanted, atol=1e-4)  # 8 is its full rank
    assert kept == pytest.approx(1)


def test_the_same_seed_gives_the_same_blend_and_another_another(chance):
    some = [(1, pair(chance, 3)), (1, pair(chance, 3))]
    first, again, other = (product(some, recipe("dare", seed=seed))[0] for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()
    # On the average of many, nothing is lost.
    wanted = some[0][1].difference + some[1][1].difference
    mean = np.mean([product(some, recipe("dare", seed=n, rank=8))[0] for n in range(400)], axis=0)
    assert np.abs(mean - wanted).mean() < 0.12 * np.abs(wanted).mean()


def test_of_a_large_matrix_the_largest_directions_are_found(chance):
    wide = chance.normal(size=(900, 40)) @ chance.normal(size=(40, 800))
    noisy = (wide + 0.01 * chance.normal(size=wide.shape)).astype(np.float32)
    u, s, v = blend._largest(noisy, 20)
    exact = np.linalg.svd(noisy, compute_uv=False)
    np.testing.assert_allclose(s[:20], exact[:20], rtol=1e-2)
    best = np.sqrt((exact[20:] ** 2).sum())
    assert np.linalg.norm(noisy - (u[:, :20] * s[:20]) @ v[:20]) < 1.001 * best


# ---- whole runs


@pytest.fixture
def parents(tiny_model, data_dir):
    """Two LoRAs of other rank, alpha, scale and parts; the second kept a row back that the first
    learned from."""
    base, made = find(str(tiny_model)), []
    for number, settings in enumerate(
        ({"rank": 4, "parts": ("q_proj", "v_proj")},
         {"rank": 6, "parts": ("v_proj", "down_proj"), "use_rslora": True})
    ):  # fmt: skip
        config = TrainConfig(name=("Roses", "Tulips")[number], base_model=str(tiny_model))
        rows = ROWS[:10] if number else ROWS[10:20]
        run = Store().create_run(config, rows, ROWS[20 + 4 * number : 24 + 4 * number])
        write_lora(run.path / "adapter", base, seed=number, std=0.15, **settings)
        Tokenizer.load(tiny_model).save(run.path / "adapter")
        run.finish("completed")
        made.append(run)
    write_jsonl(made[1].path / "eval.jsonl", [*made[1].rows("eval"), made[0].rows("train")[0]])
    return made


def logits(folder, model):
    mixed = MixedModel(load(model))
    mixed.load("a", folder)
    with torch.no_grad(), mixed.rows(["a"]):
        return mixed.model(input_ids=IDS).logits


def merged(model, *weighted):
    """The base model with these put on one after the other, each merged into the weights."""
    base = AutoModelForCausalLM.from_pretrained(model)
    for folder, weight in weighted:
        adapted = PeftModel.from_pretrained(base, folder)
        for module in adapted.modules():
            if isinstance(getattr(module, "scaling", None), dict):
                module.scaling = {name: scale * weight for name, scale in module.scaling.items()}
        base = adapted.merge_and_unload()
    with torch.no_grad():
        return base(input_ids=IDS).logits


def test_a_sum_answers_as_both_put_on_one_after_the_other_in_any_order(parents, tiny_model):
    one, two = parents
    for weights in ((1, 1), (0.5, 1.5)):
        made = blending.draft(Store(), parents, recipe(weights=weights))
        wanted = merged(tiny_model, (one.adapter, weights[0]), (two.adapter, weights[1]))
        assert torch.allclose(logits(made.adapter, tiny_model), wanted, atol=2e-3)
    other = merged(tiny_model, (two.adapter, 1.5), (one.adapter, 0.5))
    assert torch.allclose(wanted, other, atol=2e-3)
    elsewhere = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(tiny_model), made.adapter
    )
    with torch.no_grad():
        assert torch.allclose(elsewhere(input_ids=IDS).logits, wanted, atol=2e-3)
    assert read_json(made.adapter / "adapter_config.json")["rank_pattern"]  # q_proj has one alone


def test_a_draft_is_in_no_list_until_it_is_kept(parents, tiny_model):
    store = Store()
    made = blending.draft(store, parents, recipe("svd", rank=3), name="Bouquet")
    assert made.is_draft
    assert store.run(made.id) == made
    assert {run.id for run in store.runs()} == {run.id for run in parents}
    assert made.config.lora_r == 3
    assert "has room for" in made.origin["notes"][1]
    assert blending.same(made, parents, recipe("svd", rank=3))
    assert not blending.same(made, parents, recipe("svd", rank=4))
    with pytest.raises(UserError, match="is a draft"):
        made.delete()
    assert disk.usage(store)["caches"]["drafts"] > 1000
    next_one = blending.draft(store, parents, recipe(), replaces=made.id)
    with pytest.raises(NotFound):
        store.run(made.id)
    with pytest.raises(NotFound):
        Store("anna").run(next_one.id)
    kept = blending.keep(store, next_one, "Bunch")
    assert store.run(kept.id).name == "Bunch"
    assert kept in store.runs()
    assert kept.adapter is not None
    assert "\n# Bunch\n" in (kept.adapter / "README.md").read_text()
    assert not store.run(kept.id).is_draft
    left = blending.draft(store, parents, recipe())
    assert disk.clear_caches(store) > 1000
    assert not left.path.exists()
    with pytest.raises(UserError, match="no draft"):
        blending.keep(store, kept, "Again")


def test_rows_that_a_parent_learned_from_are_no_test(parents):
    rows, numbers, notes = blending.held_out(parents)
    assert [len(own) for own in numbers] == [4, 4]
    assert len(rows) == 8
    assert "1 rows that Tulips kept back are no test here" in notes[0]
    same = blending.held_out([parents[0], parents[0]])
    assert same[1][0] == same[1][1]
    assert len(same[0]) == 4


def test_rows_that_a_run_before_a_parent_learned_from_are_no_test_either(parents):
    one, two = parents

    def another(**settings):
        config = TrainConfig(name="Bunch", base_model=one.config.base_model, **settings)
        return Store().create_run(config, ROWS[:2], [])

    blended, later = another(), another(continue_from=one.id)
    write_json(blended.path / "origin.json", {"kind": "blended", "parents": [{"id": one.id}]})
    assert len(two.rows("eval")) == 5
    for run in (blended, later):
        rows, numbers, notes = blending.held_out([two, run])
        assert len(numbers[0]) == len(rows) == 4
    one.delete()
    _, numbers, notes = blending.held_out([two, later, blended])
    assert len(numbers[0]) == 5
    assert "What Bunch learned from is not known, for an earlier run" in notes[0]


def test_it_is_scored_on_the_rows_of_each_parent_before_it_is_kept(parents):
    made = blending.draft(Store(), parents, recipe())
    Report(made).ask()
    disk.clear_caches(Store())  # which leaves it, as it is to be scored
    assert queue.unmade() == [made]
    assert queue.find(queue.reference(made)) == made
    evaluate(made, Report(made), sharing.Telling())
    card = Report(made).card
    roses, tulips = card["parents"]
    ids = [run.id for run in parents]
    assert [roses["id"], tulips["id"]] == ids
    assert roses["loss"].keys() == {"base", "tuned", *ids}
    assert (roses["measured"], roses["rows"], roses["scores"]["rows"]) == (4, 4, 4)
    assert len({round(loss, 4) for loss in roses["loss"].values()}) == 4
    kept = blending.keep(Store(), made, "Bouquet")
    assert Report(kept).state == "made"


def test_what_can_t_be_blended_is_refused_in_words(parents, tiny_model, make_adapted):
    def refused(words, runs=parents, **options):
        with pytest.raises(UserError, match=words):
            blending.draft(Store(), runs, recipe(**options))
        assert not list((Store().path / "drafts").glob("[!.]*"))

    refused("1 runs can’t be blended", parents[:1], weights=(1,))
    refused("one for each run", weights=(1,))
    refused("All of them are at 0 %", weights=(0, 0))
    refused("adapters of one rank", way="linear")
    odd = make_adapted(model=tiny_model)
    for method, why in (("ia3", "scales what"), ("prefix", "invisible"), ("full", "whole model")):
        told = read_json(odd.path / "config.json")
        (odd.path / "config.json").write_text(json.dumps({**told, "method": method}))
        refused(why, [parents[0], Store().run(odd.id)])
    starter = Store().create_run(TrainConfig(name="other"), ROWS, [])
    write_lora(starter.path / "adapter", find("starter"))
    starter.finish("completed")
    refused("different base models", [parents[0], starter])
    for options, words in (
        ({"way": "magic"}, "way: "),
        ({"density": 0}, "density: "),
        ({"rank": 1000}, "rank: "),
        ({"colour": 1}, "colour: "),
    ):
        with pytest.raises(UserError, match=words):
            blending.recipe_of((1, 1), options)
    with pytest.raises(UserError, match=r"weights\.0: "):
        blending.recipe_of((2, 1))


def test_ranks_that_come_to_too_much_are_said_before(parents, tiny_model):
    for run in parents:
        write_lora(run.adapter, find(str(tiny_model)), rank=300, parts=("q_proj",))
    with pytest.raises(UserError, match="Their ranks come to 600"):
        blending.draft(Store(), parents, recipe())
    assert blending.draft(Store(), parents, recipe("svd", rank=8)).config.lora_r == 8


def test_the_chat_goes_from_one_to_the_next_without_loading_the_base_again(
    parents, monkeypatch, tiny_model
):
    loaded = []
    monkeypatch.setattr(held, "pick_dtype", lambda device: torch.float32)
    load_base = held.load_base
    monkeypatch.setattr(held, "load_base", lambda *given: loaded.append(1) or load_base(*given))
    chat, asked = ChatHere(), [{"role": "user", "content": "What is 2 and 3?"}]

    def answer(*runs):
        request = {
            "runs": [str(run.path) for run in runs],
            "messages": dict.fromkeys(["base", *(run.id for run in runs)], asked),
            "sampling": {"max_new_tokens": 8},
        }
        return [event for event in chat.answer(request) if event][-1]["adapters"]

    made = blending.draft(Store(), parents, recipe())
    told = answer(parents[0]) | answer(parents[1], made) | answer(made, *parents)
    assert len(set(told.values())) == 3
    assert loaded == [1]
