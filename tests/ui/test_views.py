from dataclasses import dataclass
from html.parser import HTMLParser

import pytest

from core.config import TrainConfig, complete
from ui import views

HOSTILE = "\"'><img src=x onerror=alert(1)><script>alert(1)</script>${alert(1)}{{x}}"


class Elements(HTMLParser):
    """The start tags of a piece of HTML, its text, and whether every tag is closed."""

    VOID = ("input", "img", "br", "meta")

    def __init__(self, html: str):
        super().__init__()
        self.tags, self.text, self.open = [], "", []
        self.feed(html)
        assert not self.open, self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def all(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]


@dataclass
class Sample:
    id: str
    title: str
    blurb: str


def a_run(status="completed", name="Flower shop", **more):
    config = complete(TrainConfig(name=name, dataset="d", base_model="starter"), 100, 4_500_000)
    run = {
        "id": "20261123-flowers", "name": name, "status": status, "phase": "", "position": 1,
        "config": config.model_dump(), "error": "", "hint": "", "result": {}, "plan": {},
        "created": 1_700_000_000.0, "has_adapter": status in ("completed", "stopped"),
        "has_checkpoint": True, "stopping": False,
        "progress": {"step": 50, "total_steps": 100, "epoch": 1.0, "loss": 1.0, "eval_loss": 1.1,
                     "seconds_left": 60, "tokens_per_second": 900, "memory": 1e9},
    }  # fmt: skip
    return {**run, **more}


METRICS = [
    {"step": step, "loss": 3 - step / 50, "eval_loss": 3.2 - step / 60} for step in range(0, 60, 10)
]
FACTS = {
    "id": "d", "name": "Questions", "shape": "pairs", "rows": 240, "created": 1_700_000_000.0,
    "findings": [{"level": "warning", "code": "twice", "count": 2, "text": "Twice.", "rows": []}],
}  # fmt: skip
ROW = {"messages": [{"role": "user", "content": "Open?"}, {"role": "assistant", "content": "Yes."}]}
ESTIMATE = {
    "memory_bytes": {"total": 1e9, "available": 8e9}, "fits": "fits", "steps": 100, "seconds": 90,
    "adapter_bytes": 3e6, "advice": ["Short."],
}  # fmt: skip


def hostile(value):
    """The same structure with every text replaced, but what the program itself decides."""
    own = ("status", "level", "shape", "fits", "state", "role", "preset")
    if isinstance(value, dict):
        return {k: v if k in own else hostile(v) for k, v in value.items()}
    if isinstance(value, list):
        return [hostile(item) for item in value]
    return HOSTILE if isinstance(value, str) else value


def rendered():
    """Every view that shows what people, files or models wrote."""
    run = hostile(a_run("failed", error="x", hint="y", plan={"device": "z"}))
    seen = {"tokens": [{"text": HOSTILE, "state": "learned"}], "learned": 1, "context": 0, "cut": 0}
    turn = {"question": HOSTILE, "base": HOSTILE, "tuned": "", "phase": HOSTILE, "notes": [HOSTILE]}
    yield "device_chip", views.device_chip(HOSTILE, HOSTILE)
    yield "notice", views.notice(HOSTILE, HOSTILE)
    yield "first_visit", views.home.first_visit([Sample(HOSTILE, HOSTILE, HOSTILE)])
    yield "home", views.home.overview([(run, "")])
    yield "runs", views.runs.listing([(hostile(a_run(s)), "") for s in ("running", "completed")])
    yield "no_such_run", views.runs.no_such_run(HOSTILE)
    yield "datasets", views.datasets.listing([hostile(FACTS)], HOSTILE, [hostile(ROW)])
    yield "sample_card", views.new.sample_card(HOSTILE, HOSTILE)
    yield "model_card", views.new.model_card(dict.fromkeys(("title", "blurb", "licence"), HOSTILE))
    yield "radio_cards", views.radio_cards([(HOSTILE, "")], "name", HOSTILE)
    yield "recognised", views.data.recognised(hostile(FACTS))
    yield "conversation", views.data.conversation(hostile({**ROW, "chosen": "a", "rejected": "b"}))
    yield "document", views.data.conversation({"text": HOSTILE})
    yield "column_parts", views.data.column_parts([HOSTILE], [[HOSTILE]], {})
    yield "xray", views.data.xray(seen)
    yield "summary", views.new.summary(hostile(FACTS), run["config"], hostile(ESTIMATE))
    yield "run_heading", views.runs.run_heading(run)
    yield "run_actions", views.runs.run_actions(run)
    yield "run_chart", views.runs.run_chart(run, METRICS)
    yield "run_figures", views.runs.run_figures(run, METRICS)
    yield "run_settings", views.runs.run_settings(run)
    yield "log", views.runs.log(HOSTILE)
    yield "pane", views.compare.pane("Yours", "tuned", [turn])
    yield "chips", views.compare.chips(HOSTILE)


@pytest.mark.parametrize(("name", "html"), list(rendered()), ids=lambda value: value[:20])
def test_text_from_people_files_and_models_never_becomes_markup(name, html):
    elements = Elements(html)
    assert not elements.all("script")
    assert not elements.all("img")
    for tag, attributes in elements.tags:
        assert not any(key.startswith("on") for key in attributes), (tag, attributes)


@pytest.mark.parametrize(
    ("status", "more", "buttons"),
    [
        ("running", {}, ["Stop and keep"]),
        ("running", {"stopping": True}, []),
        ("queued", {}, ["Leave the line"]),
        ("completed", {}, ["Compare answers", "Download adapter", "Change and run again",
                           "Delete"]),
        ("stopped", {}, ["Compare answers", "Download adapter", "Continue", "Change and run again",
                         "Delete"]),
        ("stopped", {"has_adapter": False}, ["Continue", "Change and run again", "Delete"]),
        ("failed", {}, ["Change and run again", "Try again", "Delete"]),
        ("interrupted", {}, ["Resume", "Change and run again", "Delete"]),
    ],
)  # fmt: skip
def test_a_run_offers_what_makes_sense_now_and_one_main_action(status, more, buttons):
    html = views.runs.run_actions(a_run(status, **more))
    shown = [text.split("<")[0] for text in html.split('">')[1:]]
    assert [text for text in shown if text] == buttons
    assert html.count("primary") == (status in ("completed", "stopped", "failed", "interrupted"))


def test_states_are_told_by_words_not_by_colour_alone():
    for status, word in (("running", "Learning"), ("failed", "Failed"), ("queued", "Waiting")):
        assert Elements(views.runs.run_pill(a_run(status))).text == word
    text = Elements(views.data.xray({"tokens": [], "learned": 0, "context": 0, "cut": 0})).text
    assert all(word in text for word in ("learned", "only read", "cut off"))


def test_the_xray_joins_tokens_of_one_state():
    told = (("Hi", "context"), (" you", "context"), ("Yes", "learned"), ("!", "cut"))
    tokens = [{"text": text, "state": state} for text, state in told]
    counts = {"learned": 1, "context": 2, "cut": 1}
    elements = Elements(views.data.xray({"tokens": tokens, **counts}))
    states = [span["class"] for span in elements.all("span")]
    assert states[:3] == ["context", "learned", "cut"]
    assert "1 of the 4 tokens" in elements.text
    assert "Cut off at its end: 1 token." in elements.text


def test_the_summary_says_what_it_knows_and_no_more():
    assert "–" in Elements(views.new.summary()).text
    text = Elements(
        views.new.summary(FACTS, {"base_model": "starter", "preset": "quick"}, ESTIMATE)
    ).text
    for word in ("Questions · 240", "Starter", "Quick", "about 2 min", "Fits", "1.0 GB of 8.0 GB"):
        assert word in text


def test_settings_are_told_in_words_with_the_fields_own_beside_them():
    text = Elements(views.settings.settings_in_words(a_run()["config"])).text
    for word in (
        "Starter",
        "How much it can learn rank",
        "all linear layers",
        "10 %",
        "the answers",
    ):
        assert word in text
    assert "None" not in text


def test_column_parts_offer_every_role_of_the_importer():
    from core.data.shapes import ROLES

    options = Elements(views.data.column_parts(["a"], [["1"]], {"a": "assistant"})).all("option")
    assert {option["value"] for option in options} == set(ROLES)
    assert [option["value"] for option in options if "selected" in option] == ["assistant"]


def test_the_panes_say_when_both_are_the_same_and_how_much_the_adapter_changes():
    turn = {"question": "Open?", "base": "Yes.", "tuned": "Yes.", "done": True, "changed": 0.0}
    assert "Both say the same" in Elements(views.compare.pane("Yours", "tuned", [turn])).text
    turn |= {"tuned": "Arr, yes.", "changed": 0.5}
    assert "50 %" in Elements(views.compare.pane("Yours", "tuned", [turn])).text
    assert "50 %" not in Elements(views.compare.pane("Original", "base", [turn])).text
    turn |= {"done": False, "tuned": "", "phase": "Loading Starter"}
    assert "Loading Starter…" in Elements(views.compare.pane("Yours", "tuned", [turn])).text


def test_first_visit_leads_to_the_sample():
    links = Elements(views.home.first_visit([Sample("pirate", "A pirate", "Arr.")])).all("a")
    assert links[0]["href"] == "new?sample=pirate"


def test_a_failed_run_gives_its_reason_and_what_to_do():
    text = Elements(
        views.runs.run_heading(a_run("failed", error="9 GB are needed.", hint="Use 4-bit."))
    ).text
    assert "Failed: 9 GB are needed." in text
    assert "Use 4-bit." in text


def test_home_puts_what_runs_first_and_then_the_line_in_its_order():
    names = ("ended", "third", "lost", "second", "first")
    states = (
        ("completed", None), ("queued", 2), ("interrupted", None), ("queued", 1), ("running", None),
    )  # fmt: skip
    listed = [
        (a_run(status, name=name, position=position), "")
        for name, (status, position) in zip(names, states, strict=True)
    ]
    shown = Elements(views.home.overview(listed)).text
    order = sorted(names, key=lambda name: shown.index(name))
    assert order == ["first", "second", "third", "lost", "ended"]
