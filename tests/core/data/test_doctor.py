"""Each check on rows made for it, the verdict, and the fixes that belong to them."""

import pytest

from core.data import doctor, personal, read
from core.data.doctor import examine
from core.data.fixes import FIXES, preview, strip_html
from core.data.similar import Similar


def pair(question: str, answer: str, *more: tuple[str, str]) -> dict:
    said = [("user", question), ("assistant", answer), *more]
    return {"messages": [{"role": role, "content": text} for role, text in said]}


NUMBERS = [
    "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
    "twenty",
]  # fmt: skip
GOOD = [pair(f"What comes after {n} {w}?", f"After {n} {w} comes more {w}.")
        for n, w in zip(range(3, 60, 3), NUMBERS, strict=False)]  # fmt: skip
LONG = "we open at nine in the morning and close at six in the evening on every day but sunday "


def codes(rows, tests=()) -> dict[str, int]:
    return {finding.code: finding.count for finding in examine(rows, tests).findings}


def fixed(fix: str, rows, tests=()) -> list[dict]:
    return [after for _, after in FIXES[fix].run(rows, tests) if after is not None]


def test_good_rows_are_ready():
    report = examine(GOOD)
    assert (report.verdict, report.findings, report.rows) == ("ready", [], len(GOOD))
    assert report.advice.startswith("19 examples. Enough for a tone")


@pytest.mark.parametrize(
    ("code", "odd"),
    [
        ("empty_answer", pair("What?", "  ")),
        ("empty_question", pair(" ", "This.")),
        ("echo", pair("Do you deliver?", "do you deliver")),
        ("wrong_order", {"messages": [{"role": "assistant", "content": "Hello. How are you?"}]}),
        ("wrong_order", pair("Hello", "Hi there", ("user", "And now?"))),
        ("same_speaker_twice", pair("One?", "This one.", ("assistant", "And that one."))),
        ("mojibake", pair("Wie heiÃŸt du?", "Ich heiÃŸe MÃ¼ller, schÃ¶n dich zu sehen.")),
        ("html", pair("What is it?", "A list:<br>one &amp; two")),
        ("email", pair("Who?", "Write to anna.berg@praxis-berg.de.")),
        ("phone", pair("Who?", "Call us: tel. 0171 / 234 5678.")),
        ("phone", pair("Who?", "Call +49 89 1234567.")),
        ("card", pair("Pay?", "With 4111 1111 1111 1111.")),
        ("iban", pair("Pay?", "To DE89 3704 0044 0532 0130 00.")),
        ("secret", pair("Key?", "It is sk-abcdefghijklmnopqrstuvwx.")),
        ("duplicate", GOOD[3]),
        ("chosen_equals_rejected",
         {"messages": [{"role": "user", "content": "Hi"}], "chosen": "Yo", "rejected": "Yo "}),
        ("long_row", pair("Tell all", "word " * 4000)),
    ],
)  # fmt: skip
def test_what_is_odd_is_found_shown_and_mended(code, odd):
    rows = [*GOOD, odd]
    (found,) = [finding for finding in examine(rows).findings if finding.code == code]
    assert (found.count, found.rows) == (1, [len(GOOD)])
    assert found.examples[0].row == len(GOOD)
    assert found.text.endswith("1 row.")
    for fix in found.fixes:
        after = fixed(fix, rows)
        assert code not in codes(after), fix
        assert after[: len(GOOD)] == GOOD, "good rows stay as they are"
        (shown,) = preview(FIXES[fix], rows)
        assert (shown["row"], shown["before"]) == (len(GOOD), odd)


@pytest.mark.parametrize(
    "text",
    [
        "Order 123456789012 of 2024-10-11 costs 1,234,567.89 euros.",
        "In 1998 to 2004 there were 12 345 678 of them; ISBN 978-3-16-148410-0.",
        "Write to somebody@example.com, or see @graft on 127.0.0.1:7860.",
        "4111 1111 1111 1112 has a wrong check digit, 0000 0000 0000 0000 is none.",
        "DE00 3704 0044 0532 0130 00 is no account; a < b and b > c & d.",
        "Call me maybe, in about 15 minutes or 20.",
    ],
)
def test_what_is_harmless_is_left_alone(text):
    assert codes([*GOOD, pair("What is it?", text)]) == {}


def test_masking_leaves_the_rest_as_it_is():
    text = "Mail a.b@praxis.de or c@praxis.de, or call +49 89 1234567, please."
    for kind in personal.KINDS:
        text = kind.masked(text)
    assert text == "Mail [e-mail] or [e-mail], or call [phone], please."


def test_near_duplicates_are_those_that_share_most_words():
    rows = [*GOOD, pair("When are you open?", LONG * 2), pair("When are you open?", LONG * 2 + "!"),
            pair("And the shop?", "Quite another answer with other words altogether, long enough "
                 "to be looked at by the check, too.")]  # fmt: skip
    found = codes(rows)
    assert found["near_duplicate"] == 1
    assert fixed("drop_near_duplicates", rows) == [row for i, row in enumerate(rows) if i != 20]


def test_texts_without_blanks_are_compared_by_their_signs():
    similar = Similar()
    text = "我们每天早上九点开门晚上六点关门周日休息欢迎光临请提前预约谢谢您的理解与支持"
    assert similar.earlier(0, text) is None
    assert similar.earlier(1, text + "再见") == 0
    assert (
        similar.earlier(2, "今天天气很好我们去公园散步然后回家吃饭看书睡觉明天再去上班工作学习")
        is None
    )


def test_the_same_question_with_another_answer():
    rows = [*GOOD, pair("Open on Sunday?", "Yes."), pair("open on sunday", "No.")]
    assert codes(rows) == {"conflict": 1}
    assert fixed("drop_conflicts", rows) == rows[:-1]


def test_a_question_that_is_held_out_as_well():
    tests = [pair("what comes after 3 ONE", "Something else.")]
    assert codes(GOOD, tests) == {"leakage": 1}
    assert fixed("drop_leaked", GOOD, tests) == GOOD[1:]


def test_labels_their_spellings_and_their_balance():
    labels = ["Positive"] * 40 + ["positive "] * 2 + ["negative"] * 3
    rows = [pair(f"{w} {n} {w}?", label) for n, (label, w) in
            enumerate(zip(labels, NUMBERS * 3, strict=False))]  # fmt: skip
    found = {finding.code: finding for finding in examine(rows).findings}
    assert found["label_spelling"].count == 2
    assert "“positive ” beside “Positive”" in found["label_spelling"].examples[0].text
    assert "“negative” has 3" in found["label_balance"].text
    after = fixed("unify_labels", rows)
    assert {row["messages"][1]["content"] for row in after} == {"Positive", "negative"}
    assert "2 labels" in examine(after).advice


def test_several_languages():
    german = [pair(f"Frage {w}?", f"Wir haben von Montag bis Freitag geöffnet, und das {w} "
              "Stunden am Tag, außer an Feiertagen.") for w in NUMBERS]  # fmt: skip
    english = [pair(f"Question {w}?", f"We are open from Monday to Friday for {w} hours a day, "
               "except on holidays, of course.") for w in NUMBERS]  # fmt: skip
    (found,) = [f for f in examine(german + english[:8]).findings if f.code == "mixed_languages"]
    assert "de 7" in found.text
    assert "en 2" in found.text
    assert "mixed_languages" not in codes(german)


def test_turns_are_trimmed_and_joined():
    odd = {"messages": [
        {"role": "system", "content": "Be kind."}, {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "One?"}, {"role": "user", "content": "Two?"},
        {"role": "assistant", "content": "Both."}, {"role": "user", "content": "Thanks"},
    ]}  # fmt: skip
    (trimmed,) = fixed("trim_turns", [odd])
    (joined,) = fixed("merge_turns", [trimmed])
    assert joined["messages"] == [
        {"role": "system", "content": "Be kind."}, {"role": "user", "content": "One?\n\nTwo?"},
        {"role": "assistant", "content": "Both."},
    ]  # fmt: skip
    assert fixed("trim_turns", [pair("x", "y") | {"messages": odd["messages"][:2]}]) == []


def test_markup_becomes_text():
    assert strip_html("<p>Hello&nbsp;you</p><ul><li>a</li><li>b &lt; c</li></ul>") == (
        "Hello you\n\n- a\n- b < c"
    )
    assert strip_html("2 < 3 and a<b, if x & y") == "2 < 3 and a<b, if x & y"
    assert strip_html("<div>a<script>alert(1)</script></div>") == "a"


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([], "no example"),
        ([pair("a", "")] * 3 + GOOD[:3], "3 of 6 examples have no answer"),
        ([GOOD[0]] * 20, "All examples are the same"),
        (GOOD[:3], "3 examples are too few"),
        (GOOD[:1], "1 example is too few"),
        (GOOD[:3] * 20, "3 different examples are too few"),
    ],
)
def test_what_is_not_ready_says_why(rows, why):
    report = examine(rows)
    assert report.verdict == "not yet"
    assert why in report.why


def test_copies_make_a_dataset_no_larger():
    advice = examine(GOOD * 20).advice
    assert (
        advice
        == "380 examples, 19 without the copies. Enough for a tone or a format, not for facts."
    )
    advice = examine(GOOD[:3] * 20).advice
    assert advice == (
        "60 examples, 3 without the copies. Bring more: 30 to 50 teach a tone or a format."
    )
    kinds = [pair(f"{row['messages'][0]['content']}", "yes" if n % 2 else "no")
             for n, row in enumerate(GOOD)]  # fmt: skip
    assert examine(kinds * 10).advice == (
        "190 examples, 19 without the copies, for 2 labels, about 9 each: few; "
        "10 to 20 of each help."
    )


def test_progress_can_end_it():
    def stop(seen: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        examine(GOOD, progress=stop)


def test_real_messages(testdata):
    file = testdata / "messy/csv/sms_spam_latin1.csv"
    rows = list(read(file, mapping={"v1": "label", "v2": "text"}).rows)
    report = examine(rows)
    found = {finding.code: finding.count for finding in report.findings}
    assert found["duplicate"] == 403
    assert found["mojibake"] >= 257
    assert report.verdict == "warnings"
    assert "mojibake" not in codes(fixed("repair_encoding", rows))


def test_real_questions_that_leak(testdata):
    learned, held_out = (
        list(read(testdata / f"shapes/classification/banking77_{part}.csv").rows)
        for part in ("train", "test")
    )
    assert codes(learned, held_out)["leakage"] >= 6


def test_real_conversations_that_are_nearly_the_same(testdata):
    file = testdata / "shapes/sharegpt/fastchat_dummy_conversation.json"
    assert codes(list(read(file).rows))["near_duplicate"] > 100


def test_of_very_many_rows_the_first_are_looked_at(monkeypatch):
    monkeypatch.setattr(doctor, "LOOKED_AT", len(GOOD))
    report = examine([*GOOD, pair("a", "")])
    assert (report.rows, report.verdict) == (len(GOOD) + 1, "ready")
    assert [finding.text for finding in report.findings] == [
        "The first 19 of 20 examples were looked at."
    ]
