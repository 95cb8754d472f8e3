"""mailer on the way to its servers: TLS and passwords, and that no rate is exceeded, whoever sends."""

import asyncio
import json
import ssl
from contextlib import AsyncExitStack, nullcontext
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from mailer_post import Post, listening, run_of
from tls import Authority

from examples.mailer.backends import Backends
from examples.mailer.sending import Mailer
from examples.mailer.store import Store
from leveret import RetryLater


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
    settings = replace(post.settings, reply_seconds=30)  # a busy machine's witness may be in no hurry
    async with AsyncExitStack() as stack:
        stores = [Store(post.url) for _ in range(3)]
        for store in stores:
            stack.push_async_callback(store.close)
        mailers = [Mailer(store, settings, Backends(post.folder / "backends.json")) for store in stores]
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
