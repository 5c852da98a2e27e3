"""The door, around an app that only says who was let in."""

import re
import time

import pytest
from starlette.responses import HTMLResponse
from starlette.testclient import TestClient

from core.users import Users
from ui import logins

PASSWORD = "correct horse"
BROWSER = {"accept": "text/html"}
SESSION = "graft-session-80"


async def inside(scope, receive, send):
    await HTMLResponse(f"in as {scope.get(logins.USER, 'nobody')}")(scope, receive, send)


@pytest.fixture
def known(tmp_path):
    known = Users(tmp_path / "users.json")
    known.put("anna", PASSWORD)
    known.put("ben", "another horse")
    return known


@pytest.fixture
def door(known):
    return TestClient(
        logins.Logins(inside, known, "the secret of this process"), follow_redirects=False
    )


def log_in(door, name="anna", password=PASSWORD, to="/", **options):
    form = {"username": name, "password": password}
    return door.post("/login", params={"to": to}, data=form, headers=BROWSER, **options)


def test_nobody_comes_in_without_a_name(door):
    assert door.get("/gradio_api/info").status_code == 401
    assert door.post("/gradio_api/queue/join", json={}).status_code == 401
    led = door.get("/runs?run=a&from=3", headers=BROWSER)
    assert (led.status_code, led.headers["location"]) == (
        303,
        "login?to=/runs%3Frun%3Da%26from%3D3",
    )
    assert door.get("/a/b/", headers=BROWSER).headers["location"].startswith("../../login?")


def test_a_login_leads_to_where_one_wanted_and_lets_in(door):
    page = door.get("/login?to=/runs%3Frun%3Da").text
    assert "to=/runs%3Frun%3Da" in page
    led = log_in(door, to="/runs?run=a")
    assert (led.status_code, led.headers["location"]) == (303, "./runs?run=a")
    cookies = led.headers.get_list("set-cookie")
    assert [cookie.partition("=")[0] for cookie in cookies] == [SESSION, "graft-known-80"]
    for cookie in map(str.lower, cookies):
        assert "httponly" in cookie
        assert "samesite=lax" in cookie
        assert "secure" not in cookie
    page = door.get("/runs", headers=BROWSER)
    assert page.text == "in as anna"
    assert page.headers["cache-control"] == "no-store"


def test_over_tls_the_cookie_is_for_tls_only(known):
    door = TestClient(logins.Logins(inside, known, ""), base_url="https://graft.example")
    led = log_in(door, follow_redirects=False)
    assert all("secure" in cookie.lower() for cookie in led.headers.get_list("set-cookie"))


@pytest.mark.parametrize(
    "to",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example",
        "javascript:alert(1)",
        "",
        "//[",
        "/a\r\nset-cookie: a=b",
    ],
)
def test_a_login_leads_to_no_other_server(door, to):
    assert log_in(door, to=to).headers["location"] == "./"


def test_a_wrong_password_is_told_and_does_not_say_whose(door):
    refusals = {log_in(door, name, "wrong").text for name in ("anna", "nobody")}
    assert len({re.sub('value=".*?"', "", text) for text in refusals}) == 1
    assert "belong together" in refusals.pop()
    assert door.get("/", headers=BROWSER).status_code == 303


def test_what_is_typed_as_a_name_never_becomes_markup(door):
    assert "<script>alert" not in log_in(door, '"><script>alert(1)</script>', "wrong").text


def test_after_some_wrong_tries_the_right_one_waits_too(door):
    assert [log_in(door, password="wrong").status_code for _ in range(5)] == [401] * 5
    assert log_in(door).status_code == 429
    assert "Wait five minutes" in log_in(door).text
    assert log_in(door, "ben", "another horse").status_code == 303


def test_the_tries_of_others_at_the_same_address_shut_nobody_out_of_their_own_browser(door):
    log_in(door)
    door.post("/logout")
    stranger = TestClient(door.app, follow_redirects=False)
    for _ in range(5):
        log_in(stranger, password="wrong")
    assert log_in(stranger).status_code == 429
    assert log_in(door).status_code == 303
    # What is known of a browser is of use for one name, and for as many tries.
    log_in(stranger, "ben", "another horse")
    assert log_in(stranger).status_code == 429
    assert [log_in(door, password="wrong").status_code for _ in range(5)] == [401] * 5
    assert log_in(door).status_code == 429


def test_a_program_that_is_at_work_is_not_shut_out_by_the_tries_of_others(door, monkeypatch):
    now = time.time()
    monkeypatch.setattr(logins.time, "time", lambda: now)
    ben = {"auth": ("ben", "another horse")}
    assert door.get("/", **ben).text == "in as ben"
    for _ in range(5):
        log_in(door, "ben", "wrong")
    for _ in range(3):
        now += logins.REMEMBERED - 1
        assert door.get("/", **ben).text == "in as ben"


def test_two_grafts_on_one_host_have_sessions_of_their_own(known):
    """Browsers send the cookies of a host to each of its ports."""
    one, other = (
        TestClient(logins.Logins(inside, known, ""), f"http://localhost:{port}")
        for port in (7860, 7861)
    )
    log_in(one, follow_redirects=False)
    log_in(other, follow_redirects=False)
    both = {**one.cookies, **other.cookies}
    for client in (one, other):
        client.cookies = both
        assert client.get("/").text == "in as anna"


def test_a_session_that_is_not_used_ends(door, monkeypatch):
    log_in(door)
    assert door.get("/").text == "in as anna"
    monkeypatch.setattr(logins, "UNUSED", -1)
    assert door.get("/").status_code == 401
    monkeypatch.undo()
    assert door.get("/").status_code == 401


def test_a_logout_ends_it_and_a_link_to_it_does_not(door):
    log_in(door)
    token = door.cookies[SESSION]
    door.get("/logout")
    assert door.get("/").text == "in as anna"
    assert door.post("/logout").headers["location"] == "login"
    door.cookies.set(SESSION, token)  # which somebody kept
    assert door.get("/").status_code == 401


def test_who_is_removed_is_out_at_once(door, known):
    log_in(door)
    known.remove("anna")
    assert door.get("/").status_code == 401
    assert door.get("/", auth=("anna", PASSWORD)).status_code == 401


def test_programs_send_name_and_password(door, known):
    assert door.get("/", auth=("ben", "another horse")).text == "in as ben"
    assert door.get("/", auth=("ben", PASSWORD)).status_code == 401
    assert door.get("/", headers={"authorization": "Basic ÿ".encode("latin-1")}).status_code == 401
    told = door.post("/login", data={"username": "ben", "password": "another horse"})
    assert told.json() == {"success": True}
    assert door.post("/login", data={"username": "ben", "password": "x"}).status_code == 400


def test_a_program_s_new_password_counts_at_once(door, known):
    assert door.get("/", auth=("ben", "another horse")).text == "in as ben"
    known.put("ben", "a third horse")
    assert door.get("/", auth=("ben", "another horse")).status_code == 401
    assert door.get("/", auth=("ben", "a third horse")).text == "in as ben"


def test_a_session_that_has_ended_does_not_stand_before_a_right_password(door):
    door.cookies.set(SESSION, "of yesterday")
    assert door.get("/", auth=("ben", "another horse")).text == "in as ben"


def test_a_users_file_that_is_damaged_for_a_moment_ends_no_session(door, known):
    log_in(door)
    whole = known.path.read_text()
    known.path.write_text(whole[: len(whole) // 2])
    assert door.get("/").status_code == 503
    assert "damaged" in log_in(door).text
    known.path.write_text(whole)
    assert door.get("/").text == "in as anna"


def test_what_is_no_form_of_the_login_is_refused(door):
    many = {f"field{n}": "x" for n in range(50)}
    assert door.post("/login", data=many).status_code == 400
    header = {"content-type": "multipart/form-data"}
    assert door.post("/login", content=b"x", headers=header).status_code == 400


def test_who_types_names_that_nobody_has_shuts_nobody_out(door):
    for number in range(31):
        log_in(door, f"nobody-{number}", "wrong")
    assert log_in(door).status_code == 303


def test_the_server_itself_is_nobody_and_others_do_not_know_its_secret(door):
    itself = {logins.GRAFT_ITSELF: "the secret of this process"}
    assert door.get("/", headers=itself).text == "in as nobody"
    assert door.get("/", headers=itself, auth=("anna", PASSWORD)).text == "in as anna"
    assert door.get("/", headers={logins.GRAFT_ITSELF: "guessed"}).status_code == 401
    assert door.get("/", headers={logins.GRAFT_ITSELF: ""}).status_code == 401
    odd = {logins.GRAFT_ITSELF: "é".encode("latin-1")}
    assert door.get("/", headers=odd).status_code == 401
