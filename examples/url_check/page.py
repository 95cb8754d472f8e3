"""The pages: a form, a check, a problem. Of a list as many as a page holds are shown, each shortened, so that a page stays small."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fastapi import Request, Response
from jinja2 import Environment, FileSystemLoader, select_autoescape

HEADERS = {
    "Vary": "Accept",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
}
LONGEST = 150  # characters of a URL or an error on a page; JSON has all

_environment = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=select_autoescape(),
    trim_blocks=True,
    lstrip_blocks=True,
)


def wants_page(request: Request) -> bool:
    """Return whether HTML is asked for by name, and not less than JSON."""
    weights: dict[str, float] = {}
    for part in request.headers.get("accept", "").split(","):
        kind, *parameters = (word.strip().lower() for word in part.split(";"))
        weights[kind] = next((_weight(word[2:]) for word in parameters if word.startswith("q=")), 1.0)
    return weights.get("text/html", 0.0) > weights.get("application/json", 0.0)


def render(status: int, headers: Mapping[str, str], **shown: Any) -> Response:
    if "rows" in shown:
        shown["rows"] = list(_rows(shown["rows"]))
    text = _environment.get_template("page.html").render(shown)
    return Response(text, status, {**HEADERS, **headers}, "text/html")


def _rows(rows: Iterable[Mapping[str, Any]]) -> Iterable[dict[str, object]]:
    for row in rows:
        result = json.loads(row["result"] or "{}")
        seconds, hops = result.get("latency_seconds"), len(result.get("redirects", ()))
        yield {
            "url": _short(row["url"]),
            "state": {None: "waits", True: "failed", False: "ok"}[row["failed"]],
            "status": result.get("status"),
            "latency": f"{seconds:.3f} s" if isinstance(seconds, (int, float)) else None,
            "redirects": hops or None,
            "error": _short(result.get("error") or ""),
        }


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _weight(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
