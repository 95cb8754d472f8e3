"""Mails sent while a consumer, an SMTP server and the database are killed again and again: is each there once?

What the servers' own logs hold is compared with what the front tells: a sent mail is there once, a maybe-sent one once or
not at all, and none is lost. The integration test does it with few. As a program it does it with 2,000 and prints what it
found: with PYTHONPATH as for the tests, `python tests/support/mailer_under_kills.py`; ends with 1 if a mail is not as it should be.
"""

import asyncio
import json
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx
from containers import Server, free_port, postgres_server, rabbitmq_server
from processes import Start, pg_variables, starting
from producers import TOKEN, database_url, eventually_true, known, operating, producing, ready

from leveret.settings import Broker, Database

QUEUE = "leveret.mailer"
RATE, BURST = 40.0, 20
RETRY = '{"maxAttempts": 1000, "backoff": {"initial": "1s", "factor": 1, "max": "1s", "jitter": "none"}}'
FINAL = {"sent", "failed", "maybe-sent"}


@dataclass(frozen=True)
class Place:
    start: Start
    postgres: Server
    broker: Broker
    leveret: str
    database: str  # mailer's own
    folder: Path


@dataclass(frozen=True)
class Found:
    states: dict[str, str]  # by Message-ID
    counts: Counter[str]  # by Message-ID, of both servers' logs
    grants: list[float]  # of the first server

    @property
    def maybe_sent(self) -> dict[str, int]:
        return {one: self.counts[one] for one, state in self.states.items() if state == "maybe-sent"}

    @property
    def wrong(self) -> list[str]:
        """Return what must not be, in words."""
        found = []
        for one, state in self.states.items():
            times = self.counts[one]
            if not (state == "sent" and times == 1) and not (state == "maybe-sent" and times <= 1):
                found.append(f"{one} is {state}, and in the logs {times} times")
        for seconds in (1.0, 10.0):
            most = max((sum(at <= one < at + seconds for one in self.grants) for at in self.grants), default=0)
            found += [f"{most} grants in {seconds} s"] if most > RATE * seconds + BURST else []
        return found


class Stage:
    """All processes of a mailer; each can be killed and started again."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._ports = [(free_port(), free_port()) for _ in range(2)]
        self._probes = [free_port() for _ in range(2)]
        self._front = free_port()
        listed = [
            {"name": f"smtp-{n}", "host": "127.0.0.1", "port": port, "tls": "none", "rate": RATE, "burst": BURST}
            for n, (port, _) in enumerate(self._ports)
        ]
        (place.folder / "backends.json").write_text(json.dumps(listed))
        self._all = {"front": self._begin("front")}
        for n in range(2):
            self._all |= {f"smtp-{n}": self._begin(f"smtp-{n}"), f"consumer-{n}": self._begin(f"consumer-{n}")}

    def _begin(self, name: str) -> Any:
        place, own, number = self._place, pg_variables(self._place.database), int(name[-1]) if name[-1].isdigit() else 0
        if name == "front":
            return place.start(
                "examples.mailer.front", PORT=str(self._front), LEVERET_URL=place.leveret, LEVERET_TOKEN=TOKEN, **own
            )
        if name.startswith("smtp"):
            port, http_port = map(str, self._ports[number])
            return place.start("examples.mailer.smtp_server", "--host", "127.0.0.1", "--port", port, "--http-port", http_port,
                               "--log", str(place.folder / f"{name}.jsonl"))  # fmt: skip
        return place.start(
            "leveret_consumer", LEVERET_QUEUE=QUEUE, LEVERET_HANDLERS="examples.mailer.handlers:handlers",
            LEVERET_BROKER_URL=place.broker.url(), LEVERET_PROBE_PORT=str(self._probes[number]), LEVERET_CONCURRENCY="10",
            LEVERET_TIMEOUT="2m", LEVERET_RETRY=RETRY, MAILER_BACKENDS=str(place.folder / "backends.json"), MAILER_REPLY_SECONDS="1",
            MAILER_FIRST_WAIT_SECONDS="0.5", MAILER_REQUEUES="40", **own,
        )  # fmt: skip

    async def kill(self, name: str, seconds: float) -> None:
        """Kill a process, and start it again so much later."""
        self._all[name].kill()
        await asyncio.to_thread(self._all[name].wait)
        await asyncio.sleep(seconds)
        self._all[name] = self._begin(name)

    async def tell(self, name: str, **mode: Any) -> None:
        """Have an SMTP server do wrong."""
        url = f"http://127.0.0.1:{self._ports[int(name[-1])][1]}/mode"

        async def told() -> bool:
            try:
                async with httpx.AsyncClient(trust_env=False) as client:
                    return (await client.put(url, json=mode)).is_success
            except httpx.TransportError:
                return False

        await eventually_true(told, f"{name} is told")

    def http(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=f"http://127.0.0.1:{self._front}", timeout=30, trust_env=False)


async def _accepted(front: httpx.AsyncClient, number: int) -> str:
    while True:  # where it is not known whether a mail was stored there may be two of them: only one counts here
        try:
            mail = {"to": f"n{number}@example.com", "subject": f"Number {number}", "body": "Hello"}
            answer = await front.post("/emails", json=mail)
        except httpx.TransportError:
            await asyncio.sleep(0.2)
            continue
        if answer.status_code == 202:
            return str(answer.json()["id"])
        assert (answer.status_code, "retry-after" in answer.headers) == (503, True), answer.text
        await asyncio.sleep(0.2)


async def send(place: Place, mails: int, rounds: int, seconds: float) -> Found:
    """Send mails; in each round kill a consumer, an SMTP server and the database, so many seconds between two kills."""
    stage = Stage(place)
    async with stage.http() as front:
        room = asyncio.Semaphore(20)

        async def one(number: int) -> str:
            async with room:
                return await _accepted(front, number)

        sending = asyncio.gather(*map(one, range(mails)))
        await eventually_true(lambda: _log_has(place.folder, mails // 20), "it has begun", 60)
        for n in range(rounds):
            await stage.kill(f"consumer-{n % 2}", 0)
            await asyncio.sleep(seconds)
            await stage.kill(f"smtp-{n % 2}", 0.5)
            await asyncio.sleep(seconds)
            await asyncio.to_thread(place.postgres.kill)
            await asyncio.to_thread(place.postgres.start)
            await asyncio.sleep(seconds)
        ids = await sending
        states: dict[str, str] = {}

        async def all_ended() -> bool:
            for id in ids:  # noqa: A001
                if states.get(id) not in FINAL:
                    answer = await front.get(f"/emails/{id}")
                    if not answer.is_success:
                        return False
                    states[id] = answer.json()["state"]
                    if states[id] not in FINAL:
                        return False
            return True

        await eventually_true(all_ended, "every mail has ended", 60 + mails / 5)
    lines = [line for log in place.folder.glob("smtp-*.jsonl") for line in log.read_text().splitlines()]
    connection = await asyncpg.connect(place.database)
    grants = await connection.fetch(
        "SELECT extract(epoch FROM at)::float8 FROM grants WHERE backend = 'smtp-0' ORDER BY at"
    )
    await connection.close()
    named = {f"<{one}@example.com>": state for one, state in states.items()}
    return Found(named, Counter(json.loads(line)["message_id"] for line in lines), [row[0] for row in grants])


async def _log_has(folder: Path, lines: int) -> bool:
    return sum(log.read_text().count("\n") for log in folder.glob("smtp-*.jsonl")) >= lines


async def _measure(postgres: Server, rabbitmq: Server) -> bool:
    broker = Broker("127.0.0.1", rabbitmq.ports[5672], "leveret", "leveret", "/")
    postgres.run("psql", "-q", "-U", "leveret", "-c", "create database mailer")
    own, leveret = (
        Database("127.0.0.1", postgres.ports[5432], "leveret", "leveret", name) for name in ("mailer", "leveret")
    )
    folder = tempfile.mkdtemp(prefix="mailer-under-kills-")
    print(f"logs and mails are in {folder}", flush=True)
    with starting(Path(folder)) as start:
        async with operating(broker, QUEUE), producing(broker, leveret) as producer:
            await ready(producer)
            await known(producer, QUEUE)
            place = Place(start, postgres, broker, str(producer.http.base_url), database_url(own), Path(folder))
            found = await send(place, mails=2_000, rounds=8, seconds=3)
    print(f"{Counter(found.states.values())}; maybe sent, with what the logs hold: {found.maybe_sent}")
    print("wrong:", found.wrong or "nothing")
    return not found.wrong


def main() -> None:
    with rabbitmq_server() as rabbitmq, postgres_server() as postgres:
        sys.exit(not asyncio.run(_measure(postgres, rabbitmq)))


if __name__ == "__main__":
    main()
