"""The questions that a run answers while it learns: chosen well, answered by what it has learned,
and without a trace in what it learns."""

import signal

import pytest
import torch
from accelerate import Accelerator
from peft import PeftModel
from transformers import AutoModelForCausalLM

from core import loading, loop, samples, watching
from core.files import read_jsonl
from core.generate import Answer, generate
from core.methods import METHODS
from core.mixed import MixedModel
from core.models import find
from core.sampling import Sampling
from core.tokenizer import Tokenizer
from core.tokens import encode_prompt
from tests.core.conftest import ROWS
from tests.core.test_train import losses, start, wait_for

CPU = torch.device("cpu")
PAIRS = [{"messages": row["messages"][:1], "chosen": row["messages"][1]["content"],
          "rejected": "No idea."} for row in ROWS]  # fmt: skip
LONG = pytest.mark.long


def learn(run) -> str:
    return loop.train(run, Accelerator(cpu=True))


@pytest.fixture
def unhurried(monkeypatch):
    """Answering may take as long as it likes, however busy the machine is."""
    monkeypatch.setattr(watching, "AT_LEAST", 1e9)


def steps(run) -> list[int]:
    return [row["step"] for row in samples.read(run)["times"]]


# ---- which questions


def test_the_seed_chooses_among_the_shorter_ones(tiny_model):
    tokenizer = Tokenizer.load(tiny_model)
    answer = {"role": "assistant", "content": "Yes."}
    asked = [{"role": "user", "content": f"{n}? " + "and " * 40} for n in range(30)]
    long = [{"messages": [question, answer]} for question in asked]
    chosen = samples.choose(tokenizer, [*long, *ROWS], 5, 1, 256)
    assert len({question.text for question in chosen}) == 5
    assert all(question.text.startswith("What is") for question in chosen)
    assert chosen[0].prompt == encode_prompt(
        tokenizer, [{"role": "user", "content": chosen[0].text}]
    )
    assert samples.choose(tokenizer, [*long, *ROWS], 5, 1, 256) == chosen
    assert samples.choose(tokenizer, [*long, *ROWS], 5, 2, 256) != chosen
    assert samples.choose(tokenizer, ROWS[:2], 5, 1, 256)
    assert samples.choose(tokenizer, long, 5, 1, 100) == []  # no room for an answer


def test_the_last_answer_of_a_conversation_is_expected_and_a_document_goes_on(tiny_model):
    tokenizer = Tokenizer.load(tiny_model)
    talk = [*ROWS[0]["messages"], *ROWS[7]["messages"]]
    (chosen,) = samples.choose(tokenizer, [{"messages": talk}], 5, 1, 256)
    assert (chosen.text, chosen.expected) == (talk[2]["content"], talk[3]["content"])
    assert chosen.prompt == encode_prompt(tokenizer, talk[:3])
    (pair,) = samples.choose(tokenizer, PAIRS[:1], 5, 1, 256)
    assert pair.expected == PAIRS[0]["chosen"]
    text = "The shop opens at nine and closes at six."
    (document,) = samples.choose(tokenizer, [{"text": text}], 5, 1, 256)
    assert document.text + document.expected == text
    silent = {"messages": [talk[0], {"role": "assistant", "content": None}]}
    assert samples.choose(tokenizer, [silent, {"messages": talk[1:2]}], 5, 1, 256) == []


# ---- what it answers


def test_it_answers_at_the_start_at_each_test_and_at_the_end(make_run, tiny_model, unhurried,
                                                             monkeypatch):  # fmt: skip
    monkeypatch.setattr(loading, "pick_dtype", lambda device: torch.float32)
    run = make_run(max_steps=30, eval_steps=10, samples=5)
    assert learn(run) == "completed"
    told = samples.read(run)
    assert steps(run) == [0, 10, 20, 30]
    assert told["held_out"] is True
    assert told["left_out"] == []
    kept_back = {row["messages"][0]["content"]: row["messages"][1]["content"] for row in ROWS[24:]}
    assert {q["question"]: q["expected"] for q in told["questions"]}.items() <= kept_back.items()

    # The first are the original's answers, the best ones those of the adapter that is left.
    tokenizer = Tokenizer.load(tiny_model)
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    used = next(t for t in told["times"] if t["step"] == run.result["used_step"])
    first = [answered_by(base, tokenizer, q["question"]) for q in told["questions"]]
    assert told["times"][0]["answers"] == first
    tuned = PeftModel.from_pretrained(base, run.adapter)
    assert used["answers"] == [
        answered_by(tuned, tokenizer, q["question"]) for q in told["questions"]
    ]
    assert used["answers"] != first


def answered_by(model, tokenizer, question) -> str:
    """What transformers' own generate says."""
    ids = torch.tensor([encode_prompt(tokenizer, [{"role": "user", "content": question}])])
    said = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, pad_token_id=0,
        max_new_tokens=samples.LONGEST_ANSWER, eos_token_id=list(tokenizer.stop_ids),
    )[0, ids.shape[1] :].tolist()  # fmt: skip
    ended = said[-1] in tokenizer.stop_ids
    text = tokenizer.decode(said[:-1] if ended else said).strip()
    return text if ended else f"{text}…"


def test_without_rows_kept_back_it_answers_some_that_it_learns_from(make_run):
    run = make_run(rows=ROWS[:24], samples=3, max_steps=2)
    assert learn(run) == "completed"
    told = samples.read(run)
    assert told["held_out"] is False
    assert len(told["questions"]) == 3
    assert steps(run) == [0, 2]


def test_where_answering_takes_too_long_it_waits_and_says_so(make_run, monkeypatch):
    monkeypatch.setattr(watching, "SHARE", 0.0)
    monkeypatch.setattr(watching, "AT_LEAST", 0.0)
    run = make_run(max_steps=9, eval_steps=3, samples=2)
    assert learn(run) == "completed"
    assert {0, 9} <= set(steps(run))
    told = samples.read(run)
    assert 3 in [row["step"] for row in told["left_out"]]
    assert "too much of the time" in told["left_out"][0]["left_out"]
    monkeypatch.setattr(watching, "LONGEST", 0.0)  # one token, and no more
    short = make_run(max_steps=3, samples=2, name="short")
    learn(short)
    assert all(len(a) < 20 for t in samples.read(short)["times"] for a in t["answers"])


def test_a_short_run_answers_at_every_test(make_run):
    run = make_run(max_steps=6, eval_steps=1, samples=2)
    assert learn(run) == "completed"
    assert set(range(7)) == set(steps(run))
    assert samples.read(run)["left_out"] == []


def test_a_model_that_can_not_be_asked_learns_all_the_same(make_run, monkeypatch, capsys):
    def refuse(*args):
        raise AttributeError("an odd cache")

    monkeypatch.setattr(watching, "generate", refuse)
    run = make_run(samples=5)
    assert learn(run) == "completed"
    assert samples.read(run)["times"] == []
    assert [row["step"] for row in samples.read(run)["left_out"]] == [0]
    assert "an odd cache" in capsys.readouterr().err


def test_a_run_without_questions_has_no_file(make_run):
    run = make_run(samples=0)
    learn(run)
    assert samples.read(run) is None


# ---- and what it learns


WAYS = {
    "dropout": {"lora_dropout": 0.2},
    "4bit": {"quantization": "4bit"},
    "recomputing": {"gradient_checkpointing": "on"},
    "dpo": {"objective": "dpo"},
    "adalora": {"method": "adalora"},
    "prefix": {"method": "prefix"},
    "8bit": {"quantization": "8bit"},
    "orpo": {"objective": "orpo"},
    "all": {"train_on": "all"},
    **{name: {"method": name, "quantization": METHODS[name].quantization[0]} for name in METHODS},
}
QUICK = ("dropout", "4bit", "recomputing", "dpo", "adalora", "prefix")


@pytest.mark.parametrize(
    "way", [name if name in QUICK else pytest.param(name, marks=LONG) for name in WAYS]
)
def test_it_learns_the_very_same_with_and_without_questions(make_run, unhurried, way, monkeypatch):
    monkeypatch.setattr(samples, "LONGEST_ANSWER", 12)
    rows = PAIRS if way in ("dpo", "orpo") else ROWS
    more = {"max_steps": 6, "eval_steps": 2, "learning_rate": None, **WAYS[way]}
    without = make_run(rows, **more)
    watched = make_run(rows, **more, samples=5, name="watched")
    for run in (without, watched):
        assert learn(run) == "completed"
    assert losses(watched) == losses(without)
    assert watched.result["final_eval_loss"] == without.result["final_eval_loss"]
    assert {0, 2, 4, 6} == set(steps(watched))
    assert samples.read(watched)["left_out"] == []


@pytest.mark.parametrize("method", ["prefix", "pissa", "dora", "full"])
def test_other_ways_of_learning_answer_as_they_do_in_the_chat(make_run, method, unhurried,
                                                              monkeypatch, tiny_model):  # fmt: skip
    monkeypatch.setattr(loading, "pick_dtype", lambda device: torch.float32)
    run = make_run(method=method, samples=3, max_steps=10, eval_steps=5, learning_rate=None)
    learn(run)
    told = samples.read(run)
    tokenizer, whole = Tokenizer.load(run.adapter), method == "full"
    folder = str(run.adapter if whole else tiny_model)
    mixed = MixedModel(loading.load_base(find(folder), "none", CPU, torch.float32))
    if not whole:
        mixed.load("tuned", run.adapter)
    used = next(t for t in told["times"] if t["step"] == run.result["used_step"])
    for question, said in zip(told["questions"], used["answers"], strict=True):
        prompt = encode_prompt(tokenizer, [{"role": "user", "content": question["question"]}])
        answer = Answer(prompt, None if whole else "tuned", samples.LONGEST_ANSWER)
        for _ in generate(mixed, [answer], Sampling(), tokenizer.stop_ids):
            pass
        assert said.removesuffix("…") == answer.text(tokenizer).strip()


# ---- broken off


def test_what_was_answered_after_the_last_save_is_answered_again(make_run, unhurried):
    run = make_run(max_steps=4, eval_steps=2, samples=2)
    learn(run)
    whole = samples.read(run)
    with (run.path / samples.FILE).open("a") as file:
        file.write('{"step": 6, "answers": ["from a life before", "that"], "seconds": 1.0}\n{"st')
    (run.path / "result.json").unlink()
    longer = run.config.model_copy(update={"max_steps": 6})
    (run.path / "config.json").write_text(longer.model_dump_json())
    assert learn(type(run)(run.path)) == "completed"
    assert steps(run) == [0, 2, 4, 6]
    assert samples.read(run)["times"][:3] == whole["times"]
    assert samples.read(run)["questions"] == whole["questions"]
    assert "life before" not in (run.path / samples.FILE).read_text()


@LONG
def test_killed_while_it_answers_it_goes_on_and_the_file_stays_sane(make_run):
    settings = {"max_steps": 60, "eval_steps": 3, "samples": 5, "lora_dropout": 0.1}
    undisturbed = make_run(**{**settings, "samples": 0})
    learn(undisturbed)
    run = make_run(**settings, name="killed")
    for reached in (4, 16, 31):
        trainer = start(run)
        wait_for(lambda reached=reached: run.progress["step"] >= reached or run.result, 120)
        wait_for(lambda: run.phase == "Answering a few questions" or run.result, 120)
        trainer.send_signal(signal.SIGKILL)
        trainer.wait()
        trainer.stdout.close()
        assert run.result is None
    assert learn(run) == "completed"
    assert losses(run) == pytest.approx(losses(undisturbed), abs=1e-6)
    lines = list(read_jsonl(run.path / samples.FILE))  # raises where one is damaged
    assert [next(iter(line)) for line in lines] == ["questions", *["step"] * (len(lines) - 1)]
    told = [line["step"] for line in lines[1:] if "answers" in line]
    assert len(told) == len(set(told))
    assert {0, 60} <= set(steps(run))
