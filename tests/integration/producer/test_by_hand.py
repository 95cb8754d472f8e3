"""What the pages have done by hand on the broker and in the database, with their very words: a login, and a removal."""

import asyncio
import re
from uuid import UUID

import aio_pika
import pytest
import uuid_utils.compat as uuid_utils
from aio_pika.abc import AbstractIncomingMessage
from aiormq.exceptions import ChannelAccessRefused
from containers import Server
from pages import DOCS, blocks
from producers import QUEUE, eventually_true, known, message_taken, operating, producing, ready, tell

from leveret import events, topology
from leveret.client.rpc import ConnectionConfig, Refused, Rpc
from leveret.events import Error, HandlersRegistered, JobEvent, QueueDecided
from leveret.jobs import State
from leveret.rabbitmq.connection import open_connection
from leveret.rabbitmq.publisher import Publisher
from leveret.settings import Broker, Database


async def _nothing(message: AbstractIncomingMessage) -> None: ...


async def test_a_submitters_login_may_submit_and_take_its_replies_and_nothing_else(
    rabbitmq: Server, broker: Broker
) -> None:
    text = "\n".join(block.text for block in blocks(DOCS / "wire-contract.md", "bash"))
    permissions, _ = re.findall(r"set_permissions -p / shop '(.*)' '(.*)' '(.*)'", text)
    rabbitmq.run("rabbitmqctl", "-q", "add_user", "shop", "secret")
    rabbitmq.run("rabbitmqctl", "-q", "set_permissions", "-p", broker.vhost, "shop", *permissions)
    shop = Broker(broker.host, broker.port, "shop", "secret", broker.vhost)
    try:
        async with operating(broker, QUEUE), await open_connection(shop, "shop") as connection:
            channel = await connection.channel()
            answers = await channel.declare_queue("shop.answers", exclusive=True)
            await answers.consume(_nothing, no_ack=True)
            await (await channel.get_queue("amq.rabbitmq.reply-to", ensure=False)).consume(_nothing, no_ack=True)
            publisher = await Publisher.open(connection)
            job = aio_pika.Message(b"1", message_id=str(uuid_utils.uuid7()), type="t", reply_to="shop.answers")
            await publisher.publish(topology.JOBS, QUEUE, job)
            for forbidden in (QUEUE, topology.EVENTS):
                queue = await (await connection.channel()).get_queue(forbidden, ensure=False)
                with pytest.raises(ChannelAccessRefused):
                    await queue.consume(_nothing, no_ack=True)
            with pytest.raises(ChannelAccessRefused):
                await (await connection.channel()).declare_queue("other")
    finally:
        rabbitmq.run("rabbitmqctl", "-q", "delete_user", "shop")


async def test_with_one_right_more_it_may_cancel_jobs_of_its_queue_and_tell_nothing_else(
    rabbitmq: Server, broker: Broker
) -> None:
    text = "\n".join(block.text for block in blocks(DOCS / "wire-contract.md", "bash"))
    _, permissions = re.findall(r"set_permissions -p / shop '(.*)' '(.*)' '(.*)'", text)
    [topics] = re.findall(r"set_topic_permissions -p / shop leveret.events '(.*)' '(.*)'", text)
    rabbitmq.run("rabbitmqctl", "-q", "add_user", "shop", "secret")
    rabbitmq.run("rabbitmqctl", "-q", "set_permissions", "-p", broker.vhost, "shop", *permissions)
    config, job = ConnectionConfig("shop", "secret", broker.host, broker.port, broker.vhost), UUID(int=7)
    try:
        async with operating(broker, "leveret.prices"):
            rights = ("-p", broker.vhost, "shop", topology.EVENTS, *topics)
            rabbitmq.run("rabbitmqctl", "-q", "set_topic_permissions", *rights)
            async with await Rpc.connect(config) as rpc:
                call = asyncio.create_task(rpc.call("leveret.prices", "price", 1))
                taken = await message_taken(broker, "leveret.prices")
                for queue in ("leveret.other", "leveret.prices.more"):
                    with pytest.raises(Refused, match="ACCESS_REFUSED"):
                        await rpc.cancel(queue, job)
                await rpc.cancel("leveret.prices", job)
                while (told := await message_taken(broker, topology.EVENTS)).routing_key != "cancel.leveret.prices":
                    assert told.routing_key == "queue.leveret.prices"
                _, cancel = events.decode(told.routing_key or "", told.body)
                assert isinstance(cancel, events.CancelRequested)
                assert cancel.id == job
                assert (rpc.connected, call.done(), taken.type) == (True, False, "price")
                call.cancel()
    finally:
        rabbitmq.run("rabbitmqctl", "-q", "delete_user", "shop")


async def test_what_a_jobqueue_left_is_removed_for_good_and_nothing_else_is(
    rabbitmq: Server, postgres: Server, broker: Broker, database: Database
) -> None:
    page = "\n".join(block.text for block in blocks(DOCS / "reference" / "jobqueue.md", "bash"))
    [sql] = re.findall(r"<<'EOF'\n(.*?)^EOF$", page, re.DOTALL | re.MULTILINE)
    other = "leveret.other"

    def psql(text: str, *words: str) -> str:
        command = f"psql -qAt -v ON_ERROR_STOP=1 -U leveret {' '.join(words)} {database.dbname} <<'END'\n{text}\nEND"
        return postgres.run("sh", "-c", command)

    async with producing(broker, database) as producer, operating(broker, QUEUE, other) as operator:
        await ready(producer)
        for queue in (QUEUE, other):
            await known(producer, queue)
            [one] = [(await producer.submit({"type": "t", "payload": 1}, queue=queue)).json()]
            now = events.msgspec.convert(one["created_at"], events.Time)
            end = JobEvent(UUID(one["id"]), "t", State.DEAD, now, "pod", error=Error("GaveUp", "no"))
            await tell(operator, f"job.{queue}", [end])
            await tell(operator, f"handlers.{queue}", HandlersRegistered("v1", {}))
            await tell(operator, f"queue.{queue}", QueueDecided(now, 0, 1, "Backlog", "one"))

            async def dead(id: str = one["id"]) -> bool:
                return (await producer.job(id))["state"] == "dead"

            await eventually_true(dead, "it is dead")
            purge = await producer.http.post(f"/v1/queues/{queue}/dead-letters/purge", json={"all": True})
            assert purge.status_code == 202
    of_a_queue = "SELECT count(*) FROM {} WHERE {} = '{}'"
    tables = [("jobs", "queue"), ("dead_letter_operations", "queue"), ("decisions", "queue"), ("handlers", "queue")]

    def rows(queue: str) -> list[str]:
        return [psql(of_a_queue.format(*table, queue)) for table in [*tables, ("queues", "name")]]

    assert rows(QUEUE) == rows(other) == ["1"] * 5
    assert psql("SELECT count(*) FROM payloads") == psql("SELECT count(*) FROM attempts") == "2"
    psql(sql, "-v", f"queue={QUEUE}")
    assert (rows(QUEUE), rows(other)) == (["0"] * 5, ["1"] * 5)
    assert psql("SELECT count(*) FROM payloads") == psql("SELECT count(*) FROM attempts") == "1"
    for name in re.findall(r"rabbitmqctl delete_queue (\S+)", page):
        rabbitmq.run("rabbitmqctl", "-q", "-p", broker.vhost, "delete_queue", name.replace("leveret.my-jobs", QUEUE))
    left = rabbitmq.run("rabbitmqctl", "-q", "-p", broker.vhost, "list_queues", "--no-table-headers", "name").split()
    assert not {QUEUE, topology.dead_queue(QUEUE)} & set(left)
    assert {other, topology.dead_queue(other)} <= set(left)
