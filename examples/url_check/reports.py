"""The handlers of the JobQueue `url-check-reports`, which takes the dead letters of `url-check`: sites that fail are reported.

A job of it runs again whenever its end is not sure, and reports once all the same: its id is the same each time.
"""

import asyncio
from datetime import UTC, datetime
from weakref import WeakKeyDictionary

from examples.fronts.text import plain
from examples.url_check.store import Store
from leveret import Context, Handlers

handlers = Handlers()
LONGEST = 2_083  # characters of what is no URL of a check

_stores: WeakKeyDictionary[asyncio.AbstractEventLoop, Store] = WeakKeyDictionary()


@handlers.job("check-url", timeout=30)
async def report(ctx: Context, job: object) -> None:
    """File the URL of a job that died, and why; whatever the payload is, since that may be why."""
    url = job.get("url") if isinstance(job, dict) else None
    dead = ctx.dead_letter
    reason = (dead and (dead.error or dead.reason)) or "unknown"
    at = (dead and dead.died_at) or datetime.now(UTC)
    await _store().report(
        ctx.job_id, plain(url if isinstance(url, str) else repr(job), LONGEST), plain(reason, LONGEST), at
    )


def _store() -> Store:
    loop = asyncio.get_running_loop()
    if loop not in _stores:
        _stores[loop] = Store()
    return _stores[loop]
