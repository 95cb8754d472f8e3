"""A queue at its limit: the front door refuses more, keeps what it took, and takes more once there is room."""

from datetime import UTC, datetime

from producers import QUEUE, Producer, eventually_true, known, operating, producing, ready, tell

from leveret.events import QueueDefined, QueueObserved
from leveret.rabbitmq.publisher import Publisher
from leveret.settings import Broker, Database

JOB = {"type": "free", "payload": 1}
LIMIT = 100


async def limited(publisher: Publisher, most: int | None) -> None:
    defined = QueueDefined("leveret", "test", datetime.now(UTC), "v1", 5, 30.0, max_length=most)
    await tell(publisher, f"queue.{QUEUE}", defined)


async def observed(publisher: Publisher, backlog: int | None, completion_rate: float | None = None) -> None:
    seen = QueueObserved(datetime.now(UTC), ready=backlog, backlog=backlog, completion_rate=completion_rate)
    await tell(publisher, f"queue.{QUEUE}", seen)


async def stored(producer: Producer) -> int:
    answer = await producer.http.get(f"/v1/jobs?queue={QUEUE}&limit=500")
    return len(answer.json()["jobs"])


async def test_a_full_queue_refuses_and_takes_more_once_it_has_room(broker: Broker, database: Database) -> None:
    async with producing(broker, database) as producer, operating(broker, QUEUE) as operator:
        await ready(producer)
        await known(producer)

        async def answers(status: int, jobs: int) -> bool:
            return (await producer.submit(*([JOB] * jobs))).status_code == status

        await limited(operator, LIMIT)
        await observed(operator, LIMIT, completion_rate=0.5)
        await eventually_true(lambda: answers(429, 1), "the queue is full", seconds=60)
        before = await stored(producer)  # what came in until the limit was known

        refused = await producer.submit(*([JOB] * 20))  # all or none
        problem = refused.json()
        assert (refused.status_code, problem["type"]) == (429, "https://leveret.dev/problems/queue-full")
        assert refused.headers["content-type"] == "application/problem+json"
        assert 5 <= int(refused.headers["retry-after"]) <= 60
        for said in (QUEUE, "limit is 100", "spec.queue.maxLength", "JobQueue test", "are kept", "nothing was stored"):
            assert said in problem["detail"]
        later = await producer.submit({**JOB, "delay": "1h"})
        assert (later.status_code, later.json()["state"]) == (202, "scheduled")
        assert await stored(producer) == before + 1

        await observed(operator, 40)
        await eventually_true(lambda: answers(202, 50), "there is room", seconds=60)
        assert await answers(429, 50)  # what this replica stored itself counts before it is observed
        assert await answers(202, 5)

        await limited(operator, None)
        await eventually_true(lambda: answers(202, 200), "there is no limit any more", seconds=60)


async def test_a_number_that_is_not_known_refuses_nothing(broker: Broker, database: Database) -> None:
    async with producing(broker, database) as producer, operating(broker, QUEUE) as operator:
        await ready(producer)
        await known(producer)
        await limited(operator, 1)
        await observed(operator, 5)

        async def full() -> bool:
            return (await producer.submit(JOB)).status_code == 429

        await eventually_true(full, "the queue is full", seconds=60)
        await observed(operator, None)

        async def taken() -> bool:
            return (await producer.submit(*([JOB] * 20))).status_code == 202

        await eventually_true(taken, "nothing is refused", seconds=60)
