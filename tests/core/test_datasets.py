"""A dataset's versions: made whole, taken back, one after another, whatever is killed meanwhile."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core import prepare
from core.data.typed import typed_row
from core.datasets import KEPT, Dataset
from core.errors import DataProblem, NotFound, UserError
from core.files import read_json, write_json, write_jsonl
from core.prepare import import_dataset, new_dataset
from core.store import Store

ROOT = Path(__file__).parent.parent.parent


def rows(count: int = 12) -> list[dict]:
    return [{"question": f"What is {i}?", "answer": f"{i} is a number."} for i in range(count)]


@pytest.fixture
def dataset() -> Dataset:
    return new_dataset(Store(), "Numbers", [*rows(), rows()[3]])


def questions(dataset: Dataset) -> list[str]:
    return [row["messages"][0]["content"] for row in dataset.rows()]


def test_a_fix_makes_a_version_that_can_be_undone(dataset):
    before = dataset.rows_path.read_bytes()
    assert dataset.report.findings[0].code == "duplicate"
    entry = dataset.fix("drop_duplicates")
    assert (entry["version"], entry["removed"], entry["rows"]) == (2, 1, 12)
    assert (dataset.facts["rows"], len(questions(dataset))) == (12, 12)
    assert dataset.report is None, "what the doctor said was about the old rows"
    assert dataset.examine().rows == 12
    facts = dataset.undo()
    assert (facts["version"], facts["rows"], facts["history"]) == (1, 13, [])
    assert dataset.rows_path.read_bytes() == before
    assert not facts["can_undo"]
    with pytest.raises(UserError, match="nothing"):
        dataset.undo()
    assert (dataset.path / "upload.jsonl").read_bytes() == before


def test_nothing_to_mend_makes_no_version(dataset):
    for wrong in (lambda: dataset.fix("strip_html"), lambda: dataset.delete_rows(range(13)),
                  lambda: dataset.fix("no_such"), lambda: dataset.edit_row(13, {}),
                  lambda: dataset.add_rows([])):  # fmt: skip
        with pytest.raises(UserError):
            wrong()
    assert dataset.facts["version"] == 1
    assert sorted(file.name for file in dataset.path.iterdir()) == [
        "dataset.json", "report.json", "rows.jsonl", "upload.jsonl",
    ]  # fmt: skip


def test_rows_are_edited_removed_and_added(dataset):
    dataset.edit_row(0, typed_row({"question": "Who?", "answer": "Me."}))
    dataset.delete_rows([1, 2])
    dataset.add_rows([typed_row({"text": "A document."})])
    assert questions_of(dataset)[:2] == ["Who?", "What is 3?"]
    assert list(dataset.rows())[-1] == {"text": "A document."}
    assert [entry["what"] for entry in dataset.facts["history"]] == [
        "Edited row 1", "Removed 2 rows", "Added a row",
    ]  # fmt: skip
    assert dataset.facts["rows"] == 12
    for count in (11, 13, 13):
        assert dataset.undo()["rows"] == count


def questions_of(dataset: Dataset) -> list[str]:
    return [row["messages"][0]["content"] for row in dataset.rows() if "messages" in row]


def test_pages_of_rows():
    dataset = new_dataset(Store(), "Many", rows(1234))
    whole = list(dataset.rows())
    for start, count in ((0, 20), (99, 3), (100, 50), (1230, 20), (5000, 5), (-1, 5)):
        assert dataset.page(start, count) == (whole[start : start + count] if start >= 0 else [])
    dataset.delete_rows([0])
    assert dataset.page(0, 1) == [whole[1]]


def test_long_histories_go_back_so_far_and_keep_the_first(dataset):
    for number in range(KEPT + 5):
        dataset.edit_row(0, typed_row({"question": f"{number}?", "answer": "Yes."}))
    files = {file.name for file in dataset.path.glob("rows*.jsonl")}
    assert "rows.jsonl" in files
    assert len(files) == KEPT + 1
    steps = 0
    while dataset.facts["can_undo"]:
        dataset.undo()
        steps += 1
    assert steps == KEPT - 1
    assert len(questions(dataset)) == 13


def test_a_dataset_from_before_there_were_versions(dataset):
    facts = read_json(dataset.path / "dataset.json")
    facts.pop("history", None)
    write_json(dataset.path / "dataset.json", facts)
    (dataset.path / "report.json").unlink()
    assert dataset.facts["version"] == 1
    assert "verdict" not in dataset.describe()
    dataset.fix("drop_duplicates")
    assert dataset.facts["version"] == 2


def test_import_is_examined_and_both_findings_are_told(tmp_path):
    file = tmp_path / "faq.csv"
    file.write_text("question,answer,when\n" + "a?,b c d e,1\n" * 2
                    + "".join(f"{i}?,x{i} y,2\n" for i in range(10)))  # fmt: skip
    told = import_dataset(Store(), file, "faq.csv").describe()
    assert (told["verdict"], told["version"]) == ("warnings", 1)
    codes = [finding["code"] for finding in told["findings"]]
    assert codes.count("duplicate") == 1
    assert "ignored_columns" in codes


def test_an_import_that_is_called_off_while_it_is_examined_leaves_nothing(tmp_path):
    file = tmp_path / "faq.jsonl"
    write_jsonl(file, rows(3000))
    told = []

    def enough(done: float) -> bool:
        told.append(done)
        return told.count(1.0) < 3  # the rows were read, and the doctor has begun

    with pytest.raises(DataProblem, match="cancelled"):
        import_dataset(Store(), file, "faq.jsonl", progress=enough)
    assert Store().datasets() == []


def test_of_very_many_rows_the_doctor_is_asked_later(tmp_path, monkeypatch):
    monkeypatch.setattr(prepare, "EXAMINED_AT_ONCE", 10)
    file = tmp_path / "faq.jsonl"
    write_jsonl(file, rows(12))
    dataset = import_dataset(Store(), file, "faq.jsonl")
    assert "verdict" not in dataset.describe()
    assert dataset.examine().verdict == dataset.describe()["verdict"] == "ready"


def test_names_and_deletion(dataset):
    dataset.rename("  Zahlen ")
    assert dataset.name == "Zahlen"
    for wrong in ("", " ", "x" * 81):
        with pytest.raises(UserError, match="name"):
            dataset.rename(wrong)
    dataset.delete()
    assert Store().datasets() == []
    with pytest.raises(NotFound):
        dataset.rename("gone")


@pytest.mark.parametrize(
    "value",
    [
        {}, {"question": "x"}, {"question": "x", "answer": 3}, {"messages": []},
        {"messages": [{"role": "bot", "content": "x"}]}, {"messages": "x"}, {"text": None},
        {"messages": [{"role": "user", "content": "x"}], "chosen": "y"},
        {"text": "x", "more": "y"}, {"messages": [{"role": "user"}]},
    ],
)  # fmt: skip
def test_what_is_no_row_is_refused_in_words(value):
    with pytest.raises(DataProblem, match="a question and an answer"):
        typed_row(value)


EDITOR = """
import sys
from core.datasets import Dataset
from core import prepare
from core.data.typed import typed_row
from pathlib import Path
dataset, name, count = Dataset(Path(sys.argv[1])), sys.argv[2], int(sys.argv[3])
print("ready", flush=True)
for number in range(count):
    dataset.add_rows([typed_row({"question": f"{name} {number}?", "answer": "Yes."})])
"""


def edit(dataset: Dataset, name: str, count: int) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-c", EDITOR, str(dataset.path), name, str(count)],
        cwd=ROOT, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout.readline() == b"ready\n"
    return process


def test_two_who_write_at_once_lose_nothing(dataset):
    processes = [edit(dataset, name, 15) for name in "ab"]
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    added = set(questions(dataset)[13:])
    assert added == {f"{name} {number}?" for name in "ab" for number in range(15)}
    assert dataset.facts["rows"] == 43


@pytest.mark.long
@pytest.mark.skipif(os.name == "nt", reason="kill -9")
def test_killed_at_any_moment_a_whole_version_is_there():
    dataset = new_dataset(Store(), "Numbers", rows(2000))
    chance = random.Random(7)
    for round in range(10):
        process = edit(dataset, f"round {round}", 1000)
        time.sleep(chance.uniform(0.02, 0.3))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        facts = dataset.facts
        kept = list(dataset.rows())
        assert len(kept) == facts["rows"]
        assert dataset.examine().rows == len(kept)
        dataset.add_rows([typed_row({"question": f"after {round}?", "answer": "Yes."})])
        assert questions(dataset)[-1] == f"after {round}?"
