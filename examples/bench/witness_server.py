"""The witness of the bench handlers: which runs go on, since when and until when, by its own clock alone.

A run is here for as long as it holds its connection (`examples.bench.witness`). One clock for all of them means that two
runs in two pods can be compared. A peer whose network went away without a word is noticed within 20 s.

    python -m examples.bench.witness_server                  serve
    python -m examples.bench.witness_server --runs shop-     print the runs in pods with such names, as JSON, and end
"""

import argparse
import asyncio
import json
import socket
import sys
import time
from typing import Any

PORT = 8090
BYE = {b"returned\n": "returned", b"raised\n": "raised", b"cancelled\n": "cancelled"}
GONE = "gone"  # without a word: killed
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 5), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 3))  # s, s, probes


class Witness:
    def __init__(self) -> None:
        self._runs: dict[str, dict[str, Any]] = {}
        self._held: dict[str, int] = {}  # connections, by run: a second one where an answer was lost
        self._epoch = time.time() - time.monotonic()  # so that no step of the wall clock comes between two runs

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take one connection: of a run, until it ends, or of somebody who asks for the runs."""
        try:
            line = await reader.readline()
            if not line:  # a probe
                return
            told = json.loads(line)
            if not isinstance(told, dict):
                raise ValueError("it is no object")
            if "runs" in told:
                writer.write(json.dumps(self.runs(told["runs"])).encode())
                await writer.drain()
            else:
                await self._hold(told, reader, writer)
        except (OSError, ValueError, KeyError) as problem:
            print(json.dumps({"refused": f"{type(problem).__name__}: {problem}"}), flush=True)
        finally:
            writer.close()

    def runs(self, pods: str) -> list[dict[str, Any]]:
        """Return the runs in pods whose names begin so; `ended` is null in one that goes on."""
        return [run for run in self._runs.values() if run["pod"].startswith(pods)]

    async def _hold(self, told: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _keep_alive(writer.get_extra_info("socket"))
        run = self._runs.setdefault(told["run"], told | {"began": self._now()})
        run |= {"ended": None, "last": None}
        self._held[told["run"]] = self._held.get(told["run"], 0) + 1
        last = b""
        try:
            writer.write(b"ok\n")
            last = await reader.readline()
        except OSError:
            pass  # reset: killed as well
        finally:
            self._held[told["run"]] -= 1
            if not self._held[told["run"]]:
                del self._held[told["run"]]
                run |= {"ended": self._now(), "last": BYE.get(last, GONE)}

    def _now(self) -> float:
        return self._epoch + time.monotonic()


def _keep_alive(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE:
        connection.setsockopt(socket.IPPROTO_TCP, option, value)


async def _serve(port: int) -> None:
    server = await asyncio.start_server(Witness().serve, "0.0.0.0", port, backlog=1000)  # noqa: S104 - in a pod
    async with server:
        await server.serve_forever()


def _print_runs(port: int, pods: str) -> None:
    with socket.create_connection(("127.0.0.1", port), 30) as asking:
        asking.sendall(json.dumps({"runs": pods}).encode() + b"\n")
        for part in iter(lambda: asking.recv(65_536), b""):
            sys.stdout.buffer.write(part)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.bench.witness_server", description="See who runs.")
    parser.add_argument("--port", type=int, default=PORT, help="listen here (default: %(default)s)")
    parser.add_argument("--runs", metavar="POD", help="print the runs in pods whose names begin so, and end")
    given = parser.parse_args()
    if given.runs is None:
        asyncio.run(_serve(given.port))
    else:
        _print_runs(given.port, given.runs)


if __name__ == "__main__":
    main()
