"""Made-up and damaged files: no crash, no hang, and no good row is lost in silence.

Each file holds rows whose texts end in a number of their own. In one test a known line is damaged:
every other row must come back whole, or be counted as left out or ragged. In the other any bytes
are: the answer must be rows that JSON can hold, or a sentence.
"""

import csv
import datetime
import io
import json
import os
import tempfile
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.data import read
from core.data.findings import Notes
from core.data.shapes import Plan
from core.errors import DataProblem

LIMIT = datetime.timedelta(seconds=30)  # for one file, on a machine that is busy besides
QUICK, LONG = 100, 1100  # files of each shape in each of the two tests

SHAPES = ("messages", "sharegpt", "instruction", "pairs", "classification", "preference", "text")
TEXTS = st.text("ab Zé日😀,;|\"'\n\t\\{}[]:.<-=#*", max_size=14)
LINES = ("jsonl", "jsonl crlf", "csv", "semicolon", "tsv")


def record(shape: str, number: int, asked: str, said: str) -> dict[str, Any]:
    """A record of this shape; `asked` and `said` are its two texts."""
    if shape == "messages":
        return {
            "messages": [
                {"role": "user", "content": asked},
                {"role": "assistant", "content": said},
            ]
        }
    if shape == "sharegpt":
        return {
            "conversations": [{"from": "human", "value": asked}, {"from": "gpt", "value": said}]
        }
    if shape == "instruction":
        return {"instruction": asked, "input": "", "output": said}
    if shape == "classification":
        return {"text": asked, "label": f"label {number % 3}"}
    if shape == "preference":
        return {"prompt": asked, "chosen": said, "rejected": f"no, {number}"}
    if shape == "text":
        return {"text": f"{asked}\n{said}"}
    return {"question": asked, "answer": said}


def formats(shape: str) -> tuple[str, ...]:
    tables = ("jsonl", "jsonl crlf", "array", "wrapped", "objects", "parquet")
    flat = ("csv", "semicolon", "tsv", "zip")
    return tables if shape in ("messages", "sharegpt") else tables + flat


def table(records: list[dict[str, Any]], delimiter: str) -> list[str]:
    """The header and the records as lines, or several where a cell has line ends."""
    lines = []
    for cells in (list(records[0]), *(record.values() for record in records)):
        file = io.StringIO()
        csv.writer(file, delimiter=delimiter, lineterminator="\n").writerow(cells)
        lines.append(file.getvalue())
    return lines


def pieces(records: list[dict[str, Any]], form: str, ascii_only: bool) -> list[bytes]:
    """The file in pieces; those of the last len(records) that are records follow each other."""
    if form in ("csv", "semicolon", "tsv"):
        delimiter = {"csv": ",", "semicolon": ";", "tsv": "\t"}[form]
        return [line.encode() for line in table(records, delimiter)]
    end = {"jsonl crlf": "\r\n"}.get(form, "\n")
    return [(json.dumps(one, ensure_ascii=ascii_only) + end).encode() for one in records]


def whole(records: list[dict[str, Any]], form: str, ascii_only: bool) -> bytes:
    if form == "array":
        return json.dumps(records, ensure_ascii=ascii_only, indent=1).encode()
    if form == "wrapped":
        return json.dumps({"version": 1, "data": records}, ensure_ascii=ascii_only).encode()
    if form == "objects":
        return "\n".join(json.dumps(one, indent=2) for one in records).encode()
    if form == "parquet":
        file = io.BytesIO()
        pa.parquet.write_table(pa.Table.from_pylist(records), file)
        return file.getvalue()
    if form == "zip":
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("rows.csv", b"".join(pieces(records, "csv", ascii_only)))
        return file.getvalue()
    return b"".join(pieces(records, form, ascii_only))


def name_of(form: str) -> str:
    return {"csv": "a.csv", "semicolon": "a.csv", "tsv": "a.tsv", "parquet": "a.parquet",
            "zip": "a.zip", "array": "a.json", "wrapped": "a.json", "objects": "a.json"}.get(
        form, "a.jsonl"
    )  # fmt: skip


def texts_of(row: dict[str, Any]) -> str:
    said = [turn["content"] for turn in row.get("messages", ())]
    return "\n".join([*said, row.get("chosen", ""), row.get("text", "")])


def imported(content: bytes, name: str) -> "Read | DataProblem":
    """What was read, to its end, or the sentence. Anything else fails the test."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        try:
            found = read(path, seconds=LIMIT.total_seconds())
            rows = list(found.rows)
        except DataProblem as problem:
            json.dumps([str(problem), getattr(problem, "details", {})]).encode()
            return problem
    json.dumps([rows, *(finding.model_dump() for finding in found.findings)]).encode()
    ragged = ("short_row", "odd_quotes")
    told = sum(finding.count for finding in found.findings if finding.code in ragged)
    return Read(rows, found.bad, told, {finding.code for finding in found.findings})


class Read(NamedTuple):
    rows: list[dict[str, Any]]
    bad: int
    told: int
    """Rows that were kept, and told as ragged: quotation marks may have glued them together."""
    codes: set[str]


@st.composite
def records_of(draw: st.DrawFn, shape: str) -> list[dict[str, Any]]:
    texts = draw(st.lists(st.tuples(TEXTS, TEXTS), min_size=3, max_size=9))
    return [
        record(shape, number, f"{asked} q{number}.", f"{said} a{number}.")
        for number, (asked, said) in enumerate(texts)
    ]


@st.composite
def damaged_line(draw: st.DrawFn, shape: str) -> tuple[list[dict[str, Any]], int, str, bytes]:
    """(records, the number of the damaged one, format, the file)."""
    records = draw(records_of(shape))
    form = draw(st.sampled_from([form for form in formats(shape) if form in LINES]))
    parts = pieces(records, form, draw(st.booleans()))
    number = draw(st.integers(1, len(records) - 1))  # the first decides what the file is
    at = len(parts) - len(records) + number
    body = parts[at].rstrip(b"\r\n")
    end = parts[at][len(body) :]
    cut = draw(st.integers(0, max(0, len(body) - 1)))
    garbage = draw(st.sampled_from([b"\x00", b"\xff\xfe", b'"', b"'", b"{", b"]}", b",,,", b"\\"]))
    parts[at] = draw(
        st.sampled_from(
            [
                body[:cut] + end,
                body[:cut] + body[cut + 1 :] + end,
                body[:cut] + garbage + body[cut:] + end,
                garbage + end,
                garbage * 3 + body + end,
                end,
            ]
        )
    )
    return records, number, form, b"".join(parts)


@st.composite
def damaged_anywhere(draw: st.DrawFn, shape: str) -> tuple[bytes, str]:
    form = draw(st.sampled_from(formats(shape)))
    content = bytearray(whole(draw(records_of(shape)), form, draw(st.booleans())))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, max(0, len(content) - 1)))
        until = at + draw(st.integers(0, 20))
        content[at:until] = draw(st.binary(max_size=12))
    if draw(st.integers(0, 4)) == 0:
        del content[draw(st.integers(0, len(content))) :]
    named = draw(st.sampled_from([name_of(form), "a", "A.TXT", "a.csv", "a.json", "a.xlsx"]))
    return bytes(content), named


def check_known_damage(case: tuple[list[dict[str, Any]], int, str, bytes]) -> None:
    records, damaged, form, content = case
    found = imported(content, name_of(form))
    if isinstance(found, DataProblem) or "encoding" in found.codes:
        return  # the whole file was refused, or its letters are in doubt: both in words
    others = [one for number, one in enumerate(records) if number != damaged]
    has_lines = any("\n" in str(text) for one in others for text in one.values())
    if form in ("csv", "semicolon", "tsv") and content.count(b'"') % 2 and has_lines:
        return  # which quotation marks belong together, nobody can tell
    rows, bad, told, _ = found
    texts = [texts_of(row) for row in rows]
    lost = [
        number
        for number, one in enumerate(records)
        if number != damaged and not any(whole_in(one, text) for text in texts)
    ]
    assert len(lost) <= bad + told, (lost, bad, told, texts)


def whole_in(one: dict[str, Any], text: str) -> bool:
    """Whether all the texts of the record stand unchanged in the row's."""
    row = row_of(one)
    return texts_of(row) == text


def row_of(one: dict[str, Any]) -> dict[str, Any]:
    plan = _PLANS[tuple(one)]
    return plan.row(one, 1, Notes())


_PLANS = {
    ("messages",): Plan("messages", {"messages": "messages"}),
    ("conversations",): Plan("sharegpt", {"conversations": "messages"}),
    ("instruction", "input", "output"): Plan(
        "instruction", {"instruction": "user", "input": "user", "output": "assistant"}
    ),
    ("question", "answer"): Plan("pairs", {"question": "user", "answer": "assistant"}),
    ("text", "label"): Plan("classification", {"text": "text", "label": "label"}),
    ("prompt", "chosen", "rejected"): Plan(
        "preference", {"prompt": "user", "chosen": "chosen", "rejected": "rejected"}
    ),
    ("text",): Plan("text", {"text": "text"}),
}


def check_any_damage(case: tuple[bytes, str]) -> None:
    imported(*case)


CHECKS = {
    "a known line is damaged": (damaged_line, check_known_damage),
    "anything is damaged": (damaged_anywhere, check_any_damage),
}


def fuzz(strategy, check, files: int) -> None:
    settings(
        max_examples=files,
        deadline=LIMIT,
        derandomize="GRAFT_FUZZ_SEEDS" not in os.environ,
        database=None,
        suppress_health_check=list(HealthCheck),
    )(given(strategy)(check))()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("what", CHECKS)
def test_damaged_files_quickly(shape: str, what: str):
    make, check = CHECKS[what]
    fuzz(make(shape), check, QUICK // len(SHAPES))


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("what", CHECKS)
def test_thousands_of_damaged_files(shape: str, what: str):
    make, check = CHECKS[what]
    fuzz(make(shape), check, LONG)


@st.composite
def undamaged(draw: st.DrawFn, shape: str) -> tuple[list[dict[str, Any]], str, bytes]:
    records = draw(records_of(shape))
    form = draw(st.sampled_from(formats(shape)))
    return records, form, whole(records, form, draw(st.booleans()))


@pytest.mark.parametrize("shape", SHAPES)
def test_whole_files_come_back_whole(shape: str):
    def check(case: tuple[list[dict[str, Any]], str, bytes]) -> None:
        records, form, content = case
        found = imported(content, name_of(form))
        assert not isinstance(found, DataProblem), str(found)
        rows, bad, _, _ = found
        assert bad == 0
        assert [texts_of(row) for row in rows] == [texts_of(row_of(one)) for one in records]

    fuzz(undamaged(shape), check, 30)


def test_the_quick_way_makes_the_same_rows_as_the_careful_one():
    odd = st.one_of(TEXTS, st.text(max_size=8), st.sampled_from(["", " ", "Ã¤", "\x00", None, 3]))

    @settings(max_examples=300, deadline=None, derandomize=True, database=None)
    @given(odd, odd, st.sampled_from(list(_PLANS)), st.booleans())
    def check(asked, said, names, extra) -> None:
        shape = _PLANS[names].shape
        fields = record(shape, 1, asked, said)
        if shape == "text":
            fields = {"text": asked}
        if extra:
            fields["id"] = 7
        plan, notes = _PLANS[names], Notes()
        quick = plan.rows([fields], False)
        if quick is not None:
            careful = Plan(plan.shape, plan.mapping)
            careful.__dict__["quick"] = None
            assert [careful.row(fields, 1, notes)] == quick
            assert notes.findings == []

    check()
