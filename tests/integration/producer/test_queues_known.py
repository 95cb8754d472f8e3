"""Which queues the front door knows, as the operator tells of JobQueues, whatever it missed and whatever its clock says."""

from datetime import UTC, datetime, timedelta

from producers import Producer, eventually_true, known, operating, producing, ready, tell

from leveret.events import JobQueuesListed, QueueDefined, QueueRemoved
from leveret.settings import Broker, Database


async def queues(producer: Producer) -> set[str]:
    answer = await producer.http.get("/v1/queues")
    return {queue["name"] for queue in answer.json()["queues"]}


async def until_known(producer: Producer, *names: str) -> None:
    async def as_told() -> bool:
        return await queues(producer) == set(names)

    await eventually_true(as_told, f"{names} are known, and no others")


async def test_a_queue_of_a_jobqueue_that_was_deleted_while_no_operator_ran_is_not_known(
    broker: Broker, database: Database
) -> None:
    there = ("leveret.kept", "leveret.gone", "leveret.renamed", "leveret.odd", "other.away")
    async with producing(broker, database) as producer, operating(broker, *there) as operator:
        await ready(producer)
        for name in there:
            await known(producer, name)
        listed = {"kept": "leveret.kept", "renamed": "leveret.new-name", "odd": None}
        await tell(operator, "jobqueues.leveret", JobQueuesListed(datetime.now(UTC), listed))
        await until_known(producer, "leveret.kept", "leveret.odd", "other.away")

        refused = await producer.submit({"type": "free", "payload": 1}, queue="leveret.gone")
        assert refused.json()["type"] == "https://leveret.dev/problems/unknown-queue"

        again = QueueDefined("leveret", "gone", datetime.now(UTC), "v1", 5, 30.0)
        await tell(operator, "queue.leveret.gone", again)
        await until_known(producer, "leveret.gone", "leveret.kept", "leveret.odd", "other.away")


async def test_a_list_from_before_a_queue_was_told_of_does_not_count(broker: Broker, database: Database) -> None:
    async with producing(broker, database) as producer, operating(broker, "leveret.a", "leveret.b") as operator:
        await ready(producer)
        await known(producer, "leveret.a")
        earlier = datetime.now(UTC) - timedelta(seconds=30)
        await tell(operator, "jobqueues.leveret", JobQueuesListed(earlier, {}))
        await tell(operator, "queue.leveret.b", QueueRemoved(datetime.now(UTC)))  # recorded after the list
        await until_known(producer, "leveret.a")


async def test_an_operator_whose_clock_was_ahead_does_not_keep_a_queue_known(
    broker: Broker, database: Database
) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    async with producing(broker, database) as producer, operating(broker, "leveret.a", at=tomorrow) as operator:
        await ready(producer)
        await known(producer, "leveret.a")
        await tell(operator, "queue.leveret.a", QueueRemoved(datetime.now(UTC)))
        await until_known(producer)
