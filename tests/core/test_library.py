"""Families of runs: numbered versions, which one is current, and what happens to them."""

import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from random import Random

import pytest

from core import changes, library
from core.config import TrainConfig
from core.errors import NotFound, UserError
from core.files import read_jsonl, write_json
from core.store import Store
from core.versions import find
from tests.browser import stage
from tests.cards import LABELLED, card_of, put


@pytest.fixture
def store():
    return Store()


def finished(store, name="Shop", rows=(stage.ROW,), **config):
    """A finished run with an adapter, each of its own."""
    made = store.create_run(TrainConfig(name=name, **config), list(rows), [stage.OTHER])
    write_json(made.path / "adapter" / "adapter_config.json", {})
    made.finish("completed", seconds=time.time())
    return made


@pytest.fixture
def two(store):
    """The family support-bot with two versions; the first is current."""
    runs = [finished(store, f"Bot {number}") for number in (1, 2)]
    for run in runs:
        library.add(store, "Support bot", run)
    return runs


def current(store):
    return library.read(store, "support-bot").current.number


def test_the_first_version_is_current_and_the_next_waits(store, two):
    family = library.read(store, "support-bot")
    assert [version.id for version in family.versions] == ["support-bot@1", "support-bot@2"]
    assert family.current.number == 1
    assert library.find(store, "support-bot").id == two[0].id
    assert library.find(store, "support-bot@2").id == two[1].id
    assert [family.name for family in library.families(store)] == ["support-bot"]


def test_what_is_made_current_answers_at_once_wherever_a_run_is_named(store, two):
    library.make_current(store, "support-bot", 2, "better")
    assert library.find(store, "support-bot").id == two[1].id
    assert find(store, "support-bot").id == two[1].id  # as Compare does
    assert find(store, "support-bot@1").id == two[0].id
    assert find(store, two[0].id).id == two[0].id
    made = library.read(store, "support-bot").log[-1]
    assert (made["do"], made["from"], made["version"], made["why"]) == ("current", 1, 2, "better")
    assert made["by"] == "local"
    assert abs(made["at"] - time.time()) < 60


def test_a_roll_back_leads_to_the_previous_one_and_can_be_undone(store, two):
    with pytest.raises(UserError, match="no earlier version"):
        library.roll_back(store, "support-bot")
    library.make_current(store, "support-bot", 2)
    assert library.roll_back(store, "support-bot", "it was rude").current.number == 1
    assert library.read(store, "support-bot").left == 2
    assert library.undo(store, "support-bot").current.number == 2
    with pytest.raises(UserError, match="no roll back"):
        library.undo(store, "support-bot")
    assert library.roll_back(store, "support-bot").current.number == 1
    with pytest.raises(UserError, match="no earlier version"):
        library.roll_back(store, "support-bot")
    told = [(event["do"], event.get("from"), event["version"]) for event in
            library.read(store, "support-bot").log if event["do"] != "add"]  # fmt: skip
    assert told == [
        ("current", None, 1), ("current", 1, 2), ("back", 2, 1), ("undo", 1, 2), ("back", 2, 1),
    ]  # fmt: skip


def test_back_and_forth_leads_each_time_one_step_back(store, two):
    library.add(store, "support-bot", finished(store, "Bot 3"))
    for number in (2, 1, 3):
        library.make_current(store, "support-bot", number)
    seen = []
    while library.read(store, "support-bot").previous:
        seen.append(library.roll_back(store, "support-bot").current.number)
    assert seen == [1, 2, 1]


def test_the_version_of_a_deleted_run_stays_listed_and_cannot_be_current(store, two):
    library.make_current(store, "support-bot", 2)
    trashed = two[1].delete()
    family = library.read(store, "support-bot")
    assert [version.state for version in family.versions] == ["there", "trashed"]
    with pytest.raises(NotFound, match="in the trash") as refused:
        library.find(store, "support-bot")
    assert "Put its run back" in refused.value.hint
    store.put_back(trashed.id)
    assert library.find(store, "support-bot").id == two[1].id

    two[0].delete()
    with pytest.raises(UserError, match="no earlier version"):  # none that could answer
        library.roll_back(store, "support-bot")
    store.empty_trash()
    family = library.read(store, "support-bot")
    assert [version.state for version in family.versions] == ["deleted", "there"]
    with pytest.raises(NotFound, match="was deleted"):
        library.make_current(store, "support-bot", 1)
    assert library.add(store, "support-bot", finished(store)).number == 3


def test_a_run_that_learned_on_is_no_longer_the_version_that_was_kept(store, two):
    (two[1].path / "result.json").unlink()
    version = library.read(store, "support-bot").version(2)
    assert version.state == "changed"
    two[1].finish("completed", seconds=1.5)
    assert version.state == "changed"
    with pytest.raises(UserError, match="learned on"):
        library.make_current(store, "support-bot", 2)
    assert library.add(store, "support-bot", two[1]).number == 3
    assert library.make_current(store, "support-bot", 3).current.number == 3


def test_only_what_can_answer_is_kept_and_only_once(store, two):
    with pytest.raises(UserError, match="it is interrupted"):
        library.add(store, "support-bot", stage.add_run(store, "Broken off", upto=1))
    with pytest.raises(UserError, match="support-bot@2 already"):
        library.add(store, "support-bot", two[1])
    assert library.add(store, "other", two[1]).id == "other@1"
    assert [version.id for version in library.kept_as(store, two[1].id)] == [
        "other@1", "support-bot@2",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("typed", "name"),
    [("Support bot", "support-bot"), ("  Müller & Söhne! ", "muller-sohne"), ("a" * 99, "a" * 60)],
)
def test_a_name_is_made_of_what_is_typed(typed, name):
    assert library.named(typed) == name


@pytest.mark.parametrize("typed", ["", "客服", "Starter", "base", "20261123-141502-shop", "nul"])
def test_names_that_mean_something_else_are_refused(typed):
    with pytest.raises(UserError) as refused:
        library.named(typed)
    assert refused.value.field == "family"


@pytest.mark.parametrize("id", ["", "nothing", "support-bot@9", "support-bot@", "../../x", "A b"])
def test_what_is_not_there_is_not_found(store, two, id):
    with pytest.raises(NotFound):
        library.find(store, id)


def test_each_owner_has_a_library_of_its_own(store, two):
    ben = Store("ben")
    assert library.families(ben) == []
    for way in ("support-bot", "support-bot@1", "../local/library/support-bot"):
        with pytest.raises(NotFound):
            library.find(ben, way)
    with pytest.raises(NotFound):
        library.make_current(ben, "support-bot", 2)
    assert current(store) == 1
    assert not (ben.path / "library").exists()


def test_notes_and_tags_are_kept_with_the_version(store, two):
    library.describe_version(store, "support-bot", 2, notes=" Friendlier. ")
    version = library.describe_version(store, "support-bot", 2, tags=["shop", " shop ", "de  at"])
    assert (version.notes, version.tags) == ("Friendlier.", ("shop", "de at"))
    with pytest.raises(UserError, match="too many"):
        library.describe_version(store, "support-bot", 2, notes="x" * 9999)
    with pytest.raises(UserError, match="tags"):
        library.describe_version(store, "support-bot", 2, tags=["x" * 99])


def test_a_torn_last_line_never_happened_and_what_follows_stands(store, two):
    library.make_current(store, "support-bot", 2)
    file = library.read(store, "support-bot").path / "log.jsonl"
    file.write_bytes(file.read_bytes()[:-9])
    assert current(store) == 1
    library.describe_version(store, "support-bot", 1, notes="Here still.")
    assert library.read(store, "support-bot").version(1).notes == "Here still."
    assert library.make_current(store, "support-bot", 2).current.number == 2


def test_numbers_are_never_given_twice_by_two_writers(store):
    runs = [finished(store, f"Bot {number}") for number in range(12)]
    with ThreadPoolExecutor(6) as threads:
        kept = list(threads.map(lambda run: library.add(store, "crowd", run).number, runs))
    assert sorted(kept) == list(range(1, 13))
    assert len(library.read(store, "crowd").versions) == 12
    assert library.read(store, "crowd").current.number == 1


def test_a_family_is_removed_and_its_runs_stay(store, two):
    library.remove(store, "support-bot")
    assert library.families(store) == []
    assert [run.id for run in store.runs() if run.adapter]
    with pytest.raises(NotFound):
        library.find(store, "support-bot")


# ---- what changed


def test_rows_settings_and_scores_are_told_from_one_version_to_the_next(store):
    more = stage.row("Do you ship abroad?", "Yes, to Austria.")
    before = finished(store, rows=[stage.ROW, stage.ROW, stage.OTHER], lora_r=8)
    after = finished(store, rows=[stage.OTHER, stage.ROW, more], lora_r=16)
    told = changes.changes(before, after)
    assert (told.added, told.removed) == (1, 1)
    assert told.first_added == (more,)
    assert told.first_removed == (stage.ROW,)
    assert told.settings == {"lora_r": (8, 16)}
    assert told.comparable
    assert changes.changes(after, finished(store)).removed == 2
    turned = [dict(reversed(message.items())) for message in stage.ROW["messages"]]
    other_order = finished(store, rows=[{"messages": turned}, stage.OTHER, more], lora_r=16)
    assert changes.changes(after, other_order).added == 0
    nothing = changes.changes(after, after)
    assert (nothing.added, nothing.removed, nothing.settings) == (0, 0, {})

    assert changes.scores(after) == changes.Scores()
    put(after, card_of("labels", LABELLED, general=(30, 28, 20)))
    scores = changes.scores(after)
    assert scores.kind == "labels"
    assert scores.score == pytest.approx(12 / 14)
    assert (scores.loss, scores.guard) == (0.5, "much")


# ---- gradual rollout


def test_a_share_of_the_keys_gets_the_candidate_and_keeps_it(store, two):
    keys = [f"person {number}" for number in range(2000)]

    def candidates():
        return {key for key in keys if library.pick(store, "support-bot", key).id == two[1].id}

    assert candidates() == set()
    library.roll_out(store, "support-bot", 2, 20, "a try")
    some = candidates()
    assert 0.17 < len(some) / len(keys) < 0.23
    assert candidates() == some
    library.roll_out(store, "support-bot", 2, 60)
    more = candidates()
    assert some < more
    assert 0.56 < len(more) / len(keys) < 0.64
    library.roll_out(store, "support-bot", 2, 100)
    assert candidates() == set(keys)
    assert library.find(store, "support-bot").id == two[0].id  # the name is the current one
    library.end_rollout(store, "support-bot")
    assert candidates() == set()
    with pytest.raises(UserError, match="no rollout"):
        library.end_rollout(store, "support-bot")


def test_a_rollout_ends_with_what_becomes_current_and_with_a_roll_back(store, two):
    third = finished(store, "Bot 3")
    library.add(store, "support-bot", third)
    library.roll_out(store, "support-bot", 2, 50)
    since = library.read(store, "support-bot").rollout.since
    library.roll_out(store, "support-bot", 2, 70)
    assert library.read(store, "support-bot").rollout.since == since
    assert library.make_current(store, "support-bot", 2).rollout is None
    library.roll_out(store, "support-bot", 3, 50)
    assert library.roll_back(store, "support-bot").rollout is None


def test_while_the_candidate_is_deleted_the_current_one_answers(store, two):
    library.roll_out(store, "support-bot", 2, 100)
    trashed = two[1].delete()
    assert library.pick(store, "support-bot", "anna").id == two[0].id
    store.put_back(trashed.id)
    assert library.pick(store, "support-bot", "anna").id == two[1].id


def test_the_gate_holds_for_a_rollout_too(store, two):
    library.set_gate(store, "support-bot", {"forgetting": "safe"})
    with pytest.raises(UserError, match="no report card"):
        library.roll_out(store, "support-bot", 2, 10)
    family = library.roll_out(store, "support-bot", 2, 10, "only us", override=True)
    assert family.log[-1]["over"]
    assert library.roll_out(store, "support-bot", 2, 20).rollout.share == 20  # it is in already


@pytest.mark.parametrize("share", [0, -1, 100.5, float("nan")])
def test_no_share_is_no_rollout(store, two, share):
    with pytest.raises(UserError, match="share"):
        library.roll_out(store, "support-bot", 2, share)


# ---- whatever is killed meanwhile

SWITCHING = """
import sys
from core import library
from core.store import Store
print("ready", flush=True)
while True:
    now = library.read(Store(), "support-bot").current.number
    library.make_current(Store(), "support-bot", 3 - now, "again and again")
"""


@pytest.mark.long
def test_who_is_killed_while_making_current_leaves_the_old_one_or_the_new_one(store, two):
    chance = Random(7)
    for _ in range(12):
        switching = subprocess.Popen(
            [sys.executable, "-c", SWITCHING], stdout=subprocess.PIPE, env={**os.environ}
        )
        assert switching.stdout.readline() == b"ready\n"
        time.sleep(0.05 + chance.random() / 5)
        switching.kill()
        switching.wait()
        switching.stdout.close()
        family = library.read(store, "support-bot")
        changed = [event for event in family.log if event["do"] == "current"]
        assert family.current.number == changed[-1]["version"]
        assert all(after["from"] == before["version"] for before, after in pairwise(changed))
        assert library.find(store, "support-bot").id == two[family.current.number - 1].id
        library.make_current(store, "support-bot", 3 - family.current.number)  # it goes on
    lines = list(read_jsonl(family.path / "log.jsonl", forgiving=True))
    assert len(lines) > 12


def test_a_family_that_is_removed_while_they_are_listed_is_not_there(store, two, monkeypatch):
    library.add(store, "other", finished(store, "Other"))
    read = library.read

    def slow(store, name):
        if name == "other":
            shutil.rmtree(store.path / "library" / "other")
        return read(store, name)

    monkeypatch.setattr(library, "read", slow)
    assert [family.name for family in library.families(store)] == ["support-bot"]
