"""What is taken home answers as the chat does, or it is said that it doesn't."""

import shutil

import pytest
import torch
from accelerate import Accelerator

from core import loading, loop, sharing
from core.errors import NotFound, UserError
from core.exports import make, round_trip
from core.exports.export import Export
from core.exports.formats import FORMATS, Format
from core.exports.round_trip import Asked, leads_of, verdict
from core.files import write_text
from core.models import find
from core.tokenizer import Tokenizer
from tests.core.conftest import ROWS


@pytest.fixture
def in_fp32(monkeypatch):
    for module in (loading, round_trip):
        monkeypatch.setattr(module, "pick_dtype", lambda device: torch.float32)


@pytest.fixture
def trained(make_run):
    run = make_run(max_steps=60, eval_steps=30)
    assert loop.train(run, Accelerator(cpu=True)) == "completed"
    return run


def made(run, format_id):
    export = Export(run, format_id)
    export.ask()
    export.begin()
    make.make(export, sharing.Telling())
    return export


def prove(run, format, artefact):
    return round_trip.prove(run, format, artefact, sharing.Telling(), lambda *said: None)


def test_each_format_answers_as_the_chat(trained, in_fp32):
    for id in ("adapter", "merged"):
        export = made(trained, id)
        proof = export.made["proof"]
        assert export.state == "made"
        assert (proof["asked"], proof["trusted"]) == (5, True)
        assert proof["same"] + proof["near"] == 5
        assert proof["logits"]["places"] > 20
    adapter, merged = (Export(trained, id).made["proof"] for id in ("adapter", "merged"))
    assert adapter["same"] == 5
    assert adapter["logits"]["max"] < 1e-4
    assert 0 < merged["logits"]["max"] < 1  # rounded to 16 bits
    assert merged["logits"]["same_choices"] > 0.9


def test_one_whose_template_is_another_is_not_trusted_and_both_answers_are_shown(trained, in_fp32):
    export = made(trained, "merged")
    write_text(
        export.artefact / "chat_template.jinja", "{{ messages[0]['content'] }} Then: hello there "
    )
    proof = prove(trained, FORMATS["merged"], export.artefact)
    assert not proof["trusted"]
    one = proof["parted"][0]
    assert one["question"].startswith("What is ")
    assert one["chat"] != one["artefact"]
    assert one["word"] >= 1


def test_a_way_out_that_brings_its_own_answers_is_held_beside_the_chat(trained, in_fp32):
    export = made(trained, "adapter")
    asked = []

    def parrot(artefact, conversations, limit, prompts):
        asked.append((artefact, conversations, limit, prompts))
        return [messages[-1]["content"] for messages in conversations], [{} for _ in prompts]

    format = Format("x", "X", "", lambda *_: export.artefact, lambda run: 1, answers=parrot)
    proof = prove(trained, format, export.artefact)
    assert (proof["asked"], proof["same"], proof["trusted"]) == (5, 0, False)
    ((artefact, conversations, limit, prompts),) = asked
    places = export.made["proof"]["leads"]["places"]  # behind each word, and behind the end
    assert len(prompts) == len({tuple(prompt) for prompt in prompts}) == places
    assert proof["leads"]["places"] == 0
    assert (artefact, len(conversations), limit) == (export.artefact, 5, round_trip.LONGEST)
    assert {row["messages"][0]["content"] for row in trained.rows("eval")} >= {
        one[-1]["content"] for one in conversations
    }


def test_beside_4_bits_the_chat_is_told_of_besides(make_run):
    run = make_run(max_steps=4, eval_steps=4, quantization="4bit")
    assert loop.train(run, Accelerator(cpu=True)) == "completed"
    proof = made(run, "merged").made["proof"]
    assert proof["bits"] == "4bit"
    assert 0 <= proof["same_as_chat"] <= 5
    assert proof["same"] + proof["near"] + (not proof["trusted"]) >= 5
    assert proof["logits"]["max"] < 1


def test_without_rows_kept_back_typed_questions_are_asked(make_adapted, roomy_model):
    run = make_adapted()
    tokenizer = Tokenizer.load(run.adapter)
    found = round_trip.saved_questions(run, find(str(roomy_model)), tokenizer)
    assert [messages[0]["content"] for messages, _ in found] == list(round_trip.TYPED)


def test_questions_with_more_than_texts_are_left_out(make_run):
    odd = [{**ROWS[0], "tools": [{"name": "x"}]}, {"text": "A document."}, ROWS[1], ROWS[1]]
    run = make_run(rows=[*ROWS[:24], *odd])
    tokenizer = Tokenizer.load(find(run.config.base_model).path)
    found = round_trip.saved_questions(run, find(run.config.base_model), tokenizer)
    assert found[0][0] == ROWS[1]["messages"][:1]
    assert [messages[0]["content"] for messages, _ in found[1:]] == list(round_trip.TYPED[:4])


# ---- the rule


@pytest.fixture
def said(starter):
    """said(text, other, margin) -> the verdict on a chat that says `text` where the artefact says
    `other`, and finds each of its words by `margin` likelier than the other's next one."""
    tokenizer = Tokenizer.load(starter)
    stop = min(tokenizer.stop_ids)

    def verdict_of(text, other, margin, ended=True, allowed=0.25, same_choices=1.0):
        ids, others = tokenizer.encode(text).ids, tokenizer.encode(other).ids
        logits = torch.full((len(ids) + 1, 4096), -50.0)
        for at, id in enumerate([*ids, stop]):
            if at <= len(others):
                logits[at, [*others, stop][at]] = -margin
            logits[at, id] = 0.0
        asked = Asked([{"role": "user", "content": "Why?"}], [1], ids, ended, logits)
        leads = {"places": 9, "same_choices": same_choices, "usual": 0.0, "allowed": allowed}
        return verdict(tokenizer, [asked], [other], tokenizer.stop_ids, leads)

    return verdict_of


def test_equal_texts_are_the_same_but_for_spaces_around_them(said):
    told = said("It is red.", " It is red.\n", 9.0)
    assert (told["same"], told["near"], told["trusted"], told["parted"]) == (1, 0, True, [])
    assert said("It is", "It is red", 9.0, ended=False)["same"] == 1  # both were cut off


@pytest.mark.parametrize(
    ("other", "word"), [("It is blue.", 3), ("It is", 3), ("It is red. Good.", 4), ("No.", 1)]
)
def test_a_near_tie_is_as_good_and_another_choice_is_not(said, other, word):
    near, far = said("It is red.", other, 0.1), said("It is red.", other, 2.0)
    assert (near["same"], near["near"], near["trusted"]) == (0, 1, True)
    assert (far["same"], far["near"], far["trusted"]) == (0, 0, False)
    (parted,) = far["parted"]
    assert (parted["chat"], parted["artefact"], parted["word"]) == ("It is red.", other, word)
    assert parted["margin"] == pytest.approx(2.0)
    assert said("It is red.", other, 2.0, allowed=3.0)["trusted"]


def test_one_that_chooses_otherwise_too_often_is_another_model_whatever_it_answers(said):
    assert said("It is red.", "It is red.", 9.0, same_choices=0.9)["trusted"]
    told = said("It is red.", "It is red.", 9.0, same_choices=0.89)
    assert (told["same"], told["trusted"]) == (1, False)


def test_how_far_a_lead_may_be_off_is_measured():
    """Of an artefact whose leads are off by normal errors, as those of fewer bits are; at some
    places it is far off, which widens nothing."""
    torch.manual_seed(0)
    logits = torch.randn(400, 50) * 3

    def leads(error, far=0):
        its = logits + error / 2**0.5 * torch.randn(400, 50)
        its[:far] = torch.randn(far, 50) * 30
        likely = [dict(enumerate(row.tolist())) for row in its]
        asked = Asked([], [1], [0] * 399, True, logits)
        return leads_of([asked], [*likely[:-1], {}])

    exact = leads(0.0)
    assert (exact["places"], exact["same_choices"], exact["usual"]) == (399, 1.0, 0.0)
    assert exact["allowed"] == round_trip.STEP
    coarse = leads(0.5)
    assert coarse["usual"] == pytest.approx(0.5, rel=0.15)
    assert coarse["allowed"] == round_trip.SPREAD * coarse["usual"]
    assert leads(0.5, far=20)["usual"] == pytest.approx(0.5, rel=0.25)
    assert leads(0.5, far=200)["same_choices"] < round_trip.SAME_CHOICES


def test_what_it_does_not_name_is_no_likelier_than_the_last_that_it_names():
    logits = torch.tensor([[5.0, 4.0, 1.0, 0.0]])
    asked = Asked([], [1], [], True, logits)
    assert leads_of([asked], [{0: -0.1, 2: -2.1}])["usual"] == pytest.approx(1 / 0.6745)
    assert leads_of([asked], [{2: -0.1, 3: -0.4}])["same_choices"] == 0.0


def test_what_the_chat_would_hardly_say_is_no_near_tie(said):
    told = said("It is red.", "Zz zz zz", 60.0)  # below fifty others
    assert (told["parted"][0]["margin"], told["trusted"]) == (None, False)


# ---- how an export stands


@pytest.fixture
def adapted(make_adapted, tiny_model, monkeypatch):
    monkeypatch.setattr(round_trip, "LONGEST", 8)
    return make_adapted(model=tiny_model)


def test_how_it_stands_from_the_question_to_the_artefact(adapted):
    export = Export(adapted, "merged")
    assert (export.state, export.is_made, export.is_stale) == ("none", False, False)
    with pytest.raises(NotFound, match="The merged model of sums is not made yet"):
        _ = export.artefact
    export.ask()
    assert export.state == "waiting"
    assert export.is_due
    export.begin()
    export.say("Adding what was learned", 3, 14)
    assert export.state == "making"
    assert export.making["done"] == 3
    make.make(export, sharing.Telling())
    assert export.state == "made"
    first = export.artefact
    assert first.name == "model"
    assert export.made["bytes"] == sum(file.stat().st_size for file in first.iterdir())

    # What is there stays until the next one is whole.
    export.ask_again()
    (export.fresh() / "half").write_text("")
    assert export.state == "waiting"
    assert export.artefact == first
    export.begin()
    make.make(export, sharing.Telling())
    assert export.artefact != first
    assert not first.exists()
    assert len([path for path in export.path.iterdir() if path.is_dir()]) == 1


def test_when_the_run_has_learned_on_it_is_stale(adapted):
    export = made(adapted, "adapter")
    assert not export.is_stale
    shutil.copy(export.artefact, export.path / "kept.zip")
    weights = adapted.adapter / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes())
    assert export.is_stale
    assert export.artefact.exists()


def test_it_is_cancelled_and_deleted(adapted):
    export = Export(adapted, "merged")
    export.ask()
    export.cancel()
    assert export.state == "none"
    with pytest.raises(NotFound, match="Nobody wants"):
        export.finish(export.fresh(), {}, 1.0)
    export.ask()
    export.fail("No.", "Mend it.")
    assert export.state == "failed"
    export.delete()
    assert not export.path.exists()
    assert export.state == "none"


def test_before_it_is_begun_it_says_what_it_needs(adapted, make_run, monkeypatch):
    with pytest.raises(UserError, match="nothing to take home yet: it is interrupted"):
        Export(make_run(), "merged").ask_again()
    monkeypatch.setattr("core.disk.free", lambda path: 1_000_000)
    with pytest.raises(UserError, match=r"needs \d+ MB on the disk, and 1 MB are free") as told:
        Export(adapted, "merged").ask_again()
    assert "Free some space" in told.value.hint
    assert Export(adapted, "merged").state == "none"
