"""Somebody votes blind: ten times, by keys and by clicks, and then reads the verdict."""

import re

import pytest
from playwright.sync_api import Page, expect

from core import ballots
from core.files import append_jsonl, write_jsonl
from core.models import STARTER
from core.whole import fingerprint
from tests.browser import stage
from tests.core.test_generate import save_adapter
from ui import actions

expect.set_options(timeout=60_000)

VOTES = ["1", "2", "ArrowLeft", "ArrowRight", "3", "Left", "Right", "Tie", "Both bad", "4"]


def asks(number):
    """A question that has a short answer."""
    colours = ("tomato", "lemon", "leaf", "carrot", "banana", "sky", "rose", "cherry")
    return {
        "messages": [
            {"role": "user", "content": f"What colour is a {colours[number]}?"},
            {"role": "assistant", "content": "You know it."},
        ]
    }


@pytest.fixture
def run(store):
    """A finished run of the starter that kept eight questions back; its adapter changes a little,
    by chance."""
    made = stage.add_run(store, "Flowers", upto=3)
    write_jsonl(made.path / "eval.jsonl", [asks(number) for number in range(8)])
    save_adapter(STARTER, made.path / "adapter", std=0.03)
    made.finish("completed", seconds=360)
    yield made
    actions.chat_server().close()


def sides(page: Page) -> dict[str, str]:
    """What stands left and right, by its name."""
    return {
        name: page.get_by_role("region", name=name).locator("p").inner_text()
        for name in ("Left", "Right")
    }


def cast(page: Page, run, how: str) -> None:
    before = len(ballots.read(run).cast)
    if len(how) == 1 or how.startswith("Arrow"):
        page.keyboard.press(how)
    else:
        page.get_by_role("button", name=re.compile(f"^{how}")).click()
    for _ in range(200):
        if len(ballots.read(run).cast) > before:
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"{how} was no vote")


def test_ten_votes_and_a_verdict(page: Page, address, run):
    page.goto(f"{address}runs?run={run.id}")
    page.get_by_role("link", name="Vote blind").click()
    seen = []
    for count, how in enumerate(VOTES, 1):
        expect(page.get_by_role("group", name="Your vote")).to_be_visible()
        pair = ballots.read(run).open[0]
        shown = {
            "Left": pair.answers[pair.left].strip() or "It said nothing.",
            "Right": pair.answers[pair.right].strip() or "It said nothing.",
        }
        expect(page.get_by_text(pair.question)).to_be_visible()
        assert {name: text.split() for name, text in sides(page).items()} == {
            name: text.split() for name, text in shown.items()
        }
        html = page.content()
        assert not re.search(r"\btuned\b|\bbase\b", html.split("<body")[1].split("<script")[0])
        seen.append(pair.row)
        cast(page, run, how)
        expect(page.get_by_text(f"{count} vote{'s' * (count > 1)} so far")).to_be_visible()
    assert sorted(seen[:8]) == list(range(8))

    # What was voted is there after a reload, and the last vote can be taken back.
    page.reload()
    expect(page.get_by_text("10 votes so far")).to_be_visible()
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_text("9 votes so far")).to_be_visible()
    expect(page.get_by_role("group", name="Your vote")).to_be_visible()
    # Who writes a question does not vote with its figures.
    page.get_by_label("Or ask a question of your own").press_sequentially("Is 4 more than 3?")
    page.get_by_role("button", name="Ask both").click()
    expect(page.locator(".ballot .turn").get_by_text("Is 4 more than 3?")).to_be_visible()
    expect(page.get_by_role("group", name="Your vote")).to_be_visible()
    assert len(ballots.read(run).cast) == 9
    page.get_by_role("heading", name="Vote blind").click()  # out of the field
    cast(page, run, "3")

    tally = ballots.read(run).tally
    page.get_by_role("button", name="Show the verdict").click()
    verdict = page.get_by_role("region", name="Verdict")
    expect(verdict.get_by_role("heading", name="Not yet clear")).to_be_visible()
    expect(verdict).to_contain_text(f"Yours preferred in {tally.wins} of 6 (")
    expect(verdict).to_contain_text("likely between")
    assert tally.decided == 6
    assert (tally.ties, tally.bad) == (3, 1)
    # A key does not vote on what is hidden, and what was shown stays.
    page.keyboard.press("1")
    page.get_by_role("button", name="Go on voting").click()
    expect(page.get_by_text("10 votes so far")).to_be_visible()
    expect(page.get_by_role("button", name="Undo")).to_have_count(0)


def put_votes(run, wins: int, losses: int, adapter: str = "") -> None:
    """Votes as the page keeps them."""
    question = {"role": "user", "content": "Open on Sundays?"}
    for number in range(wins + losses):
        append_jsonl(run.path / "votes.jsonl", {
            "pair": str(number), "row": 0, "messages": [question], "left": "tuned",
            "adapter": adapter,
            "answers": {"base": "What?", "tuned": f"No, {number} o'clock is too late."},
        })  # fmt: skip
        choice = "left" if number < wins else "right"
        append_jsonl(run.path / "votes.jsonl", {"vote": str(number), "choice": choice})


def test_votes_are_a_click_away_from_a_training(page: Page, address, run, store):
    adapter = fingerprint(run.adapter)
    put_votes(run, 17, 7, adapter)
    # Enough to vote on is there, so nothing is answered.
    for left in (0, 1):
        asked = ballots.typed(f"Is {left} a number?")
        ballots.add(run, asked, {"base": "Yes.", "tuned": "No."}, adapter)
    page.goto(f"{address}vote?run={run.id}")
    page.get_by_role("button", name="Show the verdict").click()
    verdict = page.get_by_role("region", name="Verdict")
    expect(verdict.get_by_role("heading", name="Yours is better")).to_be_visible()
    expect(verdict).to_contain_text(
        "Yours preferred in 17 of 24 (71 %, likely between 51 and 85 %)."
    )
    page.get_by_text("Which was which").click()
    expect(page.get_by_text("Yours, left").first).to_be_visible()
    page.get_by_role("button", name="Keep as a dataset").click()
    expect(page.get_by_text("“Votes on Flowers” has 24 preferences now.")).to_be_visible()
    page.get_by_role("button", name="Teach it what you prefer").click()
    expect(page.get_by_role("button", name="Start training")).to_be_enabled()
    for step in ("Model", "Settings"):
        page.get_by_role("button", name=f"Next: {step}").click()
    expect(page.get_by_text("It goes on from what Flowers learned.")).to_be_visible()
    page.get_by_role("button", name="Fine-tune the settings").click()
    expect(page.get_by_label("Go on from")).to_have_value(run.id)
    made = store.datasets()
    assert [dataset.facts["shape"] for dataset in made] == ["preference"] * 2
    row = next(made[0].rows())
    assert (row["chosen"], row["rejected"]) == ("No, 0 o'clock is too late.", "What?")


@pytest.mark.parametrize("page", ["phone light", "desktop dark"], indirect=True)
def test_nothing_reaches_out_of_the_page(page: Page, address, store):
    run = stage.finish(stage.add_run(store, "A name that is long, " * 3), "completed")
    put_votes(run, 3, 2)
    answers = {"base": "W" * 300, "tuned": "A long answer. " * 30}
    for _ in range(2):
        ballots.add(run, ballots.typed("Q" * 200), answers)
    page.goto(f"{address}vote?run={run.id}")
    expect(page.get_by_role("group", name="Your vote")).to_be_visible()
    assert stage.reaching_out(page) == []
    page.get_by_role("button", name="Show the verdict").click()
    expect(page.get_by_role("region", name="Verdict")).to_be_visible()
    assert stage.reaching_out(page) == []


def test_without_a_finished_run_there_is_a_way_to_one(page: Page, address, store):
    page.goto(f"{address}vote")
    expect(page.get_by_text("Nothing to vote on yet")).to_be_visible()
    expect(page.get_by_role("link", name="Teach a model")).to_have_attribute("href", "new")


def test_what_goes_wrong_is_said_and_can_be_tried_again(page: Page, address, store):
    run = stage.finish(stage.add_run(store, "Flowers"), "completed")
    page.goto(f"{address}vote?run={run.id}")
    again = page.get_by_role("button", name="Try again")
    expect(page.get_by_text("adapter_model.safetensors is missing")).to_be_visible()
    ballots.add(run, ballots.next_question(run, ballots.read(run)), {"base": "a", "tuned": "b"})
    again.click()
    expect(page.get_by_role("group", name="Your vote")).to_be_visible()
