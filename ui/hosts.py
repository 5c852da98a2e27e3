"""Only addresses of this server are answered, and only to its own pages.

A page of somebody else can give its own name the address 127.0.0.1 and then ask this server for
the person's data (DNS rebinding). The browser tells that name as Host, so: numbers, this
computer's own names, the one that it was started with and those of GRAFT_ALLOWED_HOSTS.

Or it asks this server by its right name, from where it is. The browser tells whose page asks as
Origin: it must be the address that is asked. Programs tell none.
"""

import ipaddress
import socket

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

STRANGER = "Graft answers its own pages only, and this one is of {origin!r}.\n"
REFUSAL = (
    "Graft does not answer to the name {host!r}. If it is yours, add it to GRAFT_ALLOWED_HOSTS and "
    "start Graft again.\n"
)


class OwnHosts:
    """ASGI middleware: refuses (421) what is addressed to a name that isn't one of `names`, and
    (403) what another server's page asks.

    "*" among them allows every name.
    """

    def __init__(self, app: ASGIApp, names: frozenset[str]) -> None:
        self.app, self.names = app, names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            headers = Headers(scope=scope)
            host = name_of(asked := headers.get("host", ""))
            if not (is_number(host) or host in self.names or "*" in self.names):
                refusal = PlainTextResponse(REFUSAL.format(host=host[:100]), status_code=421)
                return await refusal(scope, receive, send)
            origin = headers.get("origin")
            if origin is not None and origin.lower().partition("://")[2] != asked.lower():
                stranger = STRANGER.format(origin=origin[:100])
                return await PlainTextResponse(stranger, status_code=403)(scope, receive, send)
        return await self.app(scope, receive, send)


def own_names(bound: str, more: tuple[str, ...]) -> frozenset[str]:
    """This computer's names, the address it was bound to, and the person's own additions."""
    here = socket.gethostname().lower()
    return frozenset({"localhost", here, f"{here}.local", bound.lower(), *more})


def name_of(host: str) -> str:
    """The Host header without the port, in lower case."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].rstrip(".").lower()


def is_number(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
