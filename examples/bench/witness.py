"""Tell a witness that a run begins, so that what ran is known without asking Leveret and without a pod's log.

With BENCH_WITNESS set to a URL each run asks for `<url>?job=<id>&attempt=<n>&run=<random>` before it does anything, and
goes on once the answer is 200: what ended was seen to begin. It asks for the same address until then, so that a witness
that counts addresses counts runs. Without BENCH_WITNESS nobody is told.
"""

import asyncio
import os
import secrets
from urllib.parse import urlencode

import httpcore

from leveret import Context

ANSWER_SECONDS = 5.0
AGAIN_AFTER = 0.1  # s
_NO_ANSWER = (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError)


async def tell_witness(ctx: Context) -> None:
    """Return once the witness knows of this run; the job's time-out ends the wait for one that doesn't answer."""
    base = os.environ.get("BENCH_WITNESS")
    if not base:
        return
    told = urlencode({"job": ctx.job_id, "attempt": ctx.attempt, "run": secrets.token_hex(8)})
    while (said := await _ask(f"{base}?{told}")) != "200":
        ctx.log.warning("the witness does not answer", extra={"said": said})
        await asyncio.sleep(AGAIN_AFTER)


async def _ask(url: str) -> str:
    """Return the status, or what came instead of an answer."""
    times = dict.fromkeys(("connect", "read", "write", "pool"), ANSWER_SECONDS)
    # A connection for each run: an idle one may be closed by the other side at the moment of its next use.
    async with httpcore.AsyncConnectionPool() as pool:
        try:
            answer = await pool.request("GET", url, extensions={"timeout": times})
        except _NO_ANSWER as problem:
            return f"{type(problem).__name__}: {problem}"
    return str(answer.status)
