"""Look up names in threads of its own, and tell when a look-up begins.

A name whose servers do not answer holds its thread for as long as the system asks them, 10 s and more, and nothing can
stop that. An event loop has only a handful of threads for all: a few such names, and every other one waits for a thread
until its time is over. So there are many threads, and the wait for one is not on the name's time.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from typing import Any

from examples.url_check.policy import Address

THREADS = 64
Begins = Callable[[], None]
Resolve = Callable[[str, int, Begins], Awaitable[list[Address]]]


class NameUnknown(Exception):
    """No address is known for a name; the message says why."""


class Names:
    """The system's resolver."""

    def __init__(self, look_up: Callable[..., Any] = socket.getaddrinfo, threads: int = THREADS) -> None:
        self._look_up = look_up
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="names")

    async def resolve(self, host: str, port: int, begins: Begins) -> list[Address]:
        """Return the addresses of a host, having called `begins` in the loop; raise NameUnknown if there are none."""
        loop = asyncio.get_running_loop()

        def begin() -> None:
            if not asked.done():  # nobody waits any more
                begins()

        def look_up() -> Any:
            loop.call_soon_threadsafe(begin)
            return self._look_up(host, port, type=socket.SOCK_STREAM)

        asked = loop.run_in_executor(self._threads, look_up)
        try:
            found = await asked
        except (socket.gaierror, UnicodeError) as problem:
            why = problem.strerror if isinstance(problem, socket.gaierror) else problem
            raise NameUnknown(f"no address is known for {host}: {why}") from problem
        return [ip_address(str(entry[4][0])) for entry in found]

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
