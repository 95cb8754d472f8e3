"""Consumers that the broker has given up, has forgotten or is not talked to any more: they consume again."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import aio_pika
from aio_pika.abc import AbstractIncomingMessage
from containers import Server
from runs import until

from leveret import topology
from leveret.rabbitmq.declare import declare
from leveret_consumer.dead_letter_source import job_made_of
from leveret_consumer.intake import Intake
from leveret_consumer.lane import Own
from leveret_consumer.prefetch import Terms

QUEUE = "leveret.under-test"
PATIENCE = 60.0  # s; what is meant to take 10 s does so on a machine that has nothing else to do

# The queue itself is told that its consumers have cancelled; their channels, and so they, are not.
FORGET = """
{{ok, Q}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"{vhost}">>, queue, <<"{queue}">>)),
Leader = amqqueue:get_pid(Q),
{{ok, {{_, All}}, _}} = ra:local_query(Leader, fun rabbit_fifo:query_consumers/1),
[ra:process_command(Leader, rabbit_fifo:make_checkout({{element(2, One), element(1, One)}}, cancel, #{{}}))
 || One <- maps:values(All)].
"""


def runs(witness: Path, word: str = "start") -> list[str]:
    """The ids of jobs, one for each run that began or ended."""
    return [line.split()[1] for line in witness.read_text().splitlines() if line.startswith(word)]


async def test_a_queue_that_is_deleted_and_made_again_at_once_is_consumed_again(
    rig: Any, consumer: Callable[..., Any], witness: Path
) -> None:
    one = consumer()
    await one.ready()
    await rig.delete_queue()
    await rig.declare_queue()
    job = await rig.submit("sleep", {"witness": witness})
    (end,) = await rig.final(job, seconds=PATIENCE)
    assert (str(end.state), end.delivery) == ("succeeded", 0)
    await one.ready()


async def test_a_consumer_that_the_broker_has_forgotten_subscribes_anew(
    rig: Any, consumer: Callable[..., Any], witness: Path, rabbitmq: Server
) -> None:
    one = consumer()
    await one.ready()
    running = await rig.submit("sleep", {"witness": witness, "seconds": 15})
    await until("it runs", lambda: len(runs(witness)) == 1)
    expression = FORGET.format(vhost=rig.broker.vhost, queue=QUEUE)
    await asyncio.to_thread(rabbitmq.run, "rabbitmqctl", "-q", "eval", expression)
    after = [await rig.submit("sleep", {"witness": witness}) for _ in range(3)]
    await rig.final(*after, seconds=PATIENCE)
    assert "does not have this consumer any more" in one.log.read_text()
    assert one.process.poll() is None
    (end,) = await rig.final(running)
    assert str(end.state) == "succeeded"
    assert sorted(runs(witness)) == sorted(str(job) for job in [running, *after]), "what ran went on, and ran once"


@dataclass
class Heard:
    """Is told by an intake, and keeps what it delivers; what stands in `hold` is not acknowledged."""

    connection: Any
    prefetch: int = 10
    timeout: timedelta = timedelta(minutes=30)
    hold: bool = False
    said: list[str] = field(default_factory=list)
    held: list[AbstractIncomingMessage] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    shrunk: list[str] = field(default_factory=list)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    go: asyncio.Event = field(default_factory=asyncio.Event)

    def consumes(self) -> None:
        self.said.append("consumes")

    def waits(self, because: str) -> None:
        self.said.append(because)

    async def take(self, message: AbstractIncomingMessage) -> None:
        self.bodies.append(message.body)
        if self.hold:
            self.held.append(message)
            await self.go.wait()
        await message.ack()

    async def note_shrunk(self, tag: str) -> None:
        self.shrunk.append(tag)

    @asynccontextmanager
    async def intake(self) -> AsyncIterator[Intake]:
        made = Intake(
            self.connection,
            QUEUE,
            "pod",
            self.take,
            self,
            terms=lambda: Terms(self.prefetch, self.timeout),
            lane=Own(),
            shrunk=self.note_shrunk,
        )
        running = asyncio.create_task(made.run(self.stop))
        try:
            await until("it consumes", lambda: "consumes" in self.said)
            yield made
        finally:
            self.stop.set()
            self.go.set()
            await running
            made.cancel()
            made.close()


async def put(rig: Any, *bodies: bytes) -> None:
    for body in bodies:
        await rig.send(aio_pika.Message(body, delivery_mode=2))


async def test_a_consumer_whose_time_out_passes_consumes_again_and_its_late_ack_harms_nothing(rig: Any) -> None:
    heard = Heard(rig.connection, timeout=timedelta(seconds=3), hold=True)
    async with heard.intake():
        await put(rig, b"stuck", b"stuck too")
        await until("both are held", lambda: len(heard.held) == 2)
        heard.hold = False
        await until("they are delivered again, to a new consumer", lambda: len(heard.bodies) == 4)
        said = ["consumes", "the broker ended the consumer; subscribing again", "consumes"]
        await until("and it knows", lambda: heard.said == said)  # the first of them may come before the answer
        heard.go.set()
        await put(rig, b"after")
        await until("the next one", lambda: heard.bodies[4:] == [b"after"])
    assert await rig.ready_messages() == 0


async def test_another_prefetch_is_a_new_consumer_beside_the_old_one_and_nothing_is_delivered_twice(rig: Any) -> None:
    heard = Heard(rig.connection, prefetch=2, hold=True)
    async with heard.intake():
        await put(rig, *(b"%d" % number for number in range(12)))
        await until("two are held", lambda: len(heard.held) == 2)
        await asyncio.sleep(1)
        assert len(heard.held) == 2
        heard.prefetch = 8
        await until("two of the old and eight of the new one are held", lambda: len(heard.held) == 10)
        assert {message.consumer_tag for message in heard.held} == {"pod", "pod.1"}
        heard.go.set()
        await until("all came", lambda: len(heard.bodies) == 12)
        heard.prefetch = 3
        await until("it's told of what holds too much", lambda: heard.shrunk == ["pod.1"])
        await put(rig, b"last")
        await until("the last one", lambda: heard.bodies[-1] == b"last")
    assert len(set(heard.bodies)) == len(heard.bodies) == 13
    assert await rig.ready_messages() == 0
    assert heard.said == ["consumes"]


async def test_another_queues_dead_letters_are_consumed_beside_the_own_queue(
    rig: Any, consumer: Callable[..., Any], witness: Path
) -> None:
    source = "leveret.other.dead"
    one = consumer(source_queue=source)
    await one.ready()  # there is no queue of that name yet, and it need not be
    channel = await rig.connection.channel()
    await declare(channel, topology.for_queue("leveret.other"))
    died = "0192b3a4-0000-7000-8000-000000000001"
    letter = aio_pika.Message(
        b'{"witness": "%s"}' % str(witness).encode(),
        message_id=died,
        type="sleep",
        delivery_mode=2,
        headers={"leveret-attempt": 5, "leveret-generation": 2, "leveret-reason": "AttemptsExhausted"},
    )
    await (await channel.get_exchange(topology.DEAD, ensure=False)).publish(letter, "leveret.other")
    own = await rig.submit("sleep", {"witness": witness})
    await rig.final(own)
    made = job_made_of(UUID(died), 2, QUEUE)
    (end,) = await rig.final(made, seconds=PATIENCE)
    assert (str(end.state), end.attempt, end.generation) == ("succeeded", 1, 1)
    assert await rig.messages(source) == [0]
