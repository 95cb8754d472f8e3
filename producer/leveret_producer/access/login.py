"""/login: the token once, then a cookie for the pages. Anybody may ask, so no more than a few KiB is read of anybody."""

from importlib import resources
from urllib.parse import parse_qs, urlsplit

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, select_autoescape
from starlette.requests import ClientDisconnect

from leveret_producer.access.token import COOKIE, SESSION_SECONDS, Token
from leveret_producer.problems import Refused

MOST_FORM = 4 << 10  # bytes
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
_PRIVATE = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}


def local_path(asked: str) -> str:
    """Return the path if it stays on this server, else `/`: a login must not send people elsewhere."""
    try:
        parts = urlsplit(asked)
    except ValueError:  # such as //[
        return "/"
    safe = asked.startswith("/") and not asked.startswith("//") and "\\" not in asked and asked.isprintable()
    return asked if safe and not parts.scheme and not parts.netloc else "/"


async def read_form(request: Request) -> dict[str, str]:
    """Return the fields of a form; raise Refused if it is too large, without having read the rest."""
    body = b""
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MOST_FORM:
                # What is still to come is not read, so this connection can't be used any more.
                headers = {"Connection": "close"}
                detail = f"A form of {MOST_FORM >> 10} KiB at most is read here."
                raise Refused("too-large", detail, headers=headers)
    except ClientDisconnect:
        raise Refused("invalid-request", "The form ended early.") from None
    fields = parse_qs(body.decode(errors="replace"), keep_blank_values=True)
    return {name: values[-1] for name, values in fields.items()}


def build_router(token: Token) -> APIRouter:
    router = APIRouter(include_in_schema=False)
    source = (resources.files(__package__) / "login.html").read_text()
    page = Environment(autoescape=select_autoescape(default=True)).from_string(source)

    def form(wanted: str, wrong: bool = False) -> Response:
        html = page.render(next=local_path(wanted), wrong=wrong)
        return HTMLResponse(html, 403 if wrong else 200, _PRIVATE)

    @router.get("/login")
    async def show(next: str = "/") -> Response:
        return form(next)

    @router.post("/login")
    async def enter(request: Request) -> Response:
        fields = await read_form(request)
        wanted = fields.get("next", "/")
        cookie = token.cookie_for(fields.get("token", "").strip())
        if cookie is None:
            return form(wanted, wrong=True)
        answer = RedirectResponse(local_path(wanted), 303, _PRIVATE)
        answer.set_cookie(
            COOKIE,
            cookie,
            max_age=SESSION_SECONDS,
            httponly=True,
            samesite="lax",
            secure=request.url.scheme == "https",
        )
        return answer

    return router
