"""Reading as a whole: streaming, counting, documents, and memory."""

import json
import pickle
import tracemalloc

import pytest

from core.data import NeedsMapping, Refused, read
from core.data.documents import PIECE


def test_findings_are_complete_after_the_rows_and_start_anew(tmp_path):
    path = tmp_path / "faq.csv"
    path.write_text("question,answer\na,b\na,b\nc,\n", encoding="utf-8")
    imported = read(path)
    assert imported.columns == ["question", "answer"]
    assert imported.mapping == {"question": "user", "answer": "assistant"}
    assert imported.preview == [["a", "b"], ["a", "b"], ["c", ""]]
    first, second = list(imported.rows), list(imported.rows)
    assert first == second
    findings = {finding.code: finding for finding in imported.findings}
    assert findings["duplicate"].count == 1
    assert findings["duplicate"].rows == [3]
    assert findings["empty_answer"].rows == [4]
    assert findings["few_rows"].text.startswith("Only 3 rows")
    json.dumps([finding.model_dump() for finding in imported.findings])


def test_progress_grows_to_one(tmp_path):
    path = tmp_path / "faq.csv"
    path.write_text("question,answer\n" + "what is it?,this\n" * 30_000, encoding="utf-8")
    seen: list[float] = []
    for _ in read(path, progress=seen.append).rows:
        pass
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    assert any(0.2 < fraction < 0.8 for fraction in seen)


def test_many_problems_of_one_kind_are_one_finding(imports):
    rows = ["question,answer", "ok,ok", *(f"a{n},b,c" for n in range(1500))]
    result = imports("\n".join(rows))
    finding = result.finding("long_row")
    assert finding.count == 1500
    assert finding.rows == list(range(3, 103))
    assert "1,500 rows left out (lines 3, 4, 5, 6, 7 and 1,495 more)." in finding.text


def test_many_kinds_of_problems_are_summed_up(imports):
    rows = [
        {"messages": [{"role": f"r{n}", "content": "x"}, {"role": "assistant", "content": "y"}]}
        for n in range(100)
    ]
    rows.append({"messages": [{"role": "user", "content": "x"}, rows[0]["messages"][1]]})
    result = imports("\n".join(map(json.dumps, rows)), "data.jsonl")
    found = [finding for finding in result.imported.findings if finding.code == "unknown_role"]
    assert len(found) <= 41
    assert sum(finding.count for finding in found) == result.imported.bad == 100


def test_questions_and_refusals_survive_pickling(asks, imports):
    question = asks("name,age\nAyse,30\n")
    again = pickle.loads(pickle.dumps(question))
    assert isinstance(again, NeedsMapping)
    assert (str(again), again.hint, again.details) == (
        str(question),
        question.hint,
        question.details,
    )
    with pytest.raises(Refused) as caught:
        imports("", "empty.csv")
    assert caught.value.details["rows"] == 0


def test_text_is_cut_at_blank_lines_and_nothing_is_lost(imports):
    paragraphs = [f"Paragraph {n}. " + "Some words of it. " * (n % 9) for n in range(200)]
    text = "\n\n".join(paragraphs) + "\n"
    result = imports(text, "story.txt")
    assert result.imported.shape == "text"
    pieces = [row["text"] for row in result.rows]
    assert max(map(len, pieces)) <= PIECE
    assert "".join("\n\n".join(pieces).split()) == "".join(text.split())
    assert all(piece.startswith("Paragraph") for piece in pieces)
    assert f"{len(pieces):,} pieces" in result.finding("cut").text


def test_long_paragraphs_are_cut_at_sentences(imports):
    text = "This is a sentence of some length. " * 500
    pieces = [row["text"] for row in imports(text, "story.md").rows]
    assert max(map(len, pieces)) <= PIECE
    assert all(piece.strip().endswith(".") for piece in pieces)
    assert "".join("".join(pieces).split()) == "".join(text.split())


def test_one_word_longer_than_a_piece(imports):
    pieces = [row["text"] for row in imports("x" * (3 * PIECE + 7), "story.txt").rows]
    assert [len(piece) for piece in pieces] == [PIECE, PIECE, PIECE, 7]


def test_prose_is_not_taken_for_a_table(imports):
    poem = "Roses are red, I said\nViolets are blue, I knew\nSugar is sweet, indeed\n"
    result = imports(poem, "poem.txt")
    assert result.imported.shape == "text"
    assert imports("[[link]] and {more}\n\nText.", "wiki.md").imported.shape == "text"


def test_a_table_in_a_text_file_is_taken_when_its_columns_are_known(imports):
    result = imports("question\tanswer\na\tb\nc\td\n", "faq.txt")
    assert result.pairs == [("a", "b"), ("c", "d")]


@pytest.mark.parametrize("form", ["jsonl", "json", "csv", "txt"])
def test_memory_stays_flat(tmp_path, monkeypatch, form):
    monkeypatch.setattr("core.data.records.SAMPLED_CHARACTERS", 1 << 18)
    monkeypatch.setattr("core.data.json_scan.CHUNK", 1 << 18)
    monkeypatch.setattr("core.data.json_records.CHUNK", 1 << 18)
    monkeypatch.setattr("core.data.json_records.BLOCK", 1 << 15)
    path = tmp_path / f"large.{form}"
    answer = "some words of an answer " * 1200
    with path.open("w", encoding="utf-8") as file:
        file.write({"csv": "question,answer\n", "json": "["}.get(form, ""))
        for n in range(600):
            record = {"question": f"question {n}", "answer": answer}
            file.write(
                {
                    "jsonl": json.dumps(record) + "\n",
                    "json": json.dumps(record) + ",\n",
                    "csv": f'question {n},"{answer}"\n',
                    "txt": f"{answer}\n\n",
                }[form]
            )
        file.write("null]" if form == "json" else "")
    tracemalloc.start()
    try:
        rows = sum(1 for _ in read(path).rows)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert rows >= 600
    assert peak < path.stat().st_size / 2, peak
