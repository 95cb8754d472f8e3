"""What no queue took has a connection of its own: while that one fails, the recorder goes on, and /readyz tells which it is."""

import asyncio
from datetime import UTC, datetime
from functools import partial
from uuid import uuid4

from containers import Server, management
from producers import Producer, eventually_true, known, operating, producing, ready, tell

from leveret import topology, wire
from leveret.events import JobEvent
from leveret.jobs import Envelope, State
from leveret.rabbitmq.publisher import Publisher, until_confirmed
from leveret.settings import Broker, Database

QUEUE, NOBODYS = "leveret.test", "leveret.nobodys"


async def may_read(rabbitmq: Server, broker: Broker, what: str) -> None:
    """Say what may be read from now on."""
    rights = {"configure": ".*", "write": ".*", "read": what}
    await asyncio.to_thread(management, rabbitmq, f"permissions/{broker.vhost}/leveret", "PUT", rights)


async def in_state(producer: Producer, job: str, state: str) -> None:
    async def is_it() -> bool:
        answer = await producer.http.get(f"/v1/jobs/{job}")
        return answer.status_code == 200 and answer.json()["state"] == state

    await eventually_true(is_it, f"{job} is {state}")


async def record(operator: Publisher, producer: Producer) -> None:
    job = uuid4()
    await tell(operator, f"job.{QUEUE}", [JobEvent(job, "t", State.SUCCEEDED, datetime.now(UTC), "pod")])
    await in_state(producer, str(job), "succeeded")


async def test_its_failure_is_told_and_disturbs_no_recording(
    broker: Broker, database: Database, rabbitmq: Server
) -> None:
    async with producing(broker, database) as producer, operating(broker, QUEUE) as operator:
        await ready(producer)
        await known(producer)
        await record(operator, producer)
        await may_read(rabbitmq, broker, r"^(?!leveret\.unroutable$).*")
        queue = f"queues/{broker.vhost}/{topology.UNROUTABLE}"
        await asyncio.to_thread(management, rabbitmq, queue, "DELETE")  # which ends its consumer, and no connection

        said: dict[str, object] = {}

        async def says_so() -> bool:
            said.update(await producer.says())
            return "ACCESS_REFUSED" in str(said["broker"])

        await eventually_true(says_so, "that the messages can't be read")
        assert said["ok"]
        assert said["says"] == "serving, but not everything that is told can be recorded now: it waits with the broker"
        assert str(said["broker"]).startswith("returned messages: ")
        assert ";" not in str(said["broker"]), "of this connection only"
        await record(operator, producer)
        assert (await producer.submit({"type": "free", "payload": 1})).status_code == 202
        await may_read(rabbitmq, broker, ".*")

        lost = uuid4()
        message = wire.to_message(Envelope(lost, NOBODYS, "free", b"1"))
        await until_confirmed(partial(operator.publish, topology.JOBS, NOBODYS, message), "a job", pause=0.1)
        await in_state(producer, str(lost), "dead")
        assert (await producer.says())["broker"] == "connected"
