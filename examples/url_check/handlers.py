"""The handlers of the JobQueue `url-check`: one type, `check-url`."""

from pydantic import BaseModel, HttpUrl

from examples.url_check.check import UrlReport, check
from examples.url_check.web import web_of_this_loop
from leveret import Context, Handlers

handlers = Handlers()


class CheckUrl(BaseModel):
    url: HttpUrl


@handlers.job("check-url", timeout=10)
async def check_url(ctx: Context, job: CheckUrl) -> UrlReport:
    """Return status, latency and redirects of the URL; raise if its server fails, so that it is asked again."""
    return await check(str(job.url), web_of_this_loop())
