"""/docs: the API to read and try, with Swagger UI from the package, so that it works without the internet.

It runs the bundle and one line of ours, both by name in its Content-Security-Policy. A token that is typed in is forgotten
with the page, for it opens everything.
"""

import base64
import hashlib
import re

from fastapi import APIRouter, FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, Response
from starlette.responses import HTMLResponse, JSONResponse
from swagger_ui_bundle import swagger_ui_path  # type: ignore[import-untyped]

from leveret_producer.problems import Refused

_FILES = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "favicon-32x32.png": "image/png",
}
_SAFE = {"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "same-origin"}


def build_router(app: FastAPI) -> APIRouter:
    router = APIRouter(include_in_schema=False)
    html = bytes(
        get_swagger_ui_html(
            openapi_url="/openapi.json",
            title="Leveret: API",
            swagger_js_url="/docs/swagger-ui-bundle.js",
            swagger_css_url="/docs/swagger-ui.css",
            swagger_favicon_url="/docs/favicon-32x32.png",
        ).body
    )
    headers = {**_SAFE, "Content-Security-Policy": _policy(html)}

    @router.get("/docs")
    async def docs() -> Response:
        return HTMLResponse(html, headers=headers)

    @router.get("/docs/{name}")
    async def file(name: str) -> Response:
        if name not in _FILES:
            raise Refused("not-found", f"There is nothing at /docs/{name[:100]}.")
        return FileResponse(swagger_ui_path / name, media_type=_FILES[name], headers=_SAFE)

    @router.get("/openapi.json")
    async def openapi() -> Response:
        return JSONResponse(app.openapi(), headers=_SAFE)

    return router


def _policy(html: bytes) -> str:
    """Allow the scripts that stand in the page by what they are; styles are set by the bundle as it draws."""
    inline = re.findall(rb"<script>(.*?)</script>", html, re.DOTALL)
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(one).digest()).decode()}'" for one in inline)
    return (
        f"default-src 'none'; script-src 'self' {hashes}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
