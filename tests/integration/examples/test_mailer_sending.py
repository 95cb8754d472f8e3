"""mailer's runs on a real PostgreSQL against real SMTP servers: what each fault leads to, and that no rate is exceeded."""

import asyncio
import json
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from mailer_post import SENDER, Post, listening, run_of

from examples.mailer.sending import Sent
from examples.mailer.settings import Settings
from examples.mailer.smtp_server import Mode, Witness
from leveret import Reject, RetryLater


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
    with pytest.raises(RetryLater, match="Mails are tried again"):
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
