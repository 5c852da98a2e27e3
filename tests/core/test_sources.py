"""The other ways to a dataset: pasted text, several files, the Hub, a file once more."""

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from core import uploads as core_uploads
from core.data import Cancelled, NeedsMapping, Refused
from core.errors import NotFound, UserError
from core.files import read_jsonl
from core.sources import (
    given,
    import_files,
    import_text,
    keep_files,
    keep_text,
    made_of,
    read,
    read_again,
)
from core.store import Store
from core.uploads import FACTS, KEPT
from tests.core.hub_stand_in import COMMIT, serve

ROOT = Path(__file__).parent.parent.parent


def table(*numbers: int) -> str:
    return "question,answer\n" + "".join(f"What is {n}?,It is {n}.\n" for n in numbers)


@pytest.fixture
def files(tmp_path):
    """files(name=text, …) -> [(path, name)]; two underscores stand for the dot."""

    def make(**texts):
        made = []
        for number, (name, text) in enumerate(texts.items()):
            path = tmp_path / f"blob{number}"
            path.write_text(text, encoding="utf-8")
            made.append((path, name.replace("__", ".")))
        return made

    return make


@pytest.mark.parametrize(
    ("text", "shape", "rows"),
    [
        (table(1, 2, 3), "pairs", 3),
        ("question\tanswer\nWhy?\tBecause.\n", "pairs", 1),
        ('{"prompt": "Why?", "completion": "Because."}', "pairs", 1),
        ("Q: Why?\nA: Because.\n\nQ: Où?\nA: Ici.\nEt là.\n", "messages", 2),
        ("One day a fox met a crow.\n\nThe crow had cheese.\n", "text", 1),
    ],
)
def test_pasted_text_is_what_it_looks_like(text, shape, rows):
    dataset = import_text(Store(), text)
    assert (dataset.facts["shape"], dataset.facts["rows"]) == (shape, rows)
    assert dataset.facts["origin"]["pasted"]
    assert dataset.name == "Pasted text"


def test_pasted_text_that_says_nothing():
    with pytest.raises(UserError, match="Nothing was pasted"):
        import_text(Store(), " \n ")
    with pytest.raises(NeedsMapping):
        import_text(Store(), "name,age\nAda,36\nAlan,41\n")
    assert Store().datasets() == []


def test_several_files_become_one_dataset(files):
    given = files(a__csv=table(1, 2, 2), b__csv=table(3), a2__jsonl='{"q": "Hm?", "a": "Ja."}\n')
    dataset = import_files(Store(), given)
    facts = dataset.facts
    assert (facts["rows"], facts["name"]) == (5, "a and 2 more")
    asked = [row["messages"][0]["content"] for row in dataset.rows()]
    assert asked == ["What is 1?", "What is 2?", "What is 2?", "What is 3?", "Hm?"]
    (again,) = [finding for finding in facts["findings"] if finding["code"] == "duplicate"]
    assert again["rows"] == [4]
    assert "of “a.csv”" in again["text"]


def test_a_row_that_stands_in_two_files_is_told_with_its_file(files):
    facts = import_files(Store(), files(a__csv=table(1, 2), b__csv=table(9, 2))).facts
    (again,) = [finding for finding in facts["findings"] if finding["code"] == "duplicate"]
    assert "(line 3 of “b.csv”)" in again["text"]


def test_files_of_different_kinds_are_not_joined(files):
    with pytest.raises(Refused, match="different kinds"):
        import_files(Store(), files(a__csv=table(1), b__txt="A long story.\n"))
    assert list((Store().path / "datasets").iterdir()) == []


def test_train_and_test_files_are_told_apart_by_their_names(files):
    dataset = import_files(Store(), files(train__csv=table(*range(8)), test__csv=table(7, 8, 9)))
    facts = dataset.facts
    assert (facts["rows"], facts["held_out"]) == (7, 3)
    assert {"leakage", "split_file"} <= {finding["code"] for finding in facts["findings"]}
    tests = [row["messages"][0]["content"] for row in read_jsonl(dataset.path / "eval.jsonl")]
    assert tests == ["What is 7?", "What is 8?", "What is 9?"]


def test_a_file_is_read_again_with_other_choices(files):
    text = "frage;antwort;notiz\nWarum?;Därum.;x\nWo?;Hier.;y\n"
    path, _ = files(a__csv="")[0]
    path.write_bytes(text.encode("cp1250"))
    first = import_files(Store(), [(path, "a.csv")], name="Mine")
    mapping = {"notiz": "user", "antwort": "assistant"}
    second = read_again(Store(), first.id, mapping=mapping, encoding="cp1250")
    assert [row["messages"][0]["content"] for row in second.rows()] == ["x", "y"]
    assert (second.name, second.facts["encoding"]) == ("Mine", "cp1250")
    third = read_again(Store(), second.id, templates={"user": "{frage} ({notiz})"})
    assert next(iter(third.rows()))["messages"][0]["content"] == "Warum? (x)"
    assert third.facts["options"]["encoding"] == "cp1250"
    assert len(Store().datasets()) == 3


def test_an_import_that_is_called_off_leaves_nothing(files):
    (file,) = files(a__csv=table(*range(2000)))
    seen = []

    def progress(fraction):
        seen.append(fraction)
        return fraction < 0.3

    with pytest.raises(Cancelled):
        import_files(Store(), [file], progress=progress)
    assert 0.3 <= seen[-1] < 1
    assert list((Store().path / "datasets").iterdir()) == []

    def broken(fraction):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_files(Store(), [file], progress=broken)
    assert list((Store().path / "datasets").iterdir()) == []


# ---- what is not a dataset yet


def uploads() -> list[str]:
    folders = (Store().path / "uploads").iterdir()
    return sorted(path.name for path in folders if not path.name.startswith("."))


def test_an_open_question_waits_with_all_that_was_said(files):
    (file,) = files(odd__csv="a,b,c\nWhy?,x,Because.\nWhere?,y,Here.\n")
    id = keep_files(Store(), [file]).id
    with pytest.raises(NeedsMapping):
        read(Store(), Store().upload(id), header=True)
    file[0].unlink()  # as the browser's copy is after a while
    assert Store().upload(id).facts["options"] == {"header": True}
    mapping = {"a": "user", "c": "assistant"}
    dataset = read(Store(), Store().upload(id), mapping=mapping)
    assert (dataset.name, dataset.facts["file"], dataset.facts["rows"]) == ("odd", "odd.csv", 2)
    assert dataset.facts["options"] == {"header": True, "mapping": mapping}
    assert uploads() == []


def test_a_wrong_answer_costs_nothing(files):
    (file,) = files(odd__csv="a,b,c\nWhy?,x,Because.\nWhere?,y,Here.\n")
    id = keep_files(Store(), [file]).id
    with pytest.raises(NeedsMapping):
        read(Store(), Store().upload(id))
    for wrong in ({"user": "{a"}, {"user": "{z}"}):
        with pytest.raises(UserError):
            read(Store(), Store().upload(id), templates=wrong, mapping={"c": "assistant"})
    right = {"user": "On {b}: {a}"}
    dataset = read(Store(), Store().upload(id), templates=right, mapping={"c": "assistant"})
    assert next(dataset.rows())["messages"][0]["content"] == "On x: Why?"


def test_two_tabs_do_not_read_one_upload_at_once(files, monkeypatch):
    monkeypatch.setattr(core_uploads, "PATIENCE", 0.1)
    (file,) = files(a__csv=table(*range(20)))
    upload = keep_files(Store(), [file])
    with upload.held(), pytest.raises(UserError, match="another tab"):
        read(Store(), Store().upload(upload.id))
    assert read(Store(), upload).facts["rows"] == 20
    with pytest.raises(NotFound, match="no longer there"):
        read(Store(), upload)


def test_an_upload_leads_to_the_dataset_that_it_became(files):
    (file,) = files(a__csv=table(*range(20)))
    upload = keep_files(Store(), [file])
    assert made_of(Store(), upload.id) is None
    dataset = read(Store(), upload)
    later = keep_files(Store(), [file])
    assert later.id != upload.id
    assert (made_of(Store(), upload.id), made_of(Store(), later.id)) == (dataset, None)


def test_tests_of_their_own_go_with_a_file_that_is_read_again(files):
    learned, tests = files(a__csv=table(*range(20)), b__csv=table(30, 31))
    first = import_files(Store(), [learned])
    second = read_again(Store(), first.id, held_out=tests[0], held_out_name=tests[1])
    third = read_again(Store(), second.id, header=True)
    assert [dataset.facts["held_out"] for dataset in (first, second, third)] == [0, 2, 2]
    (odd,) = files(c__csv="x,y,z\n1,2,3\n")
    with pytest.raises(NeedsMapping):
        read_again(Store(), first.id, held_out=odd[0], held_out_name=odd[1])
    assert uploads() == []


def test_what_is_refused_does_not_stay(files):
    (file,) = files(none__json="[]")
    with pytest.raises(Refused):
        read(Store(), keep_files(Store(), [file]))
    assert uploads() == []


def test_a_file_that_is_uploaded_takes_its_place_on_the_disk_once(files):
    (file,) = files(a__csv=table(*range(20)))
    first = read(Store(), keep_files(Store(), [file]))
    second = read_again(Store(), first.id)
    assert given(first).samefile(file[0])
    assert given(second).samefile(file[0])
    assert first.facts["sha256"] == hashlib.sha256(file[0].read_bytes()).hexdigest()
    assert uploads() == []


def test_an_import_that_was_cut_off_is_taken_up_again(files):
    (file,) = files(a__csv=table(*range(2000)))
    upload = keep_files(Store(), [file])
    with pytest.raises(Cancelled):
        read(Store(), upload, progress=lambda done: False)
    assert Store().datasets() == []
    assert read(Store(), Store().upload(upload.id)).facts["rows"] == 2000


def test_uploads_that_nobody_came_back_to_are_dropped(files):
    (file,) = files(a__csv=table(1))
    old, new = keep_files(Store(), [file]), keep_text(Store(), table(2))
    long_ago = time.time() - KEPT - 1
    os.utime(old.path / FACTS, (long_ago, long_ago))
    newest = keep_text(Store(), table(3))
    assert uploads() == sorted([new.id, newest.id])
    with pytest.raises(NotFound):
        Store().upload(old.id)


# ---- the Hub


@pytest.fixture
def repository(tmp_path):
    """Datasets of the Hub as folders."""
    plain, card, odd = (tmp_path / name for name in ("plain", "card", "odd"))
    for folder in (plain / "data", card / "de", card / "en", odd, tmp_path / "converted/default"):
        folder.mkdir(parents=True)
    for number in range(2):
        rows = [{"prompt": f"{number}/{n}?", "completion": f"{n}."} for n in range(20)]
        pa.parquet.write_table(
            pa.Table.from_pylist(rows), plain / f"data/train-0000{number}-of-00002.parquet"
        )
    (plain / "data/test-00000-of-00001.jsonl").write_text(
        '{"prompt": "New?", "completion": "Yes."}\n{"prompt": "1/3?", "completion": "3."}\n'
    )
    (plain / "README.md").write_text("about")
    for language in ("de", "en"):
        (card / language / "all.csv").write_text(f"question,answer\n{language}?,yes\n")
    (card / ".card.json").write_text(
        json.dumps(
            {
                "configs": [
                    {"config_name": language, "data_files": f"{language}/*.csv"}
                    for language in ("de", "en")
                ]
            }
        )
    )
    (odd / "odd.py").write_text("raise SystemExit('code of the author')")
    pa.parquet.write_table(
        pa.Table.from_pylist([{"text": "converted"}]), tmp_path / "converted/default/0000.parquet"
    )
    return {
        "datasets/graft/plain": plain,
        "datasets/graft/card": card,
        "datasets/graft/odd": odd,
        "datasets/graft/odd@refs/convert/parquet": tmp_path / "converted",
        "datasets/graft/gated": plain,
        "datasets/graft/bare": odd,
    }


CODE = """
import json, sys
from core.data import Cancelled
from core.errors import DataProblem
from core.sources import import_from_hub
from core.store import Store

def ask(id, **options):
    try:
        dataset = import_from_hub(Store(), id, **options)
        facts = dataset.facts
        rows = [row.get("text") or row["messages"][0]["content"] for row in dataset.rows()]
        return {**{key: facts[key] for key in ("rows", "held_out", "name", "origin")},
                "asked": rows[:2] + rows[-1:]}
    except DataProblem as error:
        return {"error": str(error), "hint": error.hint, **getattr(error, "details", {})}

progress = []
answer = {
    "plain": ask("graft/plain", held_out_split="test", progress=progress.append),
    "test": ask("graft/plain", split="test"),
    "no split": ask("graft/plain", split="dev"),
    "choice": ask("graft/card"),
    "config": ask("graft/card", config="en"),
    "no config": ask("graft/card", config="fr"),
    "converted": ask("graft/odd"),
    "bare": ask("graft/bare"),
    "gated": ask("graft/gated"),
    "unknown": ask("graft/nothing"),
    "revision": ask("graft/plain", revision="v9"),
    "name": ask("../etc"),
    "cancelled": ask("graft/plain", progress=lambda done: False),
    "left": sorted({p.name for p in (Store().path / "datasets").iterdir()} - {".trash"}),
}
answer["progress"] = progress == sorted(progress) and progress[-1] == 1.0
assert "torch" not in sys.modules
print(json.dumps(answer))
"""


def run(code: str, hub: str, folder: Path, offline: str = "0") -> dict:
    environment = os.environ | {
        "HF_ENDPOINT": hub,
        "HF_HOME": str(folder / "home"),
        "HF_HUB_OFFLINE": offline,
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "GRAFT_DATA": str(folder / "data"),
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_datasets_of_the_hub(repository, tmp_path):
    with serve(repository, {"datasets/graft/gated"}) as hub:
        found = run(CODE, hub.url, tmp_path)
        assert not any("odd.py" in asked for asked in hub.asked)
    assert (found["plain"]["rows"], found["plain"]["held_out"]) == (39, 2)  # one question leaked
    assert found["plain"]["asked"] == ["0/0?", "0/1?", "1/19?"]
    assert found["plain"]["name"] == "plain"
    origin = {"hub": "graft/plain", "revision": COMMIT, "config": None, "split": "train"}
    assert origin.items() <= found["plain"]["origin"].items()
    assert found["progress"]
    assert found["test"]["rows"] == 2
    assert "no split “dev”" in found["no split"]["error"]
    assert "test, train" in found["no split"]["hint"]
    assert found["choice"]["configs"] == ["de", "en"]
    assert found["config"]["asked"][0] == "en?"
    assert "no part “fr”" in found["no config"]["error"]
    assert found["converted"]["asked"][0] == "converted"
    assert "no files that Graft can read" in found["bare"]["error"]
    assert "accepted its conditions" in found["gated"]["error"]
    assert "huggingface.co/datasets/graft/gated" in found["gated"]["hint"]
    assert "no dataset 'graft/nothing'" in found["unknown"]["error"]
    assert "no revision “v9”" in found["revision"]["error"]
    assert "not the name of a dataset" in found["name"]["error"]
    assert "cancelled" in found["cancelled"]["error"]
    assert found["left"] == ["card", "odd", "plain", *found["left"][3:]]
    assert len(found["left"]) == 4  # of the failed ones nothing


OFFLINE = """
import json
from core.errors import DataProblem
from core.sources import import_from_hub
from core.store import Store
try:
    import_from_hub(Store(), "graft/plain")
except DataProblem as error:
    print(json.dumps({"error": str(error), "hint": error.hint}))
"""


@pytest.mark.parametrize("offline", ["0", "1"])
def test_without_a_network_the_reason_is_said(tmp_path, offline):
    found = run(OFFLINE, "http://127.0.0.1:9", tmp_path, offline)
    assert "can't be reached" in found["error"]
    assert "bring the dataset as a file" in found["hint"]
