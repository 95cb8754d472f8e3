"""Requests and answers as httpx has them, and as a talk does: what both clients share of the outer world.

No redirect is followed: a token is for one host. This module is loaded with the first client that is made: httpx costs
more than all the rest, and who only names a client needs none of it.
"""

import ssl
from datetime import UTC, datetime
from pathlib import Path

import httpx

from leveret.client.access import Access
from leveret.client.access import url as found_url
from leveret.client.decide import Answer, Lost
from leveret.client.errors import Closed
from leveret.client.talks import Send
from leveret.settings import Places

MOST_CONNECTIONS = 20
_IDLE = 30.0  # s that a connection is kept: less than the producer keeps it
_CONNECT = 5.0  # s
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError, httpx.UnsupportedProtocol)


class Wire:
    failures = (httpx.RequestError, RuntimeError)  # the latter of a client that is closed

    def __init__(self, url: str | None, token: str | None, folder: str | Path) -> None:
        places = Places(folder=Path(folder))
        self._access, self._url = Access(token, places), found_url(url, places)
        self._access.token()  # what is missing is told here, and not at the first job

    def request(self, send: Send) -> httpx.Request:
        headers = {"Authorization": f"Bearer {self._access.token()}", "Accept": "application/json"}
        if send.body is not None:
            headers["Content-Type"] = "application/json"
        if send.key is not None:
            headers["Idempotency-Key"] = send.key
        # A connection is waited for as long as an answer would be: the pool is smaller than a crowd of threads.
        timeout = httpx.Timeout(send.timeout, connect=min(_CONNECT, send.timeout))
        extensions = {"timeout": timeout.as_dict()}
        return httpx.Request(
            send.method, self._url + send.path, headers=headers, content=send.body, extensions=extensions
        )

    def answer(self, request: httpx.Request, came: httpx.Response) -> Answer:
        changed = came.status_code == 401 and request.headers["Authorization"] != f"Bearer {self._access.token()}"
        headers = {name.lower(): value for name, value in came.headers.items()}
        return Answer(came.status_code, headers, came.content, datetime.now(UTC), changed)

    def lost(self, problem: Exception, is_closed: bool) -> Lost:
        """Return what a request came to that failed; raise Closed, or what is none of httpx's own failures."""
        if not isinstance(problem, httpx.RequestError):
            raise Closed("the client is closed; nothing more was sent. Make another one") if is_closed else problem
        cause: BaseException | None = problem
        while cause is not None and not isinstance(cause, ssl.SSLCertVerificationError):
            cause = cause.__cause__ or cause.__context__
        said = f"{type(problem).__name__} {problem}".strip()
        return Lost(said, sent=not isinstance(problem, _NOT_SENT), hopeless=cause is not None)


def in_threads(verify: bool | ssl.SSLContext, transport: httpx.BaseTransport | None) -> httpx.Client:
    return httpx.Client(verify=verify, limits=_limits(), transport=transport, follow_redirects=False)


def in_loop(verify: bool | ssl.SSLContext, transport: httpx.AsyncBaseTransport | None) -> httpx.AsyncClient:
    return httpx.AsyncClient(verify=verify, limits=_limits(), transport=transport, follow_redirects=False)


def _limits() -> httpx.Limits:
    return httpx.Limits(
        max_connections=MOST_CONNECTIONS, max_keepalive_connections=MOST_CONNECTIONS, keepalive_expiry=_IDLE
    )
