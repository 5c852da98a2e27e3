"""A route of ours beside Gradio's."""

from starlette.routing import Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send


class OwnRoute:
    """ASGI middleware: answers the route and lets everything else through. It stands behind the
    logins (ui.logins), which say who asks."""

    def __init__(self, app: ASGIApp, route: Route) -> None:
        self.app, self._route = app, route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        match, found = self._route.matches(scope)
        if match is not Match.FULL:
            return await self.app(scope, receive, send)
        await self._route.handle({**scope, **found}, receive, send)
