"""Held-out rows: no question on both sides, the same split every time."""

from core.data.split import AT_MOST, split


def row(question: str, answer: str = "yes") -> dict:
    return {
        "messages": [
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer},
        ]
    }


def test_every_row_is_on_one_side_and_about_the_fraction_is_held_out():
    train, held_out = split([row(f"Question {n}") for n in range(200)], 0.1, seed=1)
    assert sorted(train + held_out) == list(range(200))
    assert len(held_out) == 20


def test_spellings_of_one_question_stay_together():
    rows = [row(f"What is {n}?") for n in range(20)] + [
        row(f"what is  {n}", "no") for n in range(20)
    ]
    for seed in range(10):
        train, held_out = split(rows, 0.2, seed)
        assert not {index % 20 for index in train} & {index % 20 for index in held_out}


def test_the_split_is_the_same_again_and_another_with_another_seed():
    rows = [row(f"Question {n}") for n in range(100)]
    assert split(rows, 0.1, 1) == split(rows, 0.1, 1)
    assert split(rows, 0.1, 1) != split(rows, 0.1, 2)


def test_adding_rows_keeps_most_of_what_was_held_out():
    rows = [row(f"Question {n}") for n in range(110)]
    before, after = set(split(rows[:100], 0.1, 1)[1]), set(split(rows, 0.1, 1)[1])
    assert len(before & after) >= 8


def test_small_sets():
    assert split([], 0.1, 1) == ([], [])
    assert split([row("one")], 0.5, 1) == ([0], [])
    assert split([row(f"q{n}") for n in range(9)], 0.5, 1)[1] == []
    assert len(split([row(f"q{n}") for n in range(10)], 0.01, 1)[1]) == 1
    assert split([row(f"q{n}") for n in range(10)], 0.0, 1)[1] == []


def test_one_huge_group_is_not_all_that_is_left_to_train_on():
    rows = [row("Hello")] * 90 + [row(f"q{n}") for n in range(10)]
    for seed in range(10):
        train, held_out = split(rows, 0.1, seed)
        assert set(range(90)) <= set(train)
        assert len(held_out) == 10


def test_groups_larger_than_the_fraction():
    rows = [row(f"q{n % 10}") for n in range(50)]
    _, held_out = split(rows, 0.02, 1)
    assert len(held_out) == 5


def test_texts_and_preferences_have_questions_too():
    texts = [{"text": f"document {n % 15}"} for n in range(30)]
    train, held_out = split(texts, 0.2, 1)
    assert held_out
    assert not {index % 15 for index in train} & {index % 15 for index in held_out}
    pairs = [
        {"messages": [{"role": "user", "content": f"q{n}"}], "chosen": "a", "rejected": "b"}
        for n in range(12)
    ]
    assert len(split(pairs, 0.1, 1)[1]) == 1


def test_signs_alone_still_tell_questions_apart():
    _, held_out = split([row("+" * n) for n in range(1, 21)], 0.1, 1)
    assert len(held_out) == 2


def test_of_many_rows_no_more_are_held_out_than_a_test_needs():
    rows = [row(f"q{n // 2}", f"label {n % 7}") for n in range(14_000)]
    train, held_out = split(rows, 0.1, 1, by_answer=True)
    assert 490 <= len(held_out) <= AT_MOST
    assert not {index // 2 for index in train} & {index // 2 for index in held_out}
    assert len({rows[index]["messages"][1]["content"] for index in held_out}) == 7


def test_labels_are_held_out_in_proportion():
    rows = [row(f"q{n}", "rare" if n % 10 == 0 else "common") for n in range(200)]
    for seed in range(5):
        _, held_out = split(rows, 0.1, seed, by_answer=True)
        labels = [rows[index]["messages"][1]["content"] for index in held_out]
        assert (labels.count("rare"), labels.count("common")) == (2, 18)


def test_a_label_of_one_row_stays_to_learn_from():
    rows = [row(f"q{n}", f"label {n}") for n in range(6)] + [
        row(f"p{n}", "usual") for n in range(30)
    ]
    train, held_out = split(rows, 0.2, 1, by_answer=True)
    assert set(range(6)) <= set(train)
    assert len(held_out) in (6, 7)
