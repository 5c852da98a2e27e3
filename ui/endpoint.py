"""/v1: models and chat completions as OpenAI's API has them, for a person's other programs.

It stands before the pages and their logins and hands nothing on to them: a request comes in with
`Authorization: Bearer KEY` (core.keys) or not at all, and reaches what the key's owner has. What
the API has and Graft does not is refused by its name rather than left out of account.
"""

import json
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from functools import partial
from typing import Annotated, Any, Literal

from anyio import CancelScope, CapacityLimiter, move_on_after, to_thread
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core import health, keys, serving
from core.chat import ChatServer
from core.errors import BrokeOff, Damaged, DoesNotFit, NotFound, TooLong, UserError
from core.sampling import STRONGEST, Sampling
from core.store import Store
from ui.logins import TRIES_IN_ALL, address, log

ROOT = "/v1"
LARGEST = 4_000_000  # bytes of a request
USUAL = 1024  # tokens of an answer whose request doesn't say
LONGEST_STOP = 500  # characters; each is looked for at every step, while others wait for theirs
AT_ONCE = 64  # requests, those that wait for others included
AGAIN = 30  # seconds after which one that found no room may ask again
UNABLE = ("extra_forbidden", "literal_error", "too_long")  # pydantic's names
STALLED = 60  # seconds in which a client takes nothing, after which it is given up
QUIET = 10  # seconds without a word, after which a stream shows that it is there
BUG = "Something went wrong inside Graft. It is not your doing; the server’s log has the details."
NO_KEY = (
    "Graft answers programs that send a key. Make one on a run's page, under “Use in programs”, "
    "and send it as “Authorization: Bearer KEY”."
)

Told = AsyncGenerator[dict[str, Any], None]
"""The events of an answer, the last one with `done`."""


class Endpoint:
    """ASGI middleware: answers what is under /v1, and lets everything else through."""

    def __init__(self, app: ASGIApp, server: ChatServer) -> None:
        self.app, api = app, _Api(server)
        self._own = Starlette(
            routes=[
                Route(f"{ROOT}/models", api.models, methods=["GET"]),
                Route(f"{ROOT}/models/{{id:path}}", api.model, methods=["GET"]),
                Route(f"{ROOT}/chat/completions", api.complete, methods=["POST"]),
            ],
            exception_handlers={
                UserError: _refusal,
                _Unauthorized: _unauthorized,
                ClientDisconnect: lambda *_: Response(status_code=499),
                HTTPException: lambda _, error: _error(error.detail, error.status_code),
                Exception: lambda _, error: _error(BUG, 500),
            },
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] != "http" or not (path == ROOT or path.startswith(f"{ROOT}/")):
            return await self.app(scope, receive, send)
        with CancelScope() as answering:

            async def hurried(message: Message) -> None:
                with move_on_after(STALLED) as sending:
                    await send(message)
                if sending.cancelled_caught:
                    answering.cancel()  # others wait for its place

            await self._own(scope, receive, hurried)


# ---- what a request may say


def _text(content: Any) -> Any:
    """Parts of text are one text; other parts are refused with the others."""
    if isinstance(content, list) and all(
        isinstance(part, dict) and part.get("type") == "text" for part in content
    ):
        return "\n".join(str(part.get("text", "")) for part in content)
    return content


class _Message(BaseModel):
    model_config = ConfigDict(extra="ignore")

    role: Literal["system", "user", "assistant", "developer"]
    content: Annotated[str, BeforeValidator(_text)]
    name: None = None
    tool_calls: None = None


class _StreamOptions(BaseModel):
    model_config = ConfigDict(extra="ignore")

    include_usage: bool = False


class _PlainText(BaseModel):
    type: Literal["text"]


_Stop = Annotated[str, Field(max_length=LONGEST_STOP)]


def _listed(stop: Any) -> Any:
    return [stop] if isinstance(stop, str) else stop


class _Asked(BaseModel):
    """A request for a chat completion. A field that Graft can't do justice to may be there only as
    if it were not."""

    model_config = ConfigDict(extra="forbid")

    model: str
    messages: Annotated[list[_Message], Field(min_length=1)]
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    seed: int | None = None
    stop: Annotated[list[_Stop], Field(max_length=4), BeforeValidator(_listed)] | None = None
    # What OpenAI's API doesn't have; clients send it as extra_body.
    strength: Annotated[float, Field(ge=0, le=STRONGEST)] | None = None
    repetition_penalty: Annotated[float, Field(ge=1, le=10)] | None = None
    # About the caller, not about the answer.
    user: str | None = None
    metadata: dict[str, Any] | None = None
    store: Literal[False] | None = None
    safety_identifier: str | None = None
    # Each only as what is done anyway.
    n: Literal[1] | None = None
    frequency_penalty: Literal[0] | None = None
    presence_penalty: Literal[0] | None = None
    logprobs: Literal[False] | None = None
    logit_bias: Annotated[dict[str, float], Field(max_length=0)] | None = None
    response_format: _PlainText | None = None
    tools: Annotated[list[Any], Field(max_length=0)] | None = None
    tool_choice: Literal["none"] | None = None

    @property
    def sampling(self) -> Sampling:
        asked = {
            "temperature": 1.0 if self.temperature is None else self.temperature,
            "top_p": self.top_p,
            "max_new_tokens": self.max_completion_tokens or self.max_tokens or USUAL,
            "seed": secrets.randbits(32) if self.seed is None else self.seed % 2**63,
            "strength": self.strength,
            "repetition_penalty": self.repetition_penalty,
        }
        asked["max_new_tokens"] = min(asked["max_new_tokens"], 100_000)
        return Sampling(**{name: value for name, value in asked.items() if value is not None})

    @property
    def conversation(self) -> list[dict[str, str]]:
        """“developer” is what newer clients call the system."""
        known = {"developer": "system"}
        return [{"role": known.get(m.role, m.role), "content": m.content} for m in self.messages]

    @property
    def stops(self) -> list[str]:
        return [stop for stop in self.stop or [] if stop]


def _parsed(body: bytes) -> _Asked:
    """Raises UserError with the field that is wrong, and why."""
    try:
        return _Asked.model_validate_json(body)
    except ValidationError as error:
        problem = error.errors()[0]
        place = [str(part) for part in problem["loc"]]
        name, why = place[0] if place else None, problem["msg"]
        if name is None:
            why = "The request is not JSON, or no object."
        elif name == "n":
            why = "n: Graft gives one answer at a time. Ask again for another one."
        elif problem["type"] in UNABLE and name not in ("messages", "stop"):
            why = f"{name}: Graft's endpoint can't do that. Leave the field out."
        else:
            why = f"{'.'.join(place)}: {why}"
        raise UserError(why, field=name) from None


# ---- the answers


class _Api:
    def __init__(self, server: ChatServer) -> None:
        self._server = server
        self._tries = MovingWindowRateLimiter(MemoryStorage())
        self._threads = CapacityLimiter(AT_ONCE)
        self._asked = 0

    async def models(self, request: Request) -> Response:
        store = await self._store(request)
        found = await to_thread.run_sync(serving.models, store)
        return JSONResponse({"object": "list", "data": [_model(model) for model in found]})

    async def model(self, request: Request) -> Response:
        store = await self._store(request)
        found = await to_thread.run_sync(serving.resolve, store, request.path_params["id"])
        return JSONResponse(_model(found))

    async def complete(self, request: Request) -> Response:
        store = await self._store(request)
        asked = _parsed(await _body(request))
        caller = asked.safety_identifier or asked.user or request.headers["authorization"]
        model = await to_thread.run_sync(serving.resolve, store, asked.model, caller)
        if self._asked >= AT_ONCE:
            raise DoesNotFit(f"{AT_ONCE} requests are being answered or wait.", "Ask again later.")
        answers = self._server.complete(
            model.base, model.quantization, model.run, asked.conversation, asked.sampling,
            asked.stops, store.owner,
        )  # fmt: skip
        told = self._kept(store, model, asked, self._until_done(request, answers))
        if not asked.stream:
            async for event in told:
                last = event
            return JSONResponse(_completion(asked.model, last))
        # Until it is being answered, what goes wrong has a status of its own.
        async for event in told:
            if event["done"] or event["text"]:
                return StreamingResponse(
                    _stream(asked, event, told), media_type="text/event-stream",
                    headers={"cache-control": "no-cache", "x-accel-buffering": "no"},
                )  # fmt: skip
        raise AssertionError("an answer ends with done")

    async def _store(self, request: Request) -> Store:
        """What the caller's key opens. Raises _Unauthorized."""
        kind, _, key = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not key.strip():
            raise _Unauthorized(NO_KEY)
        store = await to_thread.run_sync(keys.store_of, key.strip())
        if store is None:
            if not self._tries.hit(TRIES_IN_ALL, place := address(request)):
                raise _Unauthorized("Too many wrong keys. Wait five minutes, then try again.", 429)
            log.warning("A wrong key was sent from %s.", place)
            raise _Unauthorized(f"This key is not known, or was revoked. {NO_KEY}")
        return store

    async def _kept(self, store: Store, model: serving.Model, asked: _Asked, told: Told) -> Told:
        """As `told`; the last event says which version answered and by which id the answer can be
        rated (/rate_answer), which is kept where its owner wants that (core.health)."""
        began = time.monotonic()
        async with aclosing(told):
            async for event in told:
                if event["done"] and model.version:
                    keep = partial(
                        health.answered, store, model.version, event["text"],
                        asked.messages[-1].content, time.monotonic() - began,
                        event["tokens"]["answer"], "endpoint",
                    )  # fmt: skip
                    answer = await to_thread.run_sync(keep)
                    event = {**event, "graft": {"version": model.version, "answer": answer}}
                yield event

    async def _until_done(self, request: Request, answers: Iterator[dict[str, Any]]) -> Told:
        """The events of an answer, which ends where nobody listens any more."""
        self._asked += 1
        try:
            while event := await to_thread.run_sync(next, answers, None, limiter=self._threads):
                yield event
                if await request.is_disconnected():
                    raise ClientDisconnect
        finally:
            self._asked -= 1
            # In a thread too: telling the chat process to stop can take as long as its start.
            with CancelScope(shield=True):
                close = answers.close  # type: ignore[attr-defined]
                await to_thread.run_sync(close, limiter=self._threads)


async def _stream(asked: _Asked, event: dict[str, Any], more: Told) -> AsyncIterator[str]:
    """The answer as server-sent events, from its first words on."""
    head = {**_head("chat.completion.chunk"), "model": asked.model}
    usage = bool(asked.stream_options and asked.stream_options.include_usage)
    sent, told = "", time.monotonic()

    def chunk(delta: dict[str, str], finish: str | None = None, more: Any = None) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        whole = {**head, "choices": [choice], **(more or {})}
        return _sse({**whole, **({"usage": None} if usage else {})})

    yield chunk({"role": "assistant", "content": ""})
    async with aclosing(more):
        try:
            while not event["done"]:
                if event["text"].startswith(sent) and event["text"] != sent:
                    yield chunk({"content": event["text"][len(sent) :]})
                    sent, told = event["text"], time.monotonic()
                elif time.monotonic() - told > QUIET:
                    yield ": still at it\n\n"
                    told = time.monotonic()
                event = await anext(more)
        except ClientDisconnect:
            return
        except Exception as error:  # the status has been sent: it is told as an event
            if not isinstance(error, UserError):
                log.exception("An answer of the endpoint failed")
            yield _sse(json.loads(bytes(_refusal(None, error).body)))
            return
    if rest := event["text"][len(sent) :]:
        yield chunk({"content": rest})
    yield chunk({}, event["finish"], _graft(event))
    if usage:
        yield _sse({**head, "choices": [], "usage": _usage(event)})
    yield "data: [DONE]\n\n"


def _completion(name: str, event: dict[str, Any]) -> dict[str, Any]:
    message = {"role": "assistant", "content": event["text"], "refusal": None}
    choice = {
        "index": 0, "message": message, "logprobs": None, "finish_reason": event["finish"]
    }  # fmt: skip
    head = {**_head("chat.completion"), "model": name}
    return {**head, "choices": [choice], "usage": _usage(event), **_graft(event)}


def _graft(event: dict[str, Any]) -> dict[str, Any]:
    """What OpenAI's API doesn't have: the version of a family that answered."""
    return {"graft": event["graft"]} if "graft" in event else {}


def _head(kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{secrets.token_hex(12)}", "object": kind, "created": int(time.time())}


def _usage(event: dict[str, Any]) -> dict[str, int]:
    prompt, answer = event["tokens"]["prompt"], event["tokens"]["answer"]
    return {
        "prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer
    }  # fmt: skip


def _model(model: serving.Model) -> dict[str, Any]:
    return {
        "id": model.id,
        "object": "model",
        "created": int(model.created),
        "owned_by": "graft",
        "names": list(model.names),
        "base": model.base.title,
    }


def _sse(value: Any) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"


async def _body(request: Request) -> bytes:
    """Raises UserError where it is larger than any conversation."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > LARGEST:
            raise TooLong(f"The request is larger than {LARGEST // 10**6} MB.", "Shorten it.")
    return bytes(body)


# ---- what goes wrong


class _Unauthorized(Exception):
    def __init__(self, words: str, status: int = 401) -> None:
        super().__init__(words)
        self.status = status


def _unauthorized(request: Request, error: Exception) -> Response:
    assert isinstance(error, _Unauthorized)
    if error.status == 429:
        return _error(str(error), 429, "rate_limit_exceeded", {"retry-after": "300"})
    return _error(str(error), 401, "invalid_api_key", {"www-authenticate": "Bearer"})


def _refusal(request: Request | None, error: Exception) -> Response:
    """What the caller can repair, in OpenAI's shape."""
    if not isinstance(error, UserError):
        return _error(BUG, 500)
    words = f"{error} {error.hint}".strip()
    match error:
        case NotFound():
            return _error(words, 404, "model_not_found", param="model")
        case TooLong():
            return _error(words, 400, "context_length_exceeded", param="messages")
        case DoesNotFit():
            return _error(words, 503, "no_room", {"retry-after": str(AGAIN)})
        case BrokeOff():
            return _error(words, 503, "broke_off", {"retry-after": "1"})
        case Damaged():
            return _error(words, 500, "damaged")
    return _error(words, 400, param=error.field)


def _error(
    words: str,
    status: int,
    code: str | None = None,
    headers: dict[str, str] | None = None,
    param: str | None = None,
) -> Response:
    kind = "invalid_request_error" if status < 429 else "server_error"
    kind = "requests" if status == 429 else kind
    told = {"message": words, "type": kind, "param": param, "code": code}
    return JSONResponse({"error": told}, status, headers)
