"""mailer's runs on a real PostgreSQL against real SMTP servers: what each fault leads to, and that no rate is exceeded."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from tls import Authority

from examples.mailer.backends import Backends
from examples.mailer.sending import Mailer, Sent
from examples.mailer.settings import Settings
from examples.mailer.smtp_server import Mode, Witness, protocols
from examples.mailer.store import Store
from leveret import Context, Reject, RetryLater

SENDER = "mailer@example.com"


@dataclass
class Post:
    """Two SMTP servers, mails, and runs of their jobs."""

    folder: Path
    store: Store
    url: str
    servers: list[Witness] = field(default_factory=list)
    settings: Settings = field(default_factory=lambda: Settings(SENDER, requeues=3, reply_seconds=0.3))

    def mailer(self) -> Mailer:
        """Make what a consumer's process has."""
        return Mailer(self.store, self.settings, Backends(self.folder / "backends.json"))

    async def mail(self, *recipients: str) -> UUID:
        id = uuid4()  # noqa: A001
        await self.store.add(id, f"<{id}@example.com>", recipients or ["a@example.com"], "Hello", "Hello")
        return id

    async def seen(self, id: UUID) -> dict[str, Any]:
        row = await self.store.view(id)
        assert row is not None
        return dict(row)

    def counts(self, id: UUID) -> list[int]:
        return [[one["message_id"] for one in server.taken()].count(f"<{id}@example.com>") for server in self.servers]

    async def sql(self, text: str, *values: object) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.url)
        try:
            return list(await connection.fetch(text, *values))
        finally:
            await connection.close()


@asynccontextmanager
async def listening(witness: Witness, **more: Any) -> AsyncIterator[int]:
    context, implicit = more.get("context"), more.get("implicit", False)
    server = await asyncio.get_running_loop().create_server(
        protocols(witness, **more), "127.0.0.1", 0, ssl=context if implicit else None
    )
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@pytest.fixture
async def post(kept: str, tmp_path: Path) -> AsyncIterator[Post]:
    found = Post(tmp_path, Store(kept), kept, [Witness(tmp_path / f"smtp-{n}") for n in (1, 2)])
    async with listening(found.servers[0]) as one, listening(found.servers[1]) as two:
        listed = [
            {"name": f"smtp-{n}", "host": "127.0.0.1", "port": port, "tls": "none", "rate": 1000, "burst": 1000}
            for n, port in ((1, one), (2, two))
        ]
        (tmp_path / "backends.json").write_text(json.dumps(listed))
        yield found
    await found.store.close()


def run_of(job: UUID, generation: int = 1) -> Context:
    return Context(job_id=job, generation=generation, deadline=datetime.now(UTC) + timedelta(seconds=180))


@pytest.mark.parametrize(
    ("first", "second", "state", "backend", "counts", "raised"),
    [
        pytest.param("ok", "ok", "sent", "smtp-1", [1, 0], None, id="the first is preferred"),
        pytest.param("fail", "ok", "sent", "smtp-2", [0, 1], None, id="it fails: the other one"),
        pytest.param("fail", "fail", "queued", "smtp-2", [0, 0], RetryLater, id="both fail: later"),
        pytest.param("greylist", "ok", "queued", "smtp-1", [0, 0], RetryLater, id="it wants another try"),
        pytest.param("refuse", "ok", "failed", "smtp-1", [0, 0], Reject, id="it knows no such mailbox: final"),
        pytest.param("drop", "ok", "maybe-sent", "smtp-1", [1, 0], Reject, id="taken, and the line lost: in doubt"),
        pytest.param("drop-untaken", "ok", "maybe-sent", "smtp-1", [0, 0], Reject, id="not taken, and nobody knows"),
        pytest.param("silent", "ok", "maybe-sent", "smtp-1", [1, 0], Reject, id="no answer to the mail's end"),
    ],
)  # fmt: skip
async def test_what_a_server_does_leads_to(
    post: Post,
    first: Any,
    second: Any,
    state: str,
    backend: str | None,
    counts: list[int],
    raised: type[Exception] | None,
) -> None:
    for server, mode in zip(post.servers, (first, second), strict=True):
        server.mode = Mode(mode=mode)
    id, job = await post.mail(), uuid4()  # noqa: A001
    if raised is None:
        assert await post.mailer().run(run_of(job), id) == Sent(
            backend=backend, message_id=f"<{id}@example.com>", error=None
        )
    else:
        with pytest.raises(raised):
            await post.mailer().run(run_of(job), id)
    seen = await post.seen(id)
    assert (seen["state"], seen["backend"], seen["attempts"], post.counts(id)) == (state, backend, 1, counts)
    assert (seen["error"] is None) == (state == "sent")
    # Whatever comes now, a redelivery sends nothing more, if that had an end.
    if state != "queued":
        for server in post.servers:
            server.mode = Mode(mode="ok")
        for _ in range(2):
            with pytest.raises(Reject) if raised else nullcontext():
                await post.mailer().run(run_of(job), id)
        assert post.counts(id) == counts
        assert await post.seen(id) == seen


async def test_a_run_that_ended_while_it_sent_is_in_doubt_once_no_other_can_be_at_it_and_a_redrive_sends_again(
    post: Post,
) -> None:
    id, job = await post.mail(), uuid4()  # noqa: A001
    await post.store.take_up(id, job, 1)
    assert await post.store.sending(job, 1, "smtp-1")  # and it is killed
    with pytest.raises(RetryLater) as later:
        await post.mailer().run(run_of(job), id)
    assert timedelta(0) < later.value.after <= timedelta(seconds=post.settings.longest_doubt)
    assert (await post.seen(id))["attempts"] == 0
    await post.sql("UPDATE sendings SET since = since - interval '1 hour'")
    for _ in range(2):
        with pytest.raises(Reject, match=r"maybe sent.*a redrive sends it again"):
            await post.mailer().run(run_of(job), id)
    assert ((await post.seen(id))["state"], post.counts(id)) == ("maybe-sent", [0, 0])
    await post.mailer().run(run_of(job, generation=2), id)
    assert ((await post.seen(id))["state"], post.counts(id)) == ("sent", [1, 0])
    await post.mailer().run(run_of(job, generation=3), id)
    assert post.counts(id) == [1, 0], "a server has said that it took it"


async def test_where_it_is_wanted_a_mail_in_doubt_is_sent_again(post: Post) -> None:
    post.settings = Settings(SENDER, reply_seconds=0.3, send_in_doubt=True)
    post.servers[0].mode = Mode(mode="drop", times=1)
    id, job = await post.mail(), uuid4()  # noqa: A001
    with pytest.raises(RetryLater, match="maybe sent, and is sent again"):
        await post.mailer().run(run_of(job), id)
    await post.mailer().run(run_of(job), id)
    assert ((await post.seen(id))["state"], post.counts(id)) == ("sent", [2, 0])


async def test_after_so_many_tries_it_is_a_dead_letter(post: Post) -> None:
    mailer = post.mailer()
    for server in post.servers:
        server.mode = Mode(mode="greylist")
    id, job = await post.mail(), uuid4()  # noqa: A001
    waits = []
    for _ in range(3):
        with pytest.raises(RetryLater) as later:
            await mailer.run(run_of(job), id)
        waits.append(later.value.after.total_seconds())
    with pytest.raises(Reject, match=r"not sent in 4 tries, the last: smtp-2 refused a@example.com: 451"):
        await mailer.run(run_of(job), id)
    assert waits == [5, 10, 20]
    seen = await post.seen(id)
    assert (seen["state"], seen["attempts"]) == ("failed", 4)
    assert mailer.breakers == dict.fromkeys(mailer.backends.now(), mailer._breaker(mailer.backends.now()[0]))
    assert all(breaker.failures == 0 for breaker in mailer.breakers.values()), "greylisting is no failure"


async def test_a_server_that_fails_is_left_alone(post: Post) -> None:
    post.servers[0].mode = Mode(mode="fail", times=3)
    mailer = post.mailer()
    for _ in range(5):
        await mailer.run(run_of(uuid4()), await post.mail())
    assert post.servers[0].mode.mode == "ok", "it was asked three times, and not the fourth"
    assert [len(server.taken()) for server in post.servers] == [0, 5]


@pytest.mark.parametrize("jobs", [1, 2], ids=["one job, delivered twice", "a job that was submitted twice"])
async def test_of_runs_at_the_same_time_one_sends(post: Post, jobs: int) -> None:
    ids = [await post.mail() for _ in range(20)]
    first = [uuid4() for _ in ids]
    second = first if jobs == 1 else [uuid4() for _ in ids]
    runs = [
        post.mailer().run(run_of(job), id)
        for id, *both in zip(ids, first, second, strict=True)  # noqa: A001
        for job in both
    ]  # fmt: skip
    ended = await asyncio.gather(*runs, return_exceptions=True)
    assert {type(one) for one in ended} <= {Sent, RetryLater}
    assert [sum(post.counts(one)) for one in ids] == [1] * 20
    assert [(await post.seen(one))["state"] for one in ids] == ["sent"] * 20


async def test_a_mail_that_nobody_stored_is_refused(post: Post) -> None:
    with pytest.raises(Reject, match="there is no e-mail"):
        await post.mailer().run(run_of(uuid4()), uuid4())


async def test_without_a_list_of_servers_it_waits(post: Post) -> None:
    (post.folder / "backends.json").write_text("[]")
    id = await post.mail()  # noqa: A001
    with pytest.raises(RetryLater, match="mails wait until it can"):
        await post.mailer().run(run_of(uuid4()), id)
    assert (await post.seen(id))["state"] == "queued"


class Slow(Witness):
    def __init__(self, log: Path) -> None:
        super().__init__(log)
        self.reached, self.go_on = asyncio.Event(), asyncio.Event()

    async def handle_DATA(self, *given: Any) -> str:  # noqa: N802
        self.reached.set()
        await self.go_on.wait()
        return await super().handle_DATA(*given)


async def test_a_run_that_is_stopped_while_it_hands_over_writes_down_the_answer(post: Post) -> None:
    slow = Slow(post.folder / "slow")
    async with listening(slow) as port:
        one = {"name": "slow", "host": "127.0.0.1", "port": port, "tls": "none"}
        (post.folder / "backends.json").write_text(json.dumps([one]))
        post.settings = Settings(SENDER)
        id = await post.mail()  # noqa: A001
        running = asyncio.ensure_future(post.mailer().run(run_of(uuid4()), id))
        await slow.reached.wait()
        running.cancel()
        slow.go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert (await post.seen(id))["state"] == "sent"


@pytest.mark.parametrize("tls", ["starttls", "tls"])
async def test_mails_go_over_tls_to_who_is_trusted_and_with_the_password(post: Post, tls: str) -> None:
    authority = Authority(post.folder / "ca")
    authority.sign("server", "IP:127.0.0.1")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(authority.path("server.crt"), authority.path("server.key"))
    witness = post.servers[0]
    if tls == "tls":  # aiosmtpd can't see TLS that is not its own, and warns of passwords without any
        expected: Any = pytest.warns(UserWarning, match="Requiring AUTH while not requiring TLS")
    else:
        expected = nullcontext()
    with expected:
        async with listening(witness, context=context, password="secret", implicit=tls == "tls") as port:
            good = {
                "name": "one",
                "host": "127.0.0.1",
                "port": port,
                "tls": tls,
                "user": "mailer",
                "password": "secret",
            }
            trusted = {**good, "ca": authority.path("ca.crt").read_text()}
            wrong = [
                (good, f"{'STARTTLS' if tls == 'starttls' else 'the connection'}.*certificate"),
                ({**trusted, "password": "wrong"}, "AUTH: 535"),
                ({**trusted, "tls": "none"}, "one, at"),
            ]
            for listed, said in wrong[
                : 3 if tls == "starttls" else 2
            ]:  # who speaks no TLS to one that waits for it waits long
                (post.folder / "backends.json").write_text(json.dumps([listed]))
                with pytest.raises(RetryLater, match=said) as later:
                    await post.mailer().run(run_of(uuid4()), await post.mail())
                assert "secret" not in str(later.value)
            assert witness.taken() == []
            (post.folder / "backends.json").write_text(json.dumps([trusted]))
            id = await post.mail()  # noqa: A001
            await post.mailer().run(run_of(uuid4()), id)
    assert post.counts(id)[0] == 1


def in_any(seconds: float, grants: list[float]) -> int:
    return max(sum(start <= at < start + seconds for at in grants) for start in grants)


async def test_over_all_consumers_a_server_gets_no_more_than_its_rate_and_no_less(post: Post) -> None:
    (listed := json.loads((post.folder / "backends.json").read_text()))[0] |= {"rate": 20, "burst": 4}
    (post.folder / "backends.json").write_text(json.dumps(listed))
    stores = [Store(post.url, connections=3) for _ in range(3)]
    mailers = [Mailer(store, post.settings, Backends(post.folder / "backends.json")) for store in stores]
    ids = [await post.mail() for _ in range(50)]
    began = asyncio.get_running_loop().time()
    await asyncio.gather(*(mailers[n % 3].run(run_of(uuid4()), one) for n, one in enumerate(ids)))
    took = asyncio.get_running_loop().time() - began
    grants = [
        row["at"] for row in await post.sql("SELECT extract(epoch FROM at)::float8 AS at FROM grants ORDER BY at")
    ]
    assert len(grants) == 50
    assert grants[-1] - grants[0] >= (50 - 4) / 20 - 0.01
    for seconds in (0.2, 0.5, 1, 2, 10):
        assert in_any(seconds, grants) <= 20 * seconds + 4
    assert [sum(post.counts(one)) for one in ids] == [1] * 50
    assert took < 50 / 5, "5 a second at the least"
    for store in stores:
        await store.close()


async def test_a_turn_that_comes_after_the_time_out_is_waited_for_in_the_queue_and_kept(post: Post) -> None:
    (listed := json.loads((post.folder / "backends.json").read_text()))[0] |= {"rate": 0.001, "burst": 1}
    (post.folder / "backends.json").write_text(json.dumps(listed))
    await post.mailer().run(run_of(uuid4()), await post.mail())
    id, job = await post.mail(), uuid4()  # noqa: A001
    for _ in range(2):  # a redelivery gets the same one
        with pytest.raises(RetryLater, match="its turn at smtp-1 comes in") as later:
            await post.mailer().run(run_of(job), id)
        assert 990 < later.value.after.total_seconds() <= 1000
    assert len(await post.sql("SELECT FROM grants")) == 2
    assert (await post.seen(id))["attempts"] == 0, "it counts as no try"
    await post.sql("UPDATE sendings SET slot = now()")
    await post.mailer().run(run_of(job), id)
    assert (await post.seen(id))["state"] == "sent"
