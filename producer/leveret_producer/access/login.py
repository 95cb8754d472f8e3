"""/login: the token once, then a cookie for the pages."""

from importlib import resources
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, select_autoescape

from leveret_producer.access.token import COOKIE, SESSION_SECONDS, Token

_PRIVATE = {"Cache-Control": "no-store", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer"}


def local_path(asked: str) -> str:
    """Return the path if it stays on this server, else `/`: a login must not send people elsewhere."""
    parts = urlsplit(asked)
    safe = asked.startswith("/") and not asked.startswith("//") and "\\" not in asked and asked.isprintable()
    return asked if safe and not parts.scheme and not parts.netloc else "/"


def build_router(token: Token) -> APIRouter:
    router = APIRouter(include_in_schema=False)
    source = (resources.files(__package__) / "login.html").read_text()
    page = Environment(autoescape=select_autoescape(default=True)).from_string(source)

    def form(wanted: str, wrong: bool = False) -> Response:
        html = page.render(next=local_path(wanted), wrong=wrong)
        return HTMLResponse(html, 401 if wrong else 200, _PRIVATE)

    @router.get("/login")
    async def show(next: str = "/") -> Response:
        return form(next)

    @router.post("/login")
    async def enter(
        request: Request, offered: Annotated[str, Form(alias="token")] = "", next: Annotated[str, Form()] = "/"
    ) -> Response:
        if not token.is_right(offered.strip()):
            return form(next, wrong=True)
        answer = RedirectResponse(local_path(next), 303, _PRIVATE)
        answer.set_cookie(
            COOKIE,
            token.issue_cookie(),
            max_age=SESSION_SECONDS,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return answer

    return router
