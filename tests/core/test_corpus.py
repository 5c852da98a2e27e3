"""All rows at once: the same tokens and figures as row by row, kept and found again."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from core import profiles, token_cache
from core.corpus import tokenized, tokenizing
from core.lengths import BINS
from core.store import Store
from core.tokenizer import Tokenizer
from core.tokens import IGNORED, tokenize
from tests.core.conftest import ROWS

STORIES = [{"text": "a long story " * n} for n in (1, 5, 11)]
CHATS = [
    {
        "messages": [
            {"role": "user", "content": "What is it? " * n},
            {"role": "assistant", "content": "It is this. " * (n % 4)},
        ]
    }
    for n in range(1, 12)
]
MIXED = [*ROWS, *STORIES, *CHATS]


@pytest.fixture(scope="module")
def tokenizer(starter: Path) -> Tokenizer:
    return Tokenizer.load(starter)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def one_by_one(tokenizer, rows, max_length, too_long, train_on):
    """The examples of a run the plain way."""
    examples = []
    for row in rows:
        whole = tokenize(tokenizer, row, train_on)
        if not whole.document and len(whole.ids) > max_length and too_long == "drop":
            continue
        labels = [id if yes else IGNORED for id, yes in zip(whole.ids, whole.learned, strict=True)]
        starts = range(0, len(whole.ids), max_length) if whole.document else (0,)
        for at in starts:
            part = slice(at, at + max_length)
            if any(label != IGNORED for label in labels[part][1:]):
                examples.append((whole.ids[part], labels[part]))
    return examples


@pytest.mark.parametrize("train_on", ["assistant", "all"])
@pytest.mark.parametrize("too_long", ["shorten", "drop"])
@pytest.mark.parametrize("max_length", [8, 12, 21, 40, 500])
def test_examples_and_figures_are_those_of_row_by_row(tokenizer, max_length, too_long, train_on):
    expected = one_by_one(tokenizer, MIXED, max_length, too_long, train_on)
    corpus = tokenized(None, tokenizer, MIXED, train_on)
    examples = corpus.examples(max_length, too_long)
    assert [(example.ids, example.labels) for example in examples] == expected
    assert examples.lengths.tolist() == [len(ids) for ids, _ in expected]
    assert examples.learned.tolist() == [example.learned for example in examples]

    cut = corpus.profile.cut(max_length, too_long)
    wholes = [tokenize(tokenizer, row, train_on) for row in MIXED]
    over = [len(row.ids) > max_length and not row.document for row in wholes]
    limits = [len(row.ids) if row.document else max_length for row in wholes]
    teaches = [any(row.learned[1:]) for row in wholes]
    still = [
        any(row.learned[1:limit]) and not (too_long == "drop" and long)
        for row, limit, long in zip(wholes, limits, over, strict=True)
    ]
    assert cut.shortened + cut.dropped == sum(over)
    assert (cut.dropped == 0) == (too_long == "shorten" or not any(over))
    assert cut.lost == sum(a and not b for a, b in zip(teaches, still, strict=True))
    assert cut.empty == len(MIXED) - sum(still)
    assert cut.examples == len(expected)
    assert cut.longest == max((len(ids) for ids, _ in expected), default=0)


def test_the_headline_and_the_bars(tokenizer):
    silent = {"messages": [*ROWS[0]["messages"][:1], {"role": "assistant", "content": None}]}
    rows = [*ROWS, silent, {"messages": ROWS[0]["messages"][:1]}]
    profile = tokenized(None, tokenizer, rows, "assistant").profile
    facts = profile.facts()
    wholes = [tokenize(tokenizer, row, "assistant") for row in rows]
    lengths = [len(row.ids) for row in wholes]
    assert facts["rows"] == len(rows)
    assert facts["tokens_per_row"] == round(np.mean(lengths), 1)
    assert facts["learned_per_row"] == round(np.mean([sum(w.learned[1:]) for w in wholes]), 1)
    assert facts["teach_nothing"] == 1  # of an empty answer the stop is learned
    assert facts["longest"] == max(lengths)
    for bar in facts["bins"]:
        assert bar["rows"] == sum(bar["start"] < n <= bar["stop"] for n in lengths)
    assert sum(bar["rows"] for bar in facts["bins"]) == len(rows)
    assert len(facts["bins"]) <= BINS


# ---- the cache


def test_only_rows_that_are_new_are_tokenized(tokenizer, cache, monkeypatch):
    first = tokenized(cache, tokenizer, MIXED, "assistant")
    asked: list[int] = []
    monkeypatch.setattr(
        "core.corpus.tokenize_many",
        lambda tokenizer, rows, made=tokenized.__globals__["tokenize_many"]: (
            asked.append(len(rows)) or made(tokenizer, rows)
        ),
    )
    again = tokenized(cache, tokenizer, MIXED, "assistant")
    assert asked == [0]
    assert np.array_equal(first.ids, again.ids)
    new = {"text": "something new"}
    some = tokenized(cache, tokenizer, [*MIXED[30:], new, *MIXED[:3]], "all")
    assert asked == [0, 1]
    plain = tokenized(None, tokenizer, [*MIXED[30:], new, *MIXED[:3]], "all")
    assert np.array_equal(some.ids, plain.ids)
    assert np.array_equal(some.profile.learned(), plain.profile.learned())
    assert np.array_equal(some.profile.document, plain.profile.document)


def test_another_template_has_tokens_of_its_own(tokenizer, cache):
    other = dataclasses.replace(
        tokenizer,
        template="{% for m in messages if m.role != 'system' %}"
        "{{ m.role + ': ' + m.content + eos_token }}{% endfor %}",
    )
    system = {"role": "system", "content": "Be brief."}
    rows = [{"messages": [system, *row["messages"]]} for row in ROWS]
    ours = tokenized(cache, tokenizer, rows, "assistant")
    theirs = tokenized(cache, other, rows, "assistant")
    assert not np.array_equal(ours.ids, theirs.ids)
    assert theirs.profile.notes["system_folded"] == len(rows)
    kept = tokenized(cache, other, rows, "assistant")
    assert kept.profile.notes == theirs.profile.notes
    assert np.array_equal(kept.ids, theirs.ids)


def test_refused_rows_keep_their_number_and_reason(tokenizer, cache):
    template = "{% if messages[0].content == 'bad' %}{{ raise_exception('not this') }}{% endif %}"
    picky = dataclasses.replace(tokenizer, template=template + tokenizer.template)
    bad = {"messages": [{"role": "user", "content": "bad"}, ROWS[0]["messages"][1]]}
    for _ in range(2):  # made, then found
        corpus = tokenized(cache, picky, [ROWS[0], bad, ROWS[1]], "all")
        assert list(corpus.profile.refused) == [1]
        assert "not this" in corpus.profile.refused[1]
        assert len(corpus.examples(100, "shorten")) == 2
        assert corpus.profile.facts()["teach_nothing"] == 1


def test_a_damaged_file_is_made_again(tokenizer, cache):
    whole = tokenized(cache, tokenizer, ROWS, "assistant")
    (file,) = cache.rglob("*.npz")
    file.write_bytes(file.read_bytes()[:2000])
    again = tokenized(cache, tokenizer, ROWS, "assistant")
    assert np.array_equal(whole.ids, again.ids)
    assert file.stat().st_size > 2000


def test_work_that_is_broken_off_leaves_nothing(tokenizer, cache, monkeypatch):
    monkeypatch.setattr("core.corpus.AT_ONCE", 10)
    work = tokenizing(cache, tokenizer, ROWS, "assistant")
    assert next(work) == 10
    work.close()
    assert not list(cache.rglob("*.npz"))


def test_what_was_not_used_for_longest_goes_first(tokenizer, cache, monkeypatch):
    tokenized(cache, tokenizer, ROWS[:10], "assistant")
    (oldest,) = cache.rglob("*.npz")
    os.utime(oldest, (1, 1))
    monkeypatch.setattr(token_cache, "MOST_FILES", 2)
    tokenized(cache, tokenizer, ROWS[10:20], "assistant")
    tokenized(cache, tokenizer, ROWS[20:], "assistant")
    assert len(list(cache.rglob("*.npz"))) == 2
    monkeypatch.setattr(token_cache, "MOST_BYTES", 1)
    tokenized(cache, tokenizer, STORIES, "assistant")
    assert not list(cache.rglob("*.npz"))


@pytest.mark.long
def test_two_processes_at_once(starter, cache):
    program = (
        "import sys; from pathlib import Path; from core.corpus import tokenized\n"
        "from core.tokenizer import Tokenizer; from tests.core.test_corpus import MIXED\n"
        "tokenizer = Tokenizer.load(Path(sys.argv[1]))\n"
        "for n in range(20):\n"
        "    rows = [*MIXED[n:], {'text': f'{n} and more'}]\n"
        "    kept = tokenized(Path(sys.argv[2]), tokenizer, rows, 'all')\n"
        "    assert kept.ids.tolist() == tokenized(None, tokenizer, rows, 'all').ids.tolist()\n"
    )
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", program, str(starter), str(cache)]
    both = [subprocess.Popen(command, cwd=root) for _ in range(2)]
    assert [process.wait(120) for process in both] == [0, 0]


# ---- the profile of a dataset


@pytest.fixture
def dataset():
    from core.files import write_jsonl

    def fill(folder):
        write_jsonl(folder / "rows.jsonl", MIXED)
        return {"rows": len(MIXED)}

    return Store().create_dataset("mixed", fill)


def test_a_profile_is_made_once_and_tells_how_far_it_is(tokenizer, dataset, monkeypatch):
    monkeypatch.setattr("core.corpus.AT_ONCE", 10)
    monkeypatch.setattr(profiles, "SAMPLED_ROWS", 5)
    sample = profiles.at_hand(Store(), dataset, tokenizer, "assistant")
    assert len(sample.lengths) == 5
    shares = list(profiles.profiling(Store(), dataset, tokenizer, "assistant"))
    assert shares == sorted(shares)
    assert len(shares) > 3
    assert shares[-1] == 1.0
    made = profiles.at_hand(Store(), dataset, tokenizer, "assistant")
    assert made.lengths.tolist() == [
        len(tokenize(tokenizer, row, "assistant").ids) for row in MIXED
    ]
    (place,) = (Store().path / "cache" / "profiles").iterdir()
    place.write_bytes(place.read_bytes()[:500])  # damaged: it is made again
    profiles.profile(Store(), dataset, tokenizer, "assistant")
    monkeypatch.setattr(profiles, "tokenizing", None)
    kept = profiles.profile(Store(), dataset, tokenizer, "assistant")
    assert np.array_equal(kept.learned(20), made.learned(20))
