"""`/docs`, with its script and style from a package: it works without the internet. `/` leads there, where it is nothing else."""

from fastapi import FastAPI, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import RedirectResponse
from fastapi.staticfiles import StaticFiles
from swagger_ui_bundle import swagger_ui_path  # type: ignore[import-untyped]


def add_docs(app: FastAPI) -> None:
    """Serve the documentation of an application that was made with docs_url=None; called after its own routes are there."""

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        js, css, icon = (f"/docs/{name}" for name in ("swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png"))
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title=app.title,
            swagger_js_url=js,
            swagger_css_url=css,
            swagger_favicon_url=icon,
        )

    @app.get("/", include_in_schema=False)
    async def begin() -> Response:
        return RedirectResponse("/docs")

    app.mount("/docs", StaticFiles(directory=swagger_ui_path))
