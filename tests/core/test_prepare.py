"""From a file to a dataset, and from a dataset to a run."""

import hashlib

import pytest

from core.config import TrainConfig
from core.data import NeedsConsent, NeedsMapping, Refused
from core.errors import DataProblem, ModelProblem, NotFound, UserError
from core.files import read_jsonl, write_json
from core.prepare import import_dataset, new_dataset, new_run, row
from core.store import Store

QUESTIONS = "question,answer\n" + "".join(f"What is {n}?,It is {n}.\n" for n in range(30))


@pytest.fixture
def upload(tmp_path):
    """upload(text) -> the path of a temporary file with it, as a browser leaves one."""

    def make(text, name="blob"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return make


@pytest.fixture
def model(tmp_path):
    """A folder that is a base model as far as can be told without its weights."""
    folder = tmp_path / "model"
    folder.mkdir()
    write_json(
        folder / "config.json",
        {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8},
    )
    header = b'{"model.layers.0.self_attn.q_proj.weight":{"dtype":"F32","shape":[8,8],"data_offsets":[0,256]}}'  # noqa: E501
    (folder / "model.safetensors").write_bytes(
        len(header).to_bytes(8, "little") + header + bytes(256)
    )
    return str(folder)


def test_a_dataset_keeps_the_file_and_says_what_was_found(upload):
    dataset = import_dataset(Store(), upload(QUESTIONS), "C:\\files\\Shop questions.CSV")
    facts = dataset.facts
    assert facts["name"] == "Shop questions"
    assert facts["file"] == "Shop questions.CSV"
    assert (facts["shape"], facts["rows"], facts["bad"]) == ("pairs", 30, 0)
    assert facts["columns"] == ["question", "answer"]
    assert facts["held_out"] == 0
    kept = dataset.path / "upload.csv"
    assert kept.read_text() == QUESTIONS
    assert facts["sha256"] == hashlib.sha256(QUESTIONS.encode()).hexdigest()
    assert facts["bytes"] == kept.stat().st_size
    rows = list(dataset.rows())
    assert len(rows) == 30
    assert [turn["role"] for turn in rows[0]["messages"]] == ["user", "assistant"]


def test_what_can_not_be_used_leaves_nothing_behind(upload):
    with pytest.raises(Refused):
        import_dataset(Store(), upload(""), "empty.csv")
    with pytest.raises(NeedsMapping):
        import_dataset(Store(), upload(QUESTIONS.replace("question,answer", "a,b")), "x.csv")
    with pytest.raises(Refused, match="No row of “x” can be used"):
        import_dataset(Store(), upload('{"messages": [{"role": "user", "content": "a"}]}\n'), "x")
    assert Store().datasets() == []
    assert list((Store().path / "datasets").iterdir()) == []


def test_a_mapping_is_used_and_kept(upload):
    text = QUESTIONS.replace("question,answer", "a,b")
    mapping = {"a": "user", "b": "assistant"}
    dataset = import_dataset(Store(), upload(text), "x.csv", mapping=mapping, name="Mine")
    assert dataset.name == "Mine"
    assert dataset.facts["mapping"] == mapping
    assert dataset.facts["rows"] == 30


def test_a_hostile_file_name_stays_in_the_folder(upload):
    dataset = import_dataset(Store(), upload(QUESTIONS), "../../../etc/cron.d/x.csv/..")
    assert dataset.path.parent == Store().path / "datasets"
    assert {file.name for file in dataset.path.iterdir()} == {
        "upload",
        "rows.jsonl",
        "dataset.json",
        "report.json",
    }


def test_progress_is_told(upload):
    told = []
    import_dataset(Store(), upload(QUESTIONS), "x.csv", progress=told.append)
    assert told[-1] == 1.0


def test_a_run_has_its_rows_split_and_every_choice_made(upload, model):
    dataset = import_dataset(Store(), upload(QUESTIONS), "Shop.csv")
    run = new_run(Store(), TrainConfig(dataset=dataset.id, base_model=model, lora_r=3))
    assert run.status == "interrupted"  # it does not wait yet
    train, tests = run.rows("train"), run.rows("eval")
    assert (len(train), len(tests)) == (27, 3)
    assert all(row not in train for row in tests)
    assert run.config.name == "Shop"
    assert run.config.lora_r == 3
    assert run.config.lora_alpha == 6
    assert run.config.batch_size is not None
    again = new_run(Store(), TrainConfig(dataset=dataset.id, base_model=model))
    assert again.rows("eval") == tests


def test_rows_that_were_held_out_are_the_tests_and_nothing_is_split_off(upload, model):
    held_out = upload("question,answer\nWhat is 99?,It is 99.\n", "held_out.csv")
    dataset = import_dataset(Store(), upload(QUESTIONS), "Shop.csv", held_out=held_out)
    assert dataset.facts["held_out"] == 1
    run = new_run(Store(), TrainConfig(dataset=dataset.id, base_model=model))
    assert len(run.rows("train")) == 30
    assert "99" in run.rows("eval")[0]["messages"][0]["content"]


def test_a_column_says_which_rows_are_tests_and_leakage_is_dropped(upload, model):
    text = "question,answer,split\n" + "".join(f"What is {n}?,{n},train\n" for n in range(20))
    dataset = import_dataset(Store(), upload(text + "what is 3,3,test\nNew?,yes,dev\n"), "x.csv")
    facts = dataset.facts
    assert (facts["rows"], facts["held_out"], facts["split_column"]) == (19, 2, "split")
    (leak,) = [finding for finding in facts["findings"] if finding["code"] == "leakage"]
    assert leak["count"] == 1
    run = new_run(Store(), TrainConfig(dataset=dataset.id, base_model=model))
    assert (len(run.rows("train")), len(run.rows("eval"))) == (19, 2)


def test_the_person_decides_about_bad_rows(upload):
    text = QUESTIONS + "a,b,c\n" * 10
    with pytest.raises(NeedsConsent, match="10 of 40 rows can't be used") as caught:
        import_dataset(Store(), upload(text), "x.csv", bad_at_most=0.1)
    assert caught.value.details["bad"] == 10
    assert any("line" in finding["text"] for finding in caught.value.details["findings"])
    assert list((Store().path / "datasets").iterdir()) == []
    dataset = import_dataset(Store(), upload(text), "x.csv", bad_at_most=0.3)
    assert (dataset.facts["rows"], dataset.facts["bad"]) == (30, 10)


def test_what_is_missing_is_named_by_its_field(upload, model):
    dataset = import_dataset(Store(), upload(QUESTIONS), "x.csv")
    for config, error, field in (
        (TrainConfig(base_model=model), UserError, "dataset"),
        (TrainConfig(dataset="nowhere", base_model=model), NotFound, "dataset"),
        (TrainConfig(dataset=dataset.id, base_model="nowhere"), ModelProblem, "base_model"),
    ):
        with pytest.raises(error) as raised:
            new_run(Store(), config)
        assert raised.value.field == field
    with pytest.raises(NotFound):
        new_run(Store("anna"), TrainConfig(dataset=dataset.id, base_model=model))
    assert Store().runs() == []


PREFERENCES = '{"prompt": "Why?", "chosen": "Because.", "rejected": "No."}\n' * 12


def test_what_is_learned_follows_the_shape_of_the_rows(upload, model):
    pairs = import_dataset(Store(), upload(PREFERENCES), "x.jsonl").id
    answers = import_dataset(Store(), upload(QUESTIONS), "y.csv").id

    def objective(dataset, **settings):
        config = TrainConfig(dataset=dataset, base_model=model, lora_r=3, **settings)
        return new_run(Store(), config).config.objective

    assert objective(pairs) == "dpo"
    assert objective(pairs, objective="orpo") == "orpo"
    assert objective(pairs, objective="answers") == "answers"
    assert objective(answers) == "answers"
    with pytest.raises(DataProblem, match="needs a better and a worse answer") as raised:
        objective(answers, objective="dpo")
    assert raised.value.field == "objective"


def test_one_row_is_found_by_its_number(upload):
    dataset = import_dataset(Store(), upload(QUESTIONS), "x.csv")
    config = TrainConfig(dataset=dataset.id)
    assert row(Store(), config, 0)["messages"][0]["content"] == "What is 0?"
    assert row(Store(), config, 29)["messages"][0]["content"] == "What is 29?"
    for number in (30, -1):
        with pytest.raises(UserError, match=f"no row {number}") as raised:
            row(Store(), config, number)
        assert "0 to 29" in raised.value.hint
        assert raised.value.field == "row"


@pytest.mark.long
def test_a_large_file_is_streamed(tmp_path):
    import psutil

    path = tmp_path / "large.jsonl"
    line = '{"prompt": "%d", "completion": "' + "word " * 200 + '"}\n'
    with path.open("w") as file:
        for number in range(100_000):
            file.write(line % number)
    before = psutil.Process().memory_info().rss
    dataset = import_dataset(Store(), path, "large.jsonl")
    assert dataset.facts["rows"] == 100_000
    assert psutil.Process().memory_info().rss - before < 60e6 < path.stat().st_size
    assert sum(1 for _ in read_jsonl(dataset.path / "rows.jsonl")) == 100_000


def test_a_long_name_is_seen_to_be_cut_or_refused(upload):
    named = import_dataset(Store(), upload(QUESTIONS), f"{'n' * 90}.csv").name
    assert (len(named), named[-1]) == (80, "…")
    with pytest.raises(UserError, match="81 characters are too many; 80 are the most") as problem:
        new_dataset(Store(), "n" * 81, [{"text": "It is so."}])
    assert problem.value.field == "name"
