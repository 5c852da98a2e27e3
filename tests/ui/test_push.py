"""How it stands with a run on the Hub, as people see it."""

from core.store import Store
from tests.browser import stage
from tests.ui.test_views import HOSTILE, Elements
from ui import push_actions, views


def told(**more):
    there = {"repo": "ada/bot", "private": True, "format": "adapter", "url": "https://hub/ada/bot",
             "commit": "0123456789abcdef", "commit_url": "https://hub/c", "bytes": 3e6,
             "at": 0.0}  # fmt: skip
    pushed = there if more.pop("there", False) else {}
    return {"id": "r", "state": "none", "repo": "bot", "phase": "", "done": 0, "of": 0,
            "error": "", "hint": "", "can_be_made": True, "ready": ["adapter"], "suggested": "bot",
            "has_token": False, "pushed": pushed, "stale": False} | more  # fmt: skip


def test_every_state_says_what_to_do():
    assert "Prepare the adapter or the merged model first" in views.push.status(told(ready=[]))
    sending = told(state="pushing", phase="Sending", done=1e6, of=4e6)
    html = views.push.status(sending)
    assert "Sending… 1.0 MB of 4.0 MB. To bot. You can close this page." in html
    assert 'aria-valuenow="25"' in html
    assert 'data-action="cancel_push" data-id="r"' in html
    assert "the token is asked for anew" in views.push.status(told(state="broken"))
    failed = told(state="failed", error="The Hub does not know this token.", hint="Copy it.")
    assert "could not be sent to bot: The Hub does not know" in views.push.status(failed)
    done = views.push.status(told(state="pushed", there=True))
    assert 'href="https://hub/ada/bot"' in done
    assert "the adapter, 3.0 MB" in done
    assert "only you can see it" in done
    assert "has learned on since" in views.push.status(told(there=True, stale=True))


def test_text_of_others_never_becomes_markup():
    for state in ("pushing", "failed", "broken"):
        hostile = dict.fromkeys(("repo", "error", "hint", "phase"), HOSTILE)
        page = Elements(views.push.status(told(state=state, **hostile)))
        assert not {"img", "script"} & {name for name, _ in page.tags}
        assert HOSTILE in page.text
    there = told(there=True)
    there["pushed"] |= dict.fromkeys(("repo", "url", "commit_url", "commit", "format"), HOSTILE)
    page = Elements(views.push.status(there))
    assert not {"img", "script"} & {name for name, _ in page.tags}


def test_a_run_tells_what_can_be_sent(data_dir, monkeypatch):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    store = Store()
    run = stage.add_run(store, "Support bot")
    assert not push_actions.hub_push(store, run.id)["can_be_made"]
    stage.finish(run, "completed")
    found = push_actions.hub_push(store, run.id)
    assert found["can_be_made"]
    assert (found["state"], found["ready"], found["suggested"]) == ("none", [], "Support-bot")
    assert not found["has_token"]
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    assert push_actions.hub_push(store, run.id)["has_token"]
