"""What is kept of answers, by whose leave, and what it comes to."""

import errno
import time
from random import Random

import pytest

from core import health, library
from core.config import TrainConfig
from core.errors import NotFound, UserError
from core.family import read
from core.files import read_jsonl, write_json, write_jsonl
from core.refusals import declines
from core.report import Report
from core.store import Store
from tests.browser import stage
from tests.cards import answers_of, card_of

DAY = 24 * 3600


@pytest.fixture
def store():
    return Store()


@pytest.fixture
def bot(store):
    """The family bot with two versions, and answers kept; the first is current."""
    for number in (1, 2):
        run = store.create_run(TrainConfig(name=f"Bot {number}"), [stage.ROW], [stage.OTHER])
        write_json(run.path / "adapter" / "adapter_config.json", {})
        run.finish("completed", number=number)
        library.add(store, "bot", run)
    health.keep(store, answers=True)
    return lambda: read(store, "bot")


def test_nothing_is_kept_unless_the_owner_says_so(store, bot):
    health.keep(store, answers=False, texts=True)
    assert health.keeping(store) == health.Keeping(False, False)
    assert health.answered(store, "bot", "Yes.", "Really?") == ""
    assert not (bot().path / "health.jsonl").exists()
    assert health.keeping(Store("ben")) == health.Keeping()
    (store.path / "library" / "keeping.json").write_text("{", encoding="utf-8")
    assert health.keeping(store) == health.Keeping()


def test_figures_are_kept_and_texts_only_by_leave(store, bot):
    health.answered(store, "bot", "I can’t help with that.", "A secret?", seconds=2, tokens=8)
    (answer,) = health.answers(bot())
    assert (answer.version, answer.words, answer.declined, answer.speed) == (1, 6, True, 4.0)
    assert "secret" not in (bot().path / "health.jsonl").read_text("utf-8")
    health.keep(store, answers=True, texts=True)
    health.answered(store, "bot@2", "Yes.", "A secret?")
    answer = health.answers(bot())[-1]
    assert (answer.version, answer.question, answer.text) == (2, "A secret?", "Yes.")
    assert health.forget_texts(store, "bot") == 1
    assert "secret" not in (bot().path / "health.jsonl").read_text("utf-8")
    assert [answer.words for answer in health.answers(bot())] == [6, 1]
    assert health.forget_texts(store, "bot") == 0


def test_an_answer_is_kept_with_every_version_that_the_run_is(store, bot):
    run = library.find(store, "bot")
    library.add(store, "other", run)
    id = health.answered(store, run.id, "Yes.")
    for name in ("bot", "other"):
        assert [answer.id for answer in health.answers(read(store, name))] == [id]
    assert health.answered(store, "nothing", "Yes.") == ""
    (run.path / "result.json").write_text('{"status": "completed", "more": 1}', encoding="utf-8")
    assert health.answered(store, run.id, "Yes.") == ""  # it is no version any more


def test_the_last_thumb_counts_and_can_be_taken_back(store, bot):
    id = health.answered(store, "bot", "Yes.")
    for thumb in ("up", "down"):
        health.rate(store, id, thumb)
    assert health.answers(bot())[0].thumb == "down"
    health.rate(store, id, "")
    assert health.answers(bot())[0].thumb == ""
    with pytest.raises(UserError, match="thumb"):
        health.rate(store, id, "great")
    for foreign in (store, Store("ben")):
        with pytest.raises(NotFound):
            health.rate(foreign, "nowhere" if foreign == store else id, "up")


def put(store, number, at, words=5, thumb="", declined=False):
    """An answer as if it had been given then."""
    file = read(store, "bot").path / "health.jsonl"
    known = list(read_jsonl(file))
    id = str(len(known))
    rows = [{"answer": id, "version": number, "at": at, "by": "chat", "words": words,
             "declined": declined, "seconds": 1.0, "tokens": 10}]  # fmt: skip
    rows += [{"rate": id, "thumb": thumb, "at": at}] if thumb else []
    write_jsonl(file, [*known, *rows])


def test_weeks_begin_on_monday_and_tell_medians(store, bot):
    sunday = time.mktime((2026, 11, 22, 23, 59, 0, 0, 0, -1))
    for at, words, thumb in ((sunday, 4, "up"), (sunday + 120, 6, "down"), (sunday + DAY, 9, "")):
        put(store, 1, at, words, thumb)
    put(store, 2, sunday + 2 * DAY, 30, "up", declined=True)
    newest, before = health.by_week(health.answers(bot()))
    assert time.localtime(newest.begins)[:4] == (2026, 11, 23, 0)
    assert (newest.versions, before.versions) == ((1, 2), (1,))
    assert before.summary == health.Summary(answers=1, up=1, words=4, speed=10.0)
    told = newest.summary
    assert (told.answers, told.up, told.down, told.declined, told.words) == (3, 1, 1, 1, 9)


def give_card(store, texts):
    """The current version's report card, with these answers."""
    run = library.find(store, "bot")
    said = [("Yes.", "No.", text) for text in texts]
    report = Report(run)
    report.ask()
    report.finish(card_of("long", said), answers_of("long", said))


def test_drift_is_told_where_chance_does_not_make_it(store, bot):
    five = "One two three four five."
    give_card(store, [five] * 40)
    chance = Random(3)
    for _ in range(40):
        put(store, 1, time.time() - chance.random() * 20 * DAY, words=5)
    assert health.drift(bot()) == []
    for at in range(40):
        put(store, 1, time.time(), words=12 + at % 5, declined=at % 2 == 0)
    kinds = {warning.kind: warning for warning in health.drift(bot())}
    assert kinds.keys() == {"declined", "words"}
    assert kinds["declined"].before == 0
    assert kinds["declined"].now == pytest.approx(20 / 80)
    assert kinds["words"].now > 1.25 * kinds["words"].before == 6.25
    assert all(warning.chance < 0.025 for warning in kinds.values())
    # What was long ago, or another version's, says nothing of this one now.
    assert health.drift(bot(), now=time.time() + 60 * DAY) == []
    library.make_current(store, "bot", 2)
    assert health.drift(bot()) == []


def test_a_difference_that_chance_makes_or_that_is_small_is_no_warning(store, bot):
    give_card(store, ["I can’t say."] + ["One two three four five."] * 19)
    for at in range(20):
        put(store, 1, time.time(), words=6, declined=at < 3)  # 15 % beside 5 %, of so few
    assert health.drift(bot()) == []  # 6 words beside 5: sure, and too little to mind
    for _ in range(300):
        put(store, 1, time.time(), words=6, declined=False)
    assert health.drift(bot()) == []


def test_two_versions_are_compared_since_a_moment_and_honestly(store, bot):
    now = time.time()
    for at in range(9):
        put(store, 1, now, thumb="up" if at < 2 else "down")
        put(store, 2, now, thumb="up")
    found = health.beside(health.answers(bot()), 1, 2)
    assert found.chance < 0.05
    assert (found.enough, found.better) == (False, None)  # fewer than ten of each
    put(store, 1, now, thumb="down")
    put(store, 2, now, thumb="up")
    assert health.beside(health.answers(bot()), 1, 2).better == "second"
    assert health.beside(health.answers(bot()), 2, 1).better == "first"
    assert health.beside(health.answers(bot()), 1, 2, since=now + 1).first.answers == 0
    share, low, high = health.summary(health.answers(bot())).liked
    assert low < share == 12 / 20 < high


@pytest.mark.parametrize(
    "text",
    ["", "  \n", "I can't help with that.", "I’m sorry, but I cannot answer.", "We won't do this.",
     "As an AI, I have no opinion.", "Ich kann Ihnen dabei leider nicht helfen.",
     "Leider kann ich dazu nichts sagen, und das darf ich auch nicht.",
     "Je ne peux pas répondre.", "Lo siento, no puedo ayudarte.", "Non posso dirlo."],
)  # fmt: skip
def test_answers_that_decline(text):
    assert declines(text)


@pytest.mark.parametrize(
    "text",
    ["Yes, from Monday to Saturday.", "I am sorry to hear that. We send a new one.",
     "I can't recommend it enough.", "You cannot go wrong with roses.",
     "I can not only answer that but show you.",
     "Nicht am Sonntag.", "Es tut mir leid, dass das passiert ist. Wir liefern neu.",
     "x" * 130 + " I can't help."],
)  # fmt: skip
def test_answers_that_do_not_decline(text):
    assert not declines(text)


def test_an_answer_that_can_t_be_kept_is_given_all_the_same(store, bot, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(health, "add_lines", full)
    assert health.answered(store, "bot", "Yes.") == ""
    assert health.answers(bot()) == ()
