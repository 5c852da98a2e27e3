"""Work that a page waits for, and what its buttons do to it."""

import gradio as gr
import pytest
from starlette.requests import Request as StarletteRequest

from core.users import Users
from ui import logins
from ui.working import call_off, followed, is_waiting, under_way


def request(page: str) -> gr.Request:
    return gr.Request(session_hash=page)


def test_a_page_calls_off_all_that_it_waits_for_and_nothing_of_another():
    with under_way(request("a")) as one, under_way(request("a")) as other:
        with under_way(request("b")) as elsewhere:
            call_off(request("a"), "stop")
            assert (one.called_off, other.called_off, elsewhere.called_off) == ("stop", "stop", "")
        assert not is_waiting(request("b"))
        assert is_waiting(request("a"))
    assert not is_waiting(request("a"))
    with under_way(request("a")) as anew:
        assert not anew.called_off


def test_another_person_calls_nothing_off_under_the_same_session(tmp_path, monkeypatch):
    monkeypatch.setenv("GRAFT_AUTH", str(tmp_path / "users.json"))
    known = Users(tmp_path / "users.json")
    for name in ("anna", "ben"):
        known.put(name, "correct horse")

    def asked(name):
        scope = {"type": "http", "headers": [], logins.USER: name}
        return gr.Request(StarletteRequest(scope), session_hash="a")

    with under_way(asked("anna")) as work:
        assert not is_waiting(asked("ben"))
        call_off(asked("ben"))
        assert work.called_off == ""
        call_off(asked("anna"))
        assert work.called_off == "cancel"


def test_work_that_fails_is_waited_for_no_more():
    with pytest.raises(ZeroDivisionError), under_way(request("a")):
        _ = 1 / 0
    assert not is_waiting(request("a"))


def test_work_is_asked_to_end_with_the_generator_that_follows_it():
    heard = []

    def work(progress):
        while progress(0.5):
            pass
        heard.append("the end")

    following = followed(work, lambda share: share)
    assert next(following) == 0.5
    following.close()
    assert heard == ["the end"]
