"""Methods as RFC 9110 has them: HEAD wherever GET is (9.1), and with 405 all that a path takes (10.2.1)."""

from collections.abc import Iterable

from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send


class HeadIsGet:
    """HEAD is answered as GET; whoever called leaves out the body, for it is the server that knows the connection."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}
        await self._app(scope, receive, send)


def allowed(routes: Iterable[BaseRoute], scope: Scope) -> list[str]:
    """Return what the path takes, in order; of paths that match, one without a variable part counts, as /redrive does."""
    matching = [one for one in routes if isinstance(one, Route) and one.matches(scope)[0] is not Match.NONE]
    fewest = min((len(one.param_convertors) for one in matching), default=0)
    methods = {method for one in matching if len(one.param_convertors) == fewest for method in one.methods or ()}
    return sorted(methods | ({"HEAD"} if "GET" in methods else set()))
