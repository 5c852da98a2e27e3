"""The door: with a users file, nobody comes in without a name and a password.

A browser gets a cookie for its session, which ends after hours without use, with the server, and
when its person is removed from the file. Programs send name and password with each request (HTTP
Basic), or log in like a browser, as Gradio's client does with `auth=(name, password)`.

Wrong passwords are counted by where they come from: the address, which many may share, or for a
person's own name the browser in which they have logged in before. So nobody else's tries shut them
out there.
"""

import asyncio
import base64
import hashlib
import logging
import re
import secrets
import time
from urllib.parse import quote

import gradio as gr
from gradio_client import Client
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.errors import Damaged, UserError
from core.settings import settings
from core.store import LOCAL
from core.users import User, Users, users
from ui import views

log = logging.getLogger(__name__)

UNUSED = 12 * 3600  # seconds after which a session ends
KNOWN = 30 * 24 * 3600  # seconds after its last login for which a browser is known
REMEMBERED = 600  # seconds without use for which a program's password is not hashed again
TRIES = RateLimitItemPerMinute(5, 5)  # that fail, for one name from one place (_from)
TRIES_IN_ALL = RateLimitItemPerMinute(30, 5)  # from one place
STARTED = "/gradio_api/startup-events"  # Gradio asks itself this as it starts
USER = "graft.user"  # in the scope of a request: who asks
GRAFT_ITSELF = "x-graft-itself"  # header with which this server's MCP tools ask this server


def user(request: gr.Request | Request) -> User | None:
    """Who asks; None where Graft runs without a login. Raises UserError for nobody."""
    file = settings().auth
    if file is None:
        return None
    asked = request.request if isinstance(request, gr.Request) else request
    name = asked.scope.get(USER) if asked is not None else None
    found = users(file).all().get(name) if name else None
    if found is None:
        raise UserError("You are not logged in.", "Log in again.")
    return found


def owner(request: gr.Request | Request) -> str:
    """Whose data the caller works with. Without a login everybody is `local`."""
    caller = user(request)
    return caller.name if caller else LOCAL


def let_in_itself(demo: gr.Blocks, itself: str) -> None:
    """Gradio's MCP tools ask this server through a client, which would stand before the door too.

    What they ask for goes with the header of who asked them.
    """
    demo.mcp_server_obj._client_instance = Client(
        demo.local_url, download_files=False, verbose=False, analytics_enabled=False,
        _skip_components=False, headers={"x-gradio-user": "mcp", GRAFT_ITSELF: itself},
    )  # fmt: skip


class Logins:
    """ASGI middleware: lets in who has logged in, and puts the name into the request's scope.

    `itself` is a secret of this process, with which the server's own MCP tools may ask it for what
    belongs to nobody.
    """

    def __init__(self, app: ASGIApp, users: Users, itself: str) -> None:
        self.app, self.users, self.itself = app, users, itself
        self._sessions: dict[str, tuple[User, float]] = {}  # by the token's hash; last used
        self._programs: dict[str, tuple[User, float]] = {}  # by name and password's hash; last used
        self._browsers: dict[str, tuple[str, float]] = {}  # by a mark's hash: who logged in, when
        self._tries = MovingWindowRateLimiter(MemoryStorage())
        self._one_at_a_time = asyncio.Lock()  # a hash takes 64 MiB

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        try:
            response = await self._met(Request(scope, receive))
        except Damaged as damage:  # of the users file, by a hand that is still at it
            response = JSONResponse({"detail": str(damage)}, 503)
        await (response or self.app)(scope, receive, _unkept(send))

    async def _met(self, request: Request) -> Response | None:
        """What is said at the door; None lets the request in, with the name in its scope."""
        response: Response | None = None
        match request.method, request.scope["path"].rstrip("/"):
            case "GET" | "HEAD", "/login":
                response = self._page(request)
            case "POST", "/login":
                response = await self._log_in(request)
            case _, "/logout":
                response = self._log_out(request)
            case "GET", path if path == STARTED:
                pass
            case _:
                try:
                    name = await self._name(request)
                except _Refused as refused:
                    name, response = "", JSONResponse({"detail": str(refused)}, refused.status)
                itself = request.headers.get(GRAFT_ITSELF, "").encode()
                if name:
                    request.scope[USER] = name
                elif response is None and not secrets.compare_digest(itself, self.itself.encode()):
                    response = _to_the_door(request)
        return response

    # ---- who it is

    async def _name(self, request: Request) -> str:
        """Who asks, "" for nobody. Raises _Refused for a wrong name or password."""
        now = time.time()
        if token := request.cookies.get(cookie("session", request)):
            found, used = self._sessions.get(_hash(token), (None, 0.0))
            if found and self._is_same(found) and now - used <= UNUSED:
                self._sessions[_hash(token)] = found, now
                return found.name
            self._sessions.pop(_hash(token), None)
        if given := _basic(request):
            found, used = self._programs.get(_hash(":".join(given)), (None, 0.0))
            if not (found and self._is_same(found) and now - used <= REMEMBERED):
                found = await self._check(request, *given)
                self._programs[_hash(":".join(given))] = found, now
            return found.name
        return ""

    def _is_same(self, found: User) -> bool:
        """Whether the person is there still, and with the same password."""
        now = self.users.all().get(found.name)
        return now is not None and now.password == found.password

    async def _check(self, request: Request, name: str, password: str) -> User:
        """The person with this name and password. Raises _Refused."""
        place = self._from(request, name)
        async with self._one_at_a_time:
            if not (self._tries.test(TRIES, name, place) and self._tries.test(TRIES_IN_ALL, place)):
                raise _Refused("Too many tries. Wait five minutes, then try again.", 429)
            found = await run_in_threadpool(self.users.check, name, password)
            if found is None:
                self._tries.hit(TRIES, name, place)
                if name in self.users.all():  # who mistypes their own name shuts nobody out
                    self._tries.hit(TRIES_IN_ALL, place)
                log.warning("A login as %r from %s failed.", name[:40], address(request))
                raise _Refused("This name and this password don't belong together.", 401)
            return found

    def _from(self, request: Request, name: str) -> str:
        """What tries with this name are counted by: the browser known for it, or the address."""
        mark = _hash(request.cookies.get(cookie("known", request), ""))
        known, logged_in = self._browsers.get(mark, ("", 0.0))
        return mark if known == name and time.time() - logged_in <= KNOWN else address(request)

    # ---- the door itself

    def _page(
        self, request: Request, problem: str = "", name: str = "", status: int = 200
    ) -> Response:
        to = _within(request.query_params.get("to", ""))
        return HTMLResponse(views.login.page(problem, name, to), status)

    async def _log_in(self, request: Request) -> Response:
        """A form from a browser is led on to where it wanted; a program gets {"success": true}."""
        try:
            async with request.form(max_files=0, max_fields=10) as form:
                name, password = (str(form.get(key, "")) for key in ("username", "password"))
        except (HTTPException, MultiPartException):
            return JSONResponse({"detail": "This is not the form of the login."}, 400)
        browser = "text/html" in request.headers.get("accept", "")
        try:
            found = await self._check(request, name.strip(), password)
        except _Refused as refused:
            if browser:
                return self._page(request, str(refused), name, refused.status)
            # Gradio's client takes 400 for a wrong password.
            status = 400 if refused.status == 401 else refused.status
            return JSONResponse({"detail": str(refused)}, status)
        token, mark, now = secrets.token_urlsafe(32), secrets.token_urlsafe(32), time.time()
        self._forget_old()
        self._sessions[_hash(token)] = found, now
        self._browsers[_hash(mark)] = found.name, now
        to = _within(request.query_params.get("to", ""))
        response: Response = (
            RedirectResponse(f".{to}", 303) if browser else JSONResponse({"success": True})
        )
        secure = request.url.scheme == "https"
        for kind, value, kept in (("session", token, None), ("known", mark, KNOWN)):
            response.set_cookie(
                cookie(kind, request), value, kept, httponly=True, samesite="lax", secure=secure
            )
        return response

    def _log_out(self, request: Request) -> Response:
        if request.method != "POST":  # a link on somebody's page must not
            return RedirectResponse("./", 303)
        name = cookie("session", request)
        self._sessions.pop(_hash(request.cookies.get(name, "")), None)
        response = RedirectResponse("login", 303)
        response.delete_cookie(name)
        return response

    def _forget_old(self) -> None:
        now = time.time()
        self._sessions = {k: v for k, v in self._sessions.items() if now - v[1] <= UNUSED}
        self._programs = {k: v for k, v in self._programs.items() if now - v[1] <= REMEMBERED}
        self._browsers = {k: v for k, v in self._browsers.items() if now - v[1] <= KNOWN}


def cookie(kind: str, request: Request) -> str:
    """The name of a cookie: browsers keep them by host, and two Grafts may listen on one."""
    _, port = request.scope.get("server") or ("", 0)
    return f"graft-{kind}-{port}"


class _Refused(Exception):
    def __init__(self, words: str, status: int) -> None:
        super().__init__(words)
        self.status = status


def _to_the_door(request: Request) -> Response:
    """A page leads to the login and from there to itself; anything else is told."""
    if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
        path, query = request.scope["path"], request.url.query
        here = quote(f"{path}?{query}" if query else path)
        return RedirectResponse(f"{'../' * (path.count('/') - 1)}login?to={here}", 303)
    return JSONResponse({"detail": "You are not logged in."}, 401)


def _unkept(send: Send) -> Send:
    """A page is not kept by the browser: going back after a logout would show it."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            if headers.get("content-type", "").startswith("text/html"):
                headers["cache-control"] = "no-store"
        await send(message)

    return sent


def _within(to: str) -> str:
    """A path of this server, else its root: nobody is led to another one."""
    return to if re.fullmatch(r"/(?!/)[^\\\x00-\x20]*", to) else "/"


def _basic(request: Request) -> tuple[str, str] | None:
    kind, _, given = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "basic":
        return None
    try:
        name, colon, password = base64.b64decode(given, validate=True).decode().partition(":")
    except ValueError:
        return None
    return (name, password) if colon else None


def address(request: Request) -> str:
    """Where it comes from; of IPv6 the network, whose addresses are one customer's."""
    host = request.client.host if request.client else ""
    return ":".join(host.split(":")[:4]) if ":" in host else host


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
