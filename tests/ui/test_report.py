"""The report card as people see it, in every state, and as a file of its own."""

from dataclasses import asdict
from pathlib import Path

import pytest

from core.report import Report
from core.runs import Run
from core.store import Store
from core.verdict import verdict
from tests.browser import stage
from tests.cards import LABELLED, card_of, put
from tests.ui.test_views import HOSTILE, Elements
from ui import api, report_actions, theme, views


def told(card=None, state="made", **more):
    found = {"id": "r", "name": "Bot", "state": state, "can_be_made": True, "phase": "", "done": 0,
             "of": 0, "error": "", "hint": "", "card": card or {},
             "verdict": asdict(verdict(card)) if card else {}}  # fmt: skip
    return found | more


@pytest.fixture
def run(data_dir) -> Run:
    return stage.finish(stage.add_run(Store(), "Bot"), "completed", used_step=100)


CARDS = {
    "labels": card_of("labels", LABELLED, general=(30, 28, 10)),
    "json": card_of("json", [('{"a": 1}', "no", '{"a": 1}')] * 9),
    "short": card_of("short", [("Rome", "London", "Rome")] * 9),
    "long": card_of("long", [("We open at nine.", "Hello.", "We open at ten.")] * 9),
    "documents": card_of(),
    "nothing": card_of(loss=None, step=None),
}


@pytest.mark.parametrize("name", CARDS)
def test_every_kind_of_card_is_told_whole(name):
    card = CARDS[name]
    verdict, details = views.report.verdict(told(card)), views.report.details(told(card))
    for html in (verdict, details):
        assert not Elements(html).open
    text = Elements(verdict).text
    assert told(card)["verdict"]["headline"] in text
    assert "Download report card" in text
    assert "General questions right" in Elements(details).text


def test_labels_are_told_one_by_one_and_confused():
    text = Elements(views.report.details(told(CARDS["labels"]))).text
    worst = CARDS["labels"]["examples"]["worst"]
    assert [row["tuned"] for row in worst] == ["No", "Perhaps"]  # none that is right
    for part in ("macro F1", "Each label", "confusion matrix", "(something else)",
                 "The biggest steps back", "no longer gets right", "And 10 more."):  # fmt: skip
        assert part in text
    assert "biggest steps back" not in Elements(views.report.details(told(CARDS["long"]))).text


@pytest.mark.parametrize(
    ("state", "said", "buttons"),
    [
        (told(state="waiting"), "when the device is free", 0),
        (told(state="making", done=40, of=200, phase="Answering"), "40 of 200 answers", 0),
        (
            told(state="failed", error="It is torn.", hint="Mend it."),
            "no report card: It is torn.",
            1,
        ),
        (told(state="none"), "did it forget anything", 1),
    ],
)
def test_on_its_way_it_says_how_far_it_is_and_what_to_do(state, said, buttons):
    elements = Elements(views.report.verdict(state))
    assert said in " ".join(elements.text.split())
    assert len(elements.all("button")) == buttons
    assert views.report.details(state) == ""
    assert views.report.verdict(told(state="none", can_be_made=False)) == ""
    assert views.report.line(told(state="none", can_be_made=False)) == ""
    assert "#report" in Elements(views.report.line(state)).all("a")[0]["href"]


def test_what_models_say_never_becomes_markup():
    said = [(HOSTILE[:50], HOSTILE, HOSTILE)] * 3
    for kind in ("labels", "long"):
        card = card_of(kind, said)
        for row in card["examples"]["best"]:
            row["question"] = HOSTILE
        facts = told(card, name=HOSTILE)
        page = views.report.document(facts, HOSTILE, 0.0, "")
        panels = views.report.verdict(facts) + views.report.details(facts)
        failed = views.report.verdict(told(state="failed", error=HOSTILE, hint=HOSTILE))
        for html, scripts in ((page, 1), (panels, 0), (failed, 0)):
            assert len(Elements(html).all("script")) == scripts
            assert not Elements(html).all("img")


def test_a_card_is_asked_for_told_and_taken_home(run):
    store = Store()
    assert report_actions.report(store, run.id)["can_be_made"]
    with pytest.raises(api.NotFound, match="no report card"):
        api.download_report(store, run.id)
    assert report_actions.make_report(store, run.id)["state"] == "waiting"
    put(run, CARDS["labels"])
    found = report_actions.report(store, run.id)
    assert (found["state"], found["verdict"]["guard"]) == ("made", "much")
    file = api.download_report(store, run.id)
    assert file["orig_name"] == "Bot-report.html"
    page = Path(file["path"]).read_text("utf-8")
    assert page.startswith("<!doctype html>")
    assert theme.style() in page
    assert "confusion matrix" in page
    assert "<button" not in page
    assert "http" not in page.replace("http://www.w3.org", "")  # it needs nothing else
    assert Report(run).state == "made"
