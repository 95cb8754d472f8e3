"""Ask one URL, with a bounded pool of connections that only ever connects to addresses the policy has seen.

A guard that resolves a name, judges the addresses and then lets an HTTP library resolve it again can be passed: the
second answer may differ (DNS rebinding). Here resolving, judging and connecting are one step below the HTTP library:
the connection goes to the address that was judged, while the Host header and TLS go on using the name.
"""

import asyncio
import errno
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import httpcore
import httpx

from examples.url_check.names import Names, NameUnknown, Resolve
from examples.url_check.policy import Address, Policy

CONNECT_SECONDS = 5.0  # for asking for the addresses and connecting to one
ANSWER_SECONDS = 9.0  # below the handler's time-out of 10 s, so that the message can name the host that kept silent
MOST_CONNECTIONS = 200
MOST_IDLE = 8  # for the hops of one check and its neighbours; the pool asks each idle connection at each request
IDLE_SECONDS = 4.0  # below the 5 s after which many servers close: a request must not meet a closing connection
DRAIN_BYTES = 64 * 1024  # a body up to this is read to keep its connection; of a larger one nothing more is wanted
DRAIN_SECONDS = 1.0


class CheckFailed(Exception):
    """No answer, or one that says the server failed: worth another attempt."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    location: str | None


class CheckedNetwork(httpcore.AsyncNetworkBackend):
    """Connects to what a name resolves to, if the policy lets it: one bad address refuses the name."""

    def __init__(self, policy: Policy, resolve: Resolve, network: httpcore.AsyncNetworkBackend) -> None:
        self._policy = policy
        self._resolve = resolve
        self._network = network

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(None) as limit:
                addresses = await self._resolve(host, port, lambda: limit.reschedule(_end(loop.time(), timeout)))
                for address in addresses:
                    self._policy.check_address(host, address)
                return await self._connect_to_first(host, addresses, port, socket_options)
        except NameUnknown as problem:
            raise CheckFailed(str(problem)) from problem
        except TimeoutError:
            raise CheckFailed(f"could not connect to {host}:{port} within {timeout:g} s") from None

    async def _connect_to_first(
        self, host: str, addresses: list[Address], port: int, options: Iterable[httpcore.SOCKET_OPTION] | None
    ) -> httpcore.AsyncNetworkStream:
        failed: list[str] = []
        for address in addresses:
            try:
                return await self._network.connect_tcp(str(address), port, socket_options=options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as problem:
                failed.append(f"{address}: {_system_words(problem)}")
        raise CheckFailed(f"could not connect to {host}:{port} ({'; '.join(failed)})")


class Web:
    """GET requests, one answer each; redirects are the caller's."""

    def __init__(
        self,
        policy: Policy,
        *,
        resolve: Resolve | None = None,
        network: httpcore.AsyncNetworkBackend | None = None,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        self._policy = policy
        self._names = Names()
        self._times = {
            "connect": CONNECT_SECONDS,
            "read": answer_seconds,
            "write": answer_seconds,
            "pool": answer_seconds,
        }
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=httpx.create_ssl_context(),
            max_connections=MOST_CONNECTIONS,
            max_keepalive_connections=MOST_IDLE,
            keepalive_expiry=IDLE_SECONDS,
            network_backend=CheckedNetwork(policy, resolve or self._names.resolve, network or httpcore.AnyIOBackend()),
        )

    async def get(self, url: httpx.URL) -> Answer:
        """Return the answer's status and where it points; raise RefusedByPolicy, InvalidURL or CheckFailed."""
        if url.port is not None and not 0 < url.port < 65536:
            raise httpx.InvalidURL(f"there is no port {url.port}")
        self._policy.check_url(scheme=url.scheme, host=url.host, userinfo=url.userinfo.decode())
        try:
            async with self._pool.stream(
                "GET",
                httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                headers=[(b"Host", url.netloc), (b"User-Agent", b"leveret-url-check"), (b"Accept", b"*/*")],
                extensions={"timeout": self._times},
            ) as response:
                answer = Answer(response.status, _header(response, b"location"))
                await _drain(response)
        except httpcore.TimeoutException as problem:
            raise CheckFailed(f"{url.host} did not answer {url} within {self._times['read']:g} s") from problem
        except (httpcore.NetworkError, httpcore.ProtocolError) as problem:
            raise CheckFailed(f"{url.host} broke off before it answered {url}: {problem}") from problem
        return answer

    async def close(self) -> None:
        await self._pool.aclose()
        self._names.close()


_webs: WeakKeyDictionary[asyncio.AbstractEventLoop, Web] = WeakKeyDictionary()


def web_of_this_loop() -> Web:
    """Return the one Web of the running event loop, made at its first use, with the policy of the environment."""
    loop = asyncio.get_running_loop()
    if loop not in _webs:
        _webs[loop] = Web(Policy.parse(os.environ.get("URL_CHECK_ALLOWED_HOSTS", "")))
    return _webs[loop]


async def _drain(response: httpcore.Response) -> None:
    """Read a short body, so that the connection can serve again; the answer is known whatever happens here."""
    with suppress(TimeoutError, httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError):
        async with asyncio.timeout(DRAIN_SECONDS):
            read = 0
            async for part in response.aiter_stream():
                read += len(part)
                if read > DRAIN_BYTES:
                    return


def _end(now: float, seconds: float | None) -> float | None:
    return None if seconds is None else now + seconds


def _header(response: httpcore.Response, name: bytes) -> str | None:
    return next((value.decode("latin-1") for key, value in response.headers if key.lower() == name), None)


def _system_words(problem: BaseException) -> str:
    """Return what the system said about a connection, which lies at the end of a chain of causes."""
    while problem.__cause__ is not None:
        problem = problem.__cause__
    number = problem.errno if isinstance(problem, OSError) else None
    return os.strerror(number) if number is not None and number in errno.errorcode else str(problem)
