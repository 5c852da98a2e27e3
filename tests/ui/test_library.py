"""The library as people and programs see it."""

import time

import pytest

from core import ballots, gate, library
from core.errors import NotFound, UserError
from core.files import write_json, write_jsonl
from core.report import Report
from core.store import Store
from tests.browser import stage
from tests.cards import LABELLED, answers_of, card_of, put
from tests.ui.test_views import HOSTILE, Elements
from ui import compare, conversation, health_actions, library_actions, views


@pytest.fixture
def store():
    return Store()


def run_with(store, name, wrong=0, forgotten=0, **config):
    """A finished run whose report card has this many more wrong labels than LABELLED, and this many
    general questions forgotten."""
    run = stage.finish(stage.add_run(store, name, upto=10), "completed", at=time.time())
    said = [
        (right, base, "Perhaps" if at < wrong else tuned)
        for at, (right, base, tuned) in enumerate(LABELLED)
    ]
    put(run, card_of("labels", said, general=(30, 28, 28 - forgotten)))
    write_jsonl(run.path / "answers.jsonl", answers_of("labels", said))
    return run


def page_of(told):
    return Elements(
        views.library.head(told) + views.version.versions(told) + views.library.gate(told)
        + views.library.timeline(told["log"], alone=False)
    )  # fmt: skip


def test_a_family_is_told_whole_and_escaped(store):
    first, second = run_with(store, HOSTILE), run_with(store, "Bot 2", wrong=2)
    write_jsonl(second.path / "train.jsonl", [stage.row(HOSTILE, "Yes.")])
    library.add(store, "bot", first, notes=HOSTILE, tags=["shop"])
    library.add(store, "bot", second)
    library.make_current(store, "bot", 2, HOSTILE)
    told = library_actions.family(store, "bot")
    newest, oldest = told["versions"]
    assert (told["current"], told["previous"], oldest["tags"]) == (2, 1, ["shop"])
    assert (newest["changes"]["added"], newest["changes"]["removed"]) == (1, 54)
    assert newest["changes"]["since"] == 1
    assert newest["scores"]["guard"] == "safe"
    shown = page_of(told)
    assert not shown.open
    for part in (
        "71 of 100 right labels",
        "+1 example, −54 examples",
        "Roll back to version 1",
        "Version 2 made current, instead of version 1.",
    ):
        assert part in shown.text
    row = views.library.listing(library_actions.library(store), None)
    assert "2 versions" in Elements(row).text


def test_a_version_that_was_not_trained_here_says_whence_it_comes(store):
    library.add(store, "bot", run_with(store, "Bot"))
    brought = run_with(store, "Brought")
    said = {"kind": "imported", "source": f"{HOSTILE}.zip", "at": 1.0, "notes": []}
    write_json(brought.path / "origin.json", said)
    library.add(store, "bot", brought)
    library.add(store, "bot", run_with(store, "Bot 3"))
    told = library_actions.family(store, "bot")
    # What it learned from is not known: nothing is told against it, nor it against anything.
    third, second, first = (version["changes"] for version in told["versions"])
    assert (third["since"], second, first) == (1, None, None)
    shown = page_of(told)
    assert f"Brought from {HOSTILE}.zip." in shown.text
    assert "Since version 1: the same examples and settings." in shown.text


def test_a_report_card_is_offered_until_it_is_asked_for(store):
    run = stage.finish(stage.add_run(store, "Bot", upto=1), "completed")
    library.add(store, "bot", run)
    text = page_of(library_actions.family(store, "bot")).text
    assert "Make its report card" in text
    Report(run).ask()
    text = page_of(library_actions.family(store, "bot")).text
    assert "Its report card is being made." in text
    assert "Make its report card" not in text


def test_the_library_leads_on(store):
    run = run_with(store, "Bot")
    library.add(store, "bot", run)
    listed = views.library.listing(library_actions.library(store), None)
    for page in ("bring-adapter", "blend", "serve"):
        assert f'href="{page}"' in listed
    told = library_actions.family(store, "bot")
    assert 'href="serve?run=bot"' in views.library.head(told)
    versions = views.version.versions(told)
    assert f'href="new?onward={run.id}"' in versions
    assert f'href="runs?run={run.id}#take-home"' in versions


def test_the_first_visit_explains_and_offers_the_newest_run(store):
    text = Elements(views.library.listing([], ("r", "Bot"))).text
    assert "Keep “Bot” as a version" in text
    assert "Teach a model" in Elements(views.library.listing([], None)).text


def test_the_gate_holds_with_figures_and_is_overridden_with_a_reason_alone(store):
    good, worse = run_with(store, "Good"), run_with(store, "Worse", wrong=8, forgotten=12)
    for run in (good, worse):
        library.add(store, "bot", run)
    library_actions.set_gate(store, "bot", {"score": "any", "forgetting": "some", "active": True})
    with pytest.raises(UserError) as refused:
        library_actions.make_current(store, "bot", 2)
    said = str(refused.value)
    assert "On the 14 examples kept back it scores 28.6 of 100, the current one 85.7." in said
    assert "That is more than chance." in said
    assert "28 of 30 right before, 16 after" in said
    assert "answers differ" not in said  # that check is passed
    with pytest.raises(UserError, match="needs a reason"):
        library_actions.make_current(store, "bot", 2, " ", override=True)
    assert library.read(store, "bot").current.number == 1
    library_actions.make_current(store, "bot", 2, "Only for a demo.", override=True)
    told = library_actions.family(store, "bot")
    assert len(told["log"][0]["over"]) == 2
    assert "Gate overridden: On the 14 examples" in page_of(told).text
    assert library_actions.roll_back(store, "bot")["current"] == 1  # no gate is in its way


@pytest.mark.parametrize(("score", "passed"), [("any", False), ("clear", True), ("off", None)])
def test_a_score_that_is_lower_by_chance_passes_where_that_is_asked(store, score, passed):
    library.add(store, "bot", run_with(store, "Good"))
    second = library.add(store, "bot", run_with(store, "A little worse", wrong=1))
    family = library.set_gate(store, "bot", {"score": score})
    findings = library.checked(family, second)
    assert [finding.passed for finding in findings] == ([] if passed is None else [passed])
    if findings:
        assert "That may well be chance." in findings[0].text


def test_scores_of_other_examples_are_not_compared_and_common_ones_are(store):
    first, second = run_with(store, "First"), run_with(store, "Second", wrong=3)
    rows = answers_of("labels", LABELLED)
    others = [{**row, "question": f"Another {row['question']}"} for row in rows]
    write_jsonl(second.path / "answers.jsonl", others)
    asked = gate.Gate(score="any")
    (finding,) = gate.check(asked, second, first)
    assert not finding.passed
    assert "different examples back (0 in common)" in finding.text
    # Six in common, in another order, and right as often: that is what counts.
    write_jsonl(second.path / "answers.jsonl", [*others[6:], *reversed(rows[:6])])
    (finding,) = gate.check(asked, second, first)
    assert finding.passed
    assert "On the 6 examples that both kept back it scores 100.0 of 100" in finding.text


def test_without_report_cards_the_gate_asks_for_them(store):
    first = stage.finish(stage.add_run(store, "First", upto=1), "completed")
    second = stage.finish(stage.add_run(store, "Second", upto=1), "completed", at=2)
    for run in (first, second):
        library.add(store, "bot", run)
    library_actions.set_gate(store, "bot", {"score": "any", "forgetting": "safe", "active": True})
    told = library_actions.family(store, "bot")["versions"][0]["findings"]
    assert not any(finding["passed"] for finding in told)
    assert told[0]["lacks_card"] == (first.id, second.id)
    text = page_of(library_actions.family(store, "bot")).text
    assert "Make its report card" in text
    assert "Make the current one’s report card" in text


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"score": "much"}, "score"),
        ({"forgetting": ["safe"]}, "forgetting"),
        ({"nothing": True}, "nothing"),
    ],
)
def test_a_gate_of_other_words_is_refused(store, wanted, field):
    library.add(store, "bot", run_with(store, "Good"))
    with pytest.raises(UserError) as refused:
        library_actions.set_gate(store, "bot", wanted)
    assert refused.value.field == field


def test_versions_of_other_originals_are_told(store):
    library.add(store, "bot", run_with(store, "One"))
    library.add(store, "bot", run_with(store, "Two"))
    told = {**library_actions.family(store, "bot"), "bases": ["Starter", "Qwen3-0.6B"]}
    assert "different originals: Starter, Qwen3-0.6B" in Elements(views.library.head(told)).text


def test_what_a_run_is_kept_as_is_told_on_its_page(store):
    run = run_with(store, "Bot")
    assert library_actions.kept_as(store, run.id) == []
    library_actions.add_version(store, "Bot", run.id)
    (kept,) = library_actions.kept_as(store, run.id)
    known = {"id": "bot@1", "family": "bot", "state": "there", "current": True, "previous": None}
    assert kept == known
    assert "bot@1" in Elements(views.keep.card([kept], ["bot"])).text
    assert not Elements(views.keep.card([], [], answerable=False)).all("input")
    asked = Elements(views.runs.run_dialogs([kept])).text
    assert "whoever asks for bot, in the chat or from a program, gets no answer then" in asked
    back = Elements(views.runs.run_dialogs([{**kept, "previous": 3}])).text
    assert "To keep bot answering, roll back to version 3 first." in back
    other = Elements(views.runs.run_dialogs([{**kept, "current": False}])).text
    assert "bot@1 in the library can’t be made current meanwhile" in other


def test_an_answer_stands_under_the_name_that_was_asked_for():
    said = {"base": "a", "run-1": "b", "changed": {"run-1": 0.5}, "done": True}
    told = conversation.as_asked(said, {"bot": "run-1"})
    assert (told["bot"], told["run-1"], told["changed"]["bot"]) == ("b", "b", 0.5)
    assert conversation.as_asked(said, {"run-1": "run-1"}) is said


# ---- rollout and health


def answer(store, model, thumb, count=1, text="Yes, we do."):
    for _ in range(count):
        health_actions.rate_answer(store, model, thumb, text=text, question="Do you?")


def test_ratings_come_with_leave_only(store):
    library.add(store, "bot", run_with(store, "Bot"))
    with pytest.raises(UserError, match="not kept"):
        health_actions.rate_answer(store, "bot", "up", text="Yes.")
    with pytest.raises(NotFound):
        health_actions.rate_answer(store, "nobody", "up", text="Yes.")
    assert health_actions.keep_answers(store, True) == {"answers": True, "texts": False}
    kept = health_actions.rate_answer(store, "bot", "up", text="Yes.", seconds=1.5)
    again = health_actions.rate_answer(store, "bot", "down", answer=kept["answer"])
    assert again["answer"] == kept["answer"]
    (week,) = health_actions.health(store, "bot")["weeks"]
    assert (week["answers"], week["up"], week["down"], week["versions"]) == (1, 0, 1, [1])


def test_a_rollout_is_told_with_both_versions_and_how_sure_that_is(store):
    for name in ("One", "Two"):
        library.add(store, "bot", run_with(store, name))
    told = library_actions.family(store, "bot")
    begin = Elements(views.health.rollout(told, health_actions.health(store, "bot")))
    assert "Begin the rollout" in begin.text
    library_actions.roll_out(store, "bot", 2, 25, "a try")

    def shown():
        told = library_actions.family(store, "bot")
        return Elements(views.health.rollout(told, health_actions.health(store, "bot"))).text

    assert "Version 2 answers 25 % of requests" in shown()
    assert "Ratings are not kept" in shown()
    health_actions.keep_answers(store, True)
    answer(store, "bot@1", "down", 9)
    answer(store, "bot@2", "up", 9)
    assert "it takes 10 ratings of each" in shown()
    answer(store, "bot@1", "up", 8)
    answer(store, "bot@2", "up", 8)
    assert "Version 2 is liked better: equals come out so uneven in fewer than 1 of" in shown()
    assert "17 of 17" in shown()
    answer(store, "bot@2", "down", 9)
    assert "Not yet clear: equals come out so uneven in" in shown()
    library_actions.end_rollout(store, "bot")
    assert health_actions.health(store, "bot")["rollout"] is None


def test_both_versions_of_a_rollout_are_asked_side_by_side(store):
    runs = [run_with(store, name) for name in ("One", "Two")]
    for run in runs:
        library.add(store, "bot", run)
    assert compare._rolled_out(store, "bot", []) == ""
    library.roll_out(store, "bot", 2, 30)
    here = Elements(compare._rolled_out(store, "bot", []))
    assert "Version 1 answers here. Version 2 is rolled out to 30 %" in here.text
    told, health = library_actions.family(store, "bot"), health_actions.health(store, "bot")
    shown = Elements(views.health.rollout(told, health))
    for place in (here, shown):
        assert "compare?run=bot&with=bot%402" in [link["href"] for link in place.all("a")]
    assert {f"vote?run={run.id}" for run in runs} < {link["href"] for link in shown.all("a")}
    # Beside the family's name, the address can name a version of the same original.
    base = runs[0].config.base_model
    assert compare._versions(store, ["bot@2", "bot@9", "Two"], base) == [("bot@2", "bot@2")]
    assert compare._versions(store, ["bot@2"], "another") == []
    assert compare._rolled_out(store, "bot", ["bot@2"]) == ""
    assert compare._rolled_out(store, runs[0].id, []) == ""


def test_blind_votes_of_both_versions_are_told_with_a_rollout(store):
    won = {"One": 3, "Two": 11}
    for name, wins in won.items():
        run = run_with(store, name)
        library.add(store, "bot", run)
        for number in range(12):
            ballots.add(run, ballots.typed("Why?"), {"base": "So.", "tuned": "Because."})
            (pair,) = ballots.read(run).open
            preferred = "tuned" if number < wins else "base"
            ballots.vote(run, pair.id, "left" if pair.left == preferred else "right")
    library_actions.roll_out(store, "bot", 2, 50)
    health_actions.keep_answers(store, True)
    told, health = library_actions.family(store, "bot"), health_actions.health(store, "bot")
    assert health["rollout"]["votes"]["clear"]
    shown = Elements(views.health.rollout(told, health)).text
    assert "the candidate won 11 of 12, the current won 3 of 12; a clear difference" in shown


def test_health_is_told_by_week_with_its_rule_and_what_to_mind(store):
    library.add(store, "bot", run_with(store, "Bot"))  # whose answers are labels of one word
    first = Elements(views.health.health(health_actions.health(store, "bot"))).text
    assert "nothing is unless you say so" in first
    health_actions.keep_answers(store, True, True)
    empty = Elements(views.health.health(health_actions.health(store, "bot"))).text
    assert "Ask it something in Compare" in empty
    answer(store, "bot", "up", 12, f"{HOSTILE} I can’t tell you that.")
    answer(store, "bot", "down", 12, "We deliver on every day of the week but Sunday.")
    shown = Elements(views.health.health(health_actions.health(store, "bot")))
    assert not shown.open
    for part in ("It declines 50 % of its last 24 answers", "Its answers have become longer",
                 "Counted as declined", "Forget the 24 texts"):  # fmt: skip
        assert part in shown.text
    (listed,) = library_actions.library(store)
    assert (listed["up"], listed["down"], listed["drifts"]) == (12, 12, True)
    assert (
        "12 of 24 answers rated good lately" in Elements(views.library.listing([listed], None)).text
    )
    assert health_actions.forget_texts(store, "bot") == {"texts": 24}
