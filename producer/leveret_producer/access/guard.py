"""Who may ask what, before anything else looks at a request: the body of a stranger isn't even read.

Programs show the bearer token with each request. A browser may show the cookie of /login instead, and only for pages
meant to be looked at; the API doesn't take it, so no other site can make a browser submit a job.
"""

from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from leveret_producer.access.token import COOKIE, Token
from leveret_producer.problems import Refused

OPEN = frozenset({"/healthz", "/readyz", "/login"})
PAGES = frozenset({"/", "/docs", "/openapi.json"})
PAGE_FOLDERS = ("/static/", "/docs/")


def is_page(path: str) -> bool:
    return path in PAGES or path.startswith(PAGE_FOLDERS)


class Guard:
    def __init__(self, app: ASGIApp, token: Token) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (refusal := self._refusal(Request(scope))):
            return await refusal(scope, receive, send)
        return await self._app(scope, receive, send)

    def _refusal(self, request: Request) -> Response | None:
        path = request.scope["path"]
        if path in OPEN or self._has_token(request.headers):
            return None
        if is_page(path):
            if self._token.is_right_cookie(request.cookies.get(COOKIE, "")):
                return None
            if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
                asked = f"{path}?{request.url.query}" if request.url.query else path
                return RedirectResponse(f"/login?next={quote(asked, safe='/')}", 303)
        return not_authenticated(shown="authorization" in request.headers).response()

    def _has_token(self, headers: Headers) -> bool:
        scheme, _, offered = headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and self._token.is_right(offered.strip())


def not_authenticated(*, shown: bool) -> Refused:
    """Say with RFC 6750 whether there was a token at all."""
    challenge = 'Bearer error="invalid_token"' if shown else "Bearer"
    return Refused(
        "not-authenticated",
        "The header 'Authorization: Bearer <token>' is missing or its token is wrong. The token is in the Secret "
        "leveret-token; browsers log in at /login.",
        headers={"WWW-Authenticate": challenge},
    )
