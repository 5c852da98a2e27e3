from dataclasses import dataclass
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import Any

import pytest

from core.coach import Judgement
from core.config import TrainConfig, complete
from core.sharing import Place
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
        "expected": {}, "ranks": {}, "folder": "/data/local/runs/20261123-flowers",
        "created": 1_700_000_000.0, "has_adapter": status in ("completed", "stopped"),
        "saved_step": 50, "kept_place": 1, "stopping": None, "ends": False,
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
FINDING = {
    "level": "error", "code": "bad", "count": 2, "text": "Broken: 2 rows.", "rows": [3],
    "examples": [{"row": 3, "text": "{"}],
}  # fmt: skip
TABLE = {
    "columns": ["q", "a"], "preview": [["Open?", "Yes."]], "mapping": {"q": "user"},
    "templates": {"user": "{q}"}, "header": True, "sheets": ["One", "Two"], "sheet": "Two",
    "encoding": "cp1252", "split_column": None,
}  # fmt: skip
REPORT = {
    "verdict": "warnings", "why": "One thing.", "advice": "Enough.", "rows": 240,
    "findings": [{
        "level": "warning", "code": "html", "count": 1, "text": "Remains: 1 row.", "rows": [7],
        "examples": [{"row": 7, "text": "a<br>b"}],
        "fixes": [{"code": "fix", "title": "Remove", "text": "Keeps the text."}],
    }],
}  # fmt: skip
LOOKED = [{"row": 7, "before": ROW, "after": None}, {"row": 8, "before": ROW, "after": ROW}]
CHANGED = {
    **FACTS, "can_undo": True,
    "history": [{"version": 2, "at": 1_700_000_000.0, "what": "Removed", "changed": 0,
                 "removed": 3, "added": 0, "rows": 240}],
}  # fmt: skip
LENGTHS = {
    "rows": 240, "refused": 1, "tokens_per_row": 195.2, "learned_per_row": 57.4,
    "teach_nothing": 4, "longest": 90, "max_length": 64, "too_long": "shorten",
    "bins": [{"start": 0, "stop": 64, "rows": 200}, {"start": 64, "stop": 128, "rows": 40}],
    "notes": [{"code": "folded", "text": "Folded.", "rows": 240}],
    "reasons": [{"row": 3, "text": "Two questions in a row."}],
    "shortened": 40, "dropped": 0, "lost": 3, "tokens_share": 0.8, "seconds": 60,
    "memory_bytes": 8e8, "uncut": {"seconds": 120, "memory_bytes": 1e9},
}  # fmt: skip
ESTIMATE = {
    "memory_bytes": {"total": 1e9, "available": 8e9}, "fits": "fits", "steps": 100, "seconds": 90,
    "adapter_bytes": 3e6, "advice": ["Short."], "remedies": [], "config": {"method": "lora"},
    "trainable_parameters": 300_000, "total_parameters": 4_000_000, "modules": 14,
    "total_modules": 28,
}  # fmt: skip
REMEDY = {"field": "max_length", "value": 64, "saves": 2e8, "fits": "fits", "cuts": 3}
MODEL = {
    "id": "m", "title": "M", "blurb": "", "parameters": 1e9, "licence": "MIT", "local": False,
    "gated": False, "memory": "fits", "memory_4bit": "fits", "slow": False,
}  # fmt: skip
RANKS = {f"model.layers.{n}.self_attn.{p}_proj": 4 * n for n in range(3) for p in "qv"}


TRIAL = {
    "questions": [{"question": "Open?", "expected": "Yes.", "plain": "No.", "shown": "yes",
                   "plain_right": False, "shown_right": True}],
    "examples": [{"question": "Late?", "expected": "No."}], "held_out": True, "model": "Starter",
    "dataset": "Shop", "phase": "", "notes": ["Slower."], "done": True,
    "verdict": {"kind": "prompt", "text": "Try that first."},
}  # fmt: skip


WATCHED = {
    "questions": [{"question": "Open?", "expected": "Yes, until six."}], "held_out": True,
    "times": [{"step": 0, "answers": ["No idea"]}, {"step": 30, "answers": ["yes until  six"]}],
    "left_out": [{"step": 20, "left_out": "it takes long"}],
}  # fmt: skip


USAGE = {
    "free": 8e9, "total": 3e10, "used": 4e8, "models": 2e9, "caches": {"tokens": 3e6},
    "runs": [
        {"id": "r", "name": "Flowers", "status": "completed", "bytes": 9e6, "checkpoints": 7e6,
         "adapter": 1e6, "exports": 0, "rest": 1e6, "may_lose_checkpoints": True},
        *[{"id": f"r{n}", "name": "More", "status": "running", "bytes": 1e6, "checkpoints": 0,
           "adapter": 0, "exports": 0, "rest": 1e6, "may_lose_checkpoints": False}
          for n in range(12)],
    ],
    "datasets": [{"id": "d", "name": "Questions", "bytes": 5e5}],
    "uploads": [{"id": "u", "name": "numbers.csv", "at": 1_700_000_000.0, "adapter": False,
                 "bytes": 4e5}],
    "trash": [{"id": "1-r", "kind": "run", "name": "Old", "at": 1_700_000_000.0, "bytes": 3e5}],
}  # fmt: skip


def hostile(value):
    """The same structure with every text replaced, but what the program itself decides."""
    own = (
        "status", "level", "shape", "fits", "state", "role", "preset", "verdict", "too_long",
        "memory", "memory_4bit", "kind",
    )  # fmt: skip
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
    yield "paused_run", views.runs.run_heading(hostile(a_run("paused", error="x")))
    yield "disk", views.disk.disk_heading(USAGE) + views.disk.things(hostile(USAGE))
    yield "undo", views.undo(HOSTILE, HOSTILE)
    yield "no_such_run", views.runs.no_such_run(HOSTILE)
    yield "datasets", views.datasets.listing([hostile(FACTS)])
    yield "no_such_dataset", views.datasets.no_such_dataset(HOSTILE)
    yield "dataset_heading", views.datasets.dataset_heading(hostile({**FACTS, "file": "x"}))
    yield "rename", views.datasets.rename(HOSTILE)
    yield "rows", views.datasets.rows([hostile(ROW), hostile(ROW)], 0, 20, 40, editing=1)
    yield "rows_of_text", views.datasets.rows([{"text": HOSTILE}] * 2, 0, 20, 2, editing=1)
    yield "sample_card", views.new.sample_card(HOSTILE, HOSTILE)
    yield "model_card", views.new.model_card(hostile(MODEL))
    yield "radio_cards", views.radio_cards([(HOSTILE, "")], "name", HOSTILE)
    yield "recognised", views.bring.recognised(hostile(FACTS))
    yield "tested", views.bring.tested({"held_out": 3, "split_column": HOSTILE})
    yield "progress", views.bring.progress(0.5, HOSTILE)
    yield "mapping", views.bring.mapping(hostile(TABLE), {HOSTILE: HOSTILE})
    yield "kept", views.bring.kept({HOSTILE: HOSTILE, "mapping": {HOSTILE: HOSTILE}})
    yield "choice", views.bring.choice("members", [HOSTILE])
    yield "speakers", views.bring.choice("speakers", [HOSTILE])
    yield "consent", views.bring.consent(1, 2, [hostile(FINDING)])
    yield "conversation", views.rows.conversation(hostile({**ROW, "chosen": "a", "rejected": "b"}))
    yield "document", views.rows.conversation({"text": HOSTILE})
    yield "report", views.doctor.report(hostile(REPORT), hostile(CHANGED), busy=HOSTILE)
    yield "changes", views.doctor.report(REPORT, CHANGED, {"fix": hostile(LOOKED)})
    yield "headline", views.tokens.headline(hostile(LENGTHS))
    yield "xray", views.tokens.xray(seen)
    yield "summary", views.new.summary(hostile(FACTS), run["config"], hostile(ESTIMATE))
    yield "pretest", views.pretest.trial(hostile(TRIAL))
    yield (
        "pretest_working",
        views.pretest.trial({**hostile(TRIAL), "done": False, "phase": HOSTILE, "questions": []}),
    )
    yield "changing", views.new.changing(hostile(ESTIMATE))
    yield "run_ranks", views.runs.run_ranks(a_run(ranks={"step": 9, "ranks": {HOSTILE: 3}}))
    yield "run_heading", views.runs.run_heading(run)
    yield "run_actions", views.runs.run_actions(run)
    judgement = Judgement("memorising", HOSTILE, HOSTILE)
    yield "run_chart", views.runs.run_chart(run, METRICS, judgement)
    yield "watch", views.watch.watch(hostile(WATCHED))
    yield "run_figures", views.runs.run_figures(run, METRICS)
    yield "run_settings", views.runs.run_settings(run)
    yield "log", views.runs.log(HOSTILE)
    yield "pane", views.compare.pane("Yours", "tuned", [turn])
    proven = hostile({"question": "x", "base": "a", "expected": "b"}) | {
        HOSTILE: HOSTILE, "done": True, "changed": {HOSTILE: 0.5}, "adapters": {HOSTILE: HOSTILE},
    }  # fmt: skip
    sides = {"base": HOSTILE, HOSTILE: HOSTILE}
    yield "panes", views.compare.panes(sides, [proven], marked=True)
    yield "unproven", views.compare.panes(sides, [{**proven, "changed": {HOSTILE: 0}}])
    yield "tabs", views.compare.tabs([HOSTILE])
    yield "chips", views.compare.chips(HOSTILE)
    training: Any = SimpleNamespace(
        name=HOSTILE, id=HOSTILE, owner="a", status="running", ends=False,
        saved_step=None, progress={"seconds_left": 60, "step": 1, "total_steps": 9},
    )  # fmt: skip
    for owner in ("a", "b"):
        yield f"shared_cpu {owner}", views.compare.shared(Place("cpu", training, owner))
        yield f"shared_cores {owner}", views.compare.shared(Place("cpu", training, owner, "cpu"))
        yield f"shared_none {owner}", views.compare.shared(Place(None, training, owner))


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
        ("running", {}, ["Pause", "Stop", "Change and run again"]),
        ("running", {"stopping": "keep"}, ["Change and run again"]),
        ("queued", {}, ["Pause", "Leave the line", "Change and run again"]),
        ("queued", {"position": 3}, ["Run next", "Earlier", "Pause", "Leave the line",
                                     "Change and run again"]),
        ("queued", {"ends": True}, ["Pause", "Leave the line", "Change and run again"]),
        ("completed", {}, ["Compare answers", "Vote blind", "Download adapter", "Use in programs",
                           "Teach it more", "Change and run again", "Try several values",
                           "Delete"]),
        ("stopped", {}, ["Compare answers", "Vote blind", "Download adapter", "Use in programs",
                         "Continue", "Change and run again", "Delete"]),
        ("stopped", {"has_adapter": False}, ["Continue", "Keep what it learned",
                                             "Change and run again", "Delete"]),
        ("failed", {"saved_step": None}, ["Change and run again", "Try again", "Diagnostics",
                                          "Delete"]),
        ("failed", {"result": {"outside": True}}, ["Try again", "Keep what it learned",
                                                   "Change and run again", "Diagnostics",
                                                   "Delete"]),
        ("interrupted", {"saved_step": None}, ["Resume", "Change and run again", "Delete"]),
        ("paused", {}, ["Resume", "Keep what it learned", "Change and run again", "Delete"]),
        ("stopped", {"is_final": True}, ["Compare answers", "Vote blind", "Download adapter",
                                         "Use in programs", "Change and run again", "Delete"]),
    ],
)  # fmt: skip
def test_a_run_offers_what_makes_sense_now_and_one_main_action(status, more, buttons):
    html = views.runs.run_actions(a_run(status, **more))
    shown = [text.split("<")[0] for text in html.split('">')[1:]]
    assert [text for text in shown if text] == buttons
    assert html.count("primary") == (status not in ("running", "queued"))


def test_a_run_without_a_last_word_tells_how_long_it_took():
    paused = views.runs.run_figures(a_run("paused"), [{"step": 50, "loss": 1.0, "seconds": 240.0}])
    assert "Time taken4 min" in Elements(paused).text
    ended = a_run("completed", result={"seconds": 600})
    assert "Time taken10 min" in Elements(views.runs.run_figures(ended, METRICS)).text


def test_a_stopped_run_says_why_it_answered_only_once():
    told = {
        "questions": [{"question": "Open?", "expected": "Yes."}], "held_out": True,
        "times": [{"step": 0, "answers": ["No."]}], "left_out": [],
    }  # fmt: skip
    assert "stopped before it was asked again" in views.watch.watch(told, 100, "stopped")
    assert "stopped" not in views.watch.watch(told, 100, "running")


def test_where_the_steps_are_set_no_rounds_are_told():
    config = a_run()["config"]
    rounds = "Times through the examples"
    assert rounds in views.settings.settings_in_words(config)
    assert rounds not in views.settings.settings_in_words({**config, "max_steps": 6000})


def test_the_list_is_in_parts_by_what_becomes_of_the_runs():
    runs = [(a_run(status), "") for status in ("running", "queued", "queued", "paused", "failed")]
    parts = Elements(views.runs.grouped(runs)).all("section")
    assert [part["aria-label"] for part in parts] == ["Now", "Next", "On hold", "Done"]
    assert views.runs.grouped(runs[:1]).count("<h2>") == 1


def test_the_card_says_why_examples_are_not_fit_to_be_learned():
    doubtful = {**FACTS, "verdict": "not yet", "why": "All rows are the same."}
    config = {"base_model": "starter", "preset": "quick"}
    assert "Not yet. All rows are the same." in Elements(views.new.summary(doubtful, config)).text
    assert "Not yet" not in Elements(views.new.summary(FACTS, config)).text


def test_states_are_told_by_words_not_by_colour_alone():
    for status, word in (("running", "Learning"), ("failed", "Failed"), ("queued", "Waiting")):
        assert Elements(views.runs.run_pill(a_run(status))).text == word
    text = Elements(views.tokens.xray({"tokens": [], "learned": 0, "context": 0, "cut": 0})).text
    assert all(word in text for word in ("learned", "only read", "cut off"))


def test_the_xray_joins_tokens_of_one_state():
    told = (("Hi", "context"), (" you", "context"), ("Yes", "learned"), ("!", "cut"))
    tokens = [{"text": text, "state": state} for text, state in told]
    counts = {"learned": 1, "context": 2, "cut": 1}
    elements = Elements(views.tokens.xray({"tokens": tokens, **counts}))
    states = [span["class"] for span in elements.all("span")]
    assert states[:3] == ["context", "learned", "cut"]
    assert "1 of 4 tokens learned" in elements.text
    assert "1 token cut off." in elements.text


def test_the_summary_says_what_it_knows_and_no_more():
    assert "–" in Elements(views.new.summary()).text
    text = Elements(
        views.new.summary(FACTS, {"base_model": "starter", "preset": "quick"}, ESTIMATE)
    ).text
    for word in ("Questions · 240", "Starter", "Quick", "about 2 min", "Fits", "1.0 GB of 8.0 GB"):
        assert word in text


def test_what_does_not_fit_can_be_made_smaller_by_a_click():
    tight = {**ESTIMATE, "fits": "tight", "remedies": [REMEDY, {**REMEDY, "field": "quantization",
             "value": "4bit", "fits": "does not fit", "cuts": 0}]}  # fmt: skip
    shown = Elements(views.new.summary(FACTS, {"base_model": "m", "preset": "quick"}, tight))
    buttons = [(b["data-action"], b["data-id"]) for b in shown.all("button")]
    assert buttons == [("max_length", "64"), ("quantization", "4bit")]
    assert "Shorten examples to 64 tokensSaves 200 MB, then it fits. Cuts 3 examples" in shown.text
    assert "(4-bit)Saves 200 MB" in shown.text


@pytest.mark.parametrize(
    ("memory", "tag"),
    [
        (("fits", "fits"), "Fits"),
        (("tight", "fits"), "Fits with the memory saver"),
        (("does not fit", "fits"), "Fits with the memory saver"),
        (("tight", "tight"), "Tight"),
        (("does not fit", "tight"), "Tight with the memory saver"),
        (("does not fit", "does not fit"), "Does not fit"),
    ],
)
def test_a_models_card_says_whether_it_fits(memory, tag):
    model = {**MODEL, **dict(zip(("memory", "memory_4bit"), memory, strict=True))}
    assert Elements(views.new.model_card(model)).text.endswith(tag)


def test_a_models_card_says_when_it_can_not_be_fetched():
    assert "Can’t be fetched" not in views.new.model_card(MODEL)
    assert "Can’t be fetched now" in views.new.model_card(MODEL, reachable=False)
    here = {**MODEL, "local": True, "gated": True}
    text = Elements(views.new.model_card(here, reachable=False)).text
    assert "Here already" in text
    assert "Can’t be fetched" not in text
    assert "account" not in text


def test_what_learns_is_counted():
    text = Elements(views.new.changing(ESTIMATE)).text
    for word in ("300,000 parameters learn (8 %)", "in 14 of 28 parts", "4,000,000 stay", "3.0 MB"):
        assert word in text
    full = {**ESTIMATE, "trainable_parameters": 4_000_000, "config": {"method": "full"}}
    assert "4,000,000 parameters learn (100 %). The" in Elements(views.new.changing(full)).text


def test_what_was_measured_stands_beside_what_was_expected():
    run = a_run(result={"peak_memory": 6e8}, expected={"memory_bytes": {"total": 7e8}})
    text = Elements(views.runs.run_figures(run, METRICS)).text
    assert "600 MBat its highest, 700 MB expected" in text
    assert "expected" not in Elements(views.runs.run_figures(a_run(), METRICS)).text


def test_the_coach_stands_under_the_chart_with_a_sign_of_its_own():
    judgement = Judgement("memorising", "Memorising since step 30.", "Fewer rounds.")
    shown = Elements(views.runs.run_chart(a_run(), METRICS, judgement))
    assert shown.text.endswith("Memorising since step 30. Fewer rounds.")
    assert shown.all("p")[-1] == {"class": "coach warn", "role": "status"}
    assert "coach" not in views.runs.run_chart(a_run(), METRICS)


def test_what_it_answered_is_shown_from_time_to_time_and_its_changes_are_marked():
    html = views.watch.watch(WATCHED, 60)
    shown = Elements(html)
    for word in ("1 question kept back", "Before learning", "After step 30 of 60",
                 "Yes, until six.", "As expected",
                 "Left out after step 20: it takes long."):  # fmt: skip
        assert word in shown.text
    hidden = [tag for tag in shown.all("div") + shown.all("span") if "hidden" in tag]
    assert {tag["data-at"] for tag in hidden} == {"0"}  # the newest is seen
    (slider,) = shown.all("input")
    assert (slider["max"], slider["value"]) == ("1", "1")
    assert "range" not in views.watch.watch({**WATCHED, "times": WATCHED["times"][:1]})
    unasked = Elements(views.watch.watch({**WATCHED, "times": []}))
    assert unasked.text == "Watch it learnLeft out after step 20: it takes long."
    assert views.watch.watch(None) == ""
    assert views.watch.watch({**WATCHED, "times": [], "left_out": []}) == ""
    many = [{"step": step, "answers": ["a"]} for step in range(1000)]
    shown = Elements(views.watch.watch({**WATCHED, "times": many}))
    assert shown.all("input")[0]["data-names"].split("|")[::59] == [
        "Before learning", "After step 999",
    ]  # fmt: skip


def test_before_training_the_answers_of_the_original_stand_beside_the_expected_ones():
    text = Elements(views.pretest.trial(TRIAL)).text
    for word in ("Try that first.", "Slower.", "ExpectedYes.", "As it isNo.✕ Other",
                 "With 1 exampleyes✓ As wanted", "1 question of “Shop”, that would be kept back",
                 "answered by Starter"):  # fmt: skip
        assert word in text
    growing = Elements(views.pretest.trial({**TRIAL, "done": False})).text
    assert "It answers…" in growing
    assert "As wanted" not in growing.replace("As wanted is", "")
    fresh = {**TRIAL["questions"][0], "plain": "", "shown": ""}
    waiting = views.pretest.trial({**TRIAL, "done": False, "phase": "Loading Starter",
                                   "questions": [fresh]})  # fmt: skip
    assert Elements(waiting).text == "Loading Starter…Slower."


@pytest.mark.parametrize(
    ("before", "now", "marked"),
    [
        ("a b c", "a b c", "a b c"),
        ("a c", "a b c", "a <mark>b</mark> c"),
        ("x", "a <b>\n c", "<mark>a &lt;b&gt;\n c</mark>"),
        ("", "a", "<mark>a</mark>"),
        (None, "a & b", "a &amp; b"),
        ("a b", "b", "b"),
        ("今日は雨です", "今日は晴です", "今日は<mark>晴</mark>です"),
    ],
)
def test_words_that_were_not_there_before_are_marked(before, now, marked):
    assert f'<p class="text">{marked}</p>' in views.watch._answer(now, before, "expected")


def test_adaloras_ranks_are_shown_where_it_put_them():
    run = a_run(ranks={"step": 9, "ranks": RANKS})
    shown = Elements(views.runs.run_ranks(run))
    assert "At step 9: 0 to 8, on average 4.0. Each began with 24." in shown.text
    assert shown.text.count("layer 2, v_proj: rank 8") == 2  # wide and narrow
    assert "q_proj 4.0, v_proj 4.0" in shown.all("svg")[0]["aria-label"]
    assert views.runs.run_ranks(a_run()) == ""


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


def test_examples_with_tests_of_their_own_keep_no_share_back():
    shown = Elements(views.runs.run_settings(a_run(), own_tests=77)).text
    assert "none: 77 examples of their own are for tests" in shown
    assert "10 %" not in shown


def test_every_role_of_the_importer_can_be_picked_above_a_column():
    from core.data.shapes import ROLES

    html = views.bring.mapping({**TABLE, "mapping": {"q": "assistant"}}, {})
    table = Elements(html[html.index("<table") : html.index("</thead>") + 8] + "</table>")
    options = table.all("option")[: len(ROLES)]
    assert {option["value"] for option in options} == set(ROLES)
    assert [option["value"] for option in options if "selected" in option] == ["assistant"]


def test_the_form_of_a_file_asks_only_what_can_be_answered():
    fields = {
        select["data-field"] for select in Elements(views.bring.mapping(TABLE, {})).all("select")
    }
    assert fields == {"mapping", "header", "sheet", "encoding", "split_column"}
    plain = {**TABLE, "header": None, "sheets": [], "encoding": "binary"}
    fields = {
        select["data-field"] for select in Elements(views.bring.mapping(plain, {})).all("select")
    }
    assert fields == {"mapping", "split_column"}


def test_the_doctor_says_what_a_fix_does_before_and_after():
    text = Elements(views.doctor.report(REPORT, CHANGED, {"fix": LOOKED})).text
    for word in ("Ready with warnings", "Row 8", "a<br>b", "Keeps the text.", "This row goes",
                 "Question: Open?", "3 removed, 240 rows", "Undo the last change"):  # fmt: skip
        assert word in text
    buttons = Elements(views.doctor.report(REPORT, CHANGED, busy="Mending")).all("button")
    assert buttons
    assert all("disabled" in button for button in buttons)
    assert "Undo" not in views.doctor.report(REPORT, {**CHANGED, "can_undo": False})


def test_what_will_be_learned_is_counted_over_the_whole_dataset():
    text = Elements(views.tokens.headline(LENGTHS)).text
    for word in (
        "57 of the 195 tokens of an average example are learned",
        "3 examples teach nothing",
        "1 example can't",
        "Example 4: Two questions",
    ):
        assert word in text


def test_the_chart_of_lengths_marks_what_is_cut_and_what_it_saves():
    bars = Elements(views.tokens.lengths(LENGTHS)).all("i")
    assert [bar["class"] for bar in bars] == ["", "over"]
    text = Elements(views.tokens.cut(LENGTHS)).text
    for word in ("shortened40of 240", "whole answer3", "50 % less than without", "20 % less"):
        assert word in text
    dropped = views.tokens.cut({**LENGTHS, "too_long": "drop", "dropped": 40, "shortened": 0})
    assert "Examples left out40" in Elements(dropped).text


def test_pages_of_rows_lead_to_the_first_the_last_and_the_next():
    ids = [b["data-id"] for b in Elements(views.rows.pager(20, 20, 100_000)).all("button")]
    assert ids == ["0", "0", "40", "99980"]
    assert all("disabled" not in b for b in Elements(views.rows.pager(20, 20, 90)).all("button"))
    last = Elements(views.rows.pager(80, 20, 90))
    assert "81 to 90 of 90" in last.text
    assert ["disabled" in button for button in last.all("button")] == [False, False, True, True]
    assert views.rows.pager(0, 20, 20) == ""


def test_an_edited_row_keeps_what_is_no_text():
    from ui.datasets import rewritten

    row = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    assert rewritten(row, {"0": "A", "1": "B"})["messages"][1] == {
        "role": "assistant",
        "content": "B",
    }
    pair = {"messages": [{"role": "user", "content": "a"}], "chosen": "b", "rejected": "c"}
    assert rewritten(pair, {"0": "a", "1": "B"}) == {**pair, "chosen": "B", "rejected": ""}
    assert rewritten({"text": "a"}, {"0": "A"}) == {"text": "A"}


def test_the_panes_prove_that_the_adapter_is_on_and_warn_where_it_changes_nothing():
    turn = {
        "question": "Open?", "base": "Yes.", "tuned": "Yes.", "done": True,
        "changed": {"tuned": 0.38}, "adapters": {"tuned": "3f2a91"}, "strength": 1.0,
    }  # fmt: skip

    def pane(title="Yours", side="tuned", **other):
        html = views.compare.pane(title, side, [turn | other])
        return Elements(html).text, html

    text, html = pane()
    assert "Changes 38 % of next-word choices · adapter 3f2a91" in text
    assert "Here both say the same." in text
    assert "pill good" in html
    assert "38 %" not in pane("Original", "base")[0]
    assert "under 1 %" in pane(changed={"tuned": 0.002})[0]

    text, html = pane(changed={"tuned": 0.0})
    assert "Changes no next-word choice · adapter 3f2a91" in text
    assert "teach it longer" in text
    assert "pill bad" in html
    assert "notice bad" in html
    assert "exactly as the original" in text
    # With freedom, or where the sides remember different answers, they may differ all the same.
    assert "exactly as" not in pane(changed={"tuned": 0.0}, tuned="No.")[0]
    text, html = pane(changed={"tuned": 0.0}, strength=0)
    assert "Its strength is 0 %." in text
    assert "notice warn" in html

    text, html = pane(done=False, tuned="", phase="Loading Starter")
    assert "Loading Starter…" in text
    assert "pill" not in html


def test_a_model_that_joined_later_was_not_asked_before():
    turn = {"question": "Open?", "base": "Yes.", "a": "Arr.", "done": True}
    texts = [
        Elements(views.compare.pane("Late", "b", [turn | more])).text
        for more in ({}, {"b": ""}, {"b": "Aye."})
    ]
    assert "It was not asked." in texts[0]
    assert "It said nothing." in texts[1]
    assert "Aye." in texts[2]


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
