"""What goes and what stays, on a real PostgreSQL, with days that are long over and others at work meanwhile."""

# ruff: noqa: S608 - the names in the statements are our own

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import getrandbits
from uuid import UUID, uuid4

import asyncpg
import pytest
import uuid_utils
from alembic import command
from alembic.config import Config
from producers import eventually_true, producing, ready
from sqlalchemy import Connection, text

from leveret.events import Error, JobEvent
from leveret.jobs import Envelope, State
from leveret.settings import Broker, Database
from leveret_producer.recorder.merge import Report
from leveret_producer.retention import partitions as adapter
from leveret_producer.retention.keeper import Keeper
from leveret_producer.retention.partitions import Partitions
from leveret_producer.retention.plan import DAY, TABLES, Create, Partition, Retention, midnight
from leveret_producer.retention.session import alone
from leveret_producer.store import migrate as migrating
from leveret_producer.store.jobs import Jobs, NewJob
from leveret_producer.store.listing import Wanted
from leveret_producer.store.migrate import migrate
from leveret_producer.store.outbox import OutboxRows, Publication
from leveret_producer.store.postgres import Postgres
from leveret_producer.store.recording import Recording
from leveret_producer.store.turns import Turns

QUEUE = "leveret.old"
OLD = datetime.now(UTC).date() - 200 * DAY
KEPT = Retention(jobs=timedelta(days=30), payloads=timedelta(days=7), decisions=timedelta(days=30))
FAILED = Error("AttemptsExhausted", "boom", "ValueError", "…")


class Store:
    """A database as it is after months of use, and what is asked of it."""

    def __init__(self, place: Database) -> None:
        self.place = place
        self.postgres = Postgres(lambda: place, connections=4, name="test")
        self.jobs, self.rows = Jobs(self.postgres), OutboxRows(self.postgres)
        self.recording = Recording(self.postgres)

    async def begun(self, first: date, days: int = 3) -> None:
        """Be as if the installation had begun on that day, with partitions for so many."""
        await migrate(self.postgres)
        lowest, _ = Partition(first, "jobs").bounds
        highest, _ = Partition(date(2100, 1, 1), "jobs").bounds
        for table in TABLES:
            await self.run(f"ALTER TABLE {table} DETACH PARTITION {table}_by_day")
            await self.run(
                f"ALTER TABLE {table} ATTACH PARTITION {table}_by_day FOR VALUES FROM ('{lowest}') TO ('{highest}')"
            )
        await self.make(first, days)

    async def make(self, first: date, days: int) -> None:
        async with alone(lambda: self.place, "test") as session:
            assert session is not None
            partitions = Partitions(session)
            for table in TABLES:
                for day in range(days):
                    assert await partitions.create(Create(Partition(first + day * DAY, table), "a test wants it"))

    async def run(self, statement: str, **values: object) -> list[asyncpg.Record]:
        async with self.postgres.transaction() as connection:
            found = await connection.execute(text(statement), values)
            return list(found.all()) if found.returns_rows else []  # type: ignore[arg-type]

    async def submit(self, ids: Sequence[UUID], at: datetime, due_at: datetime | None = None) -> None:
        new = [
            NewJob(Envelope(one, QUEUE, "t", b'{"n":1}', submitted_at=at), 5, run_at=due_at, due_at=due_at)
            for one in ids
        ]
        await self.jobs.insert(new, at, 0)

    async def report(self, ids: Sequence[UUID], state: State, at: datetime) -> None:
        error = FAILED if state is State.DEAD else None
        events = [JobEvent(one, "t", state, at, "pod", started_at=at, error=error) for one in ids]
        for start in range(0, len(events), 1_000):
            await self.recording.record([Report(QUEUE, one) for one in events[start : start + 1_000]])

    async def kept(self, table: str = "jobs") -> set[UUID]:
        key = "job_id" if table == "attempts" else "id"
        return {row[0] for row in await self.run(f"SELECT {key} FROM {table}")}

    async def tables(self, table: str = "jobs") -> list[str]:
        named = await self.run(
            "SELECT relid::regclass::text FROM pg_partition_tree(CAST(CAST(:table AS text) AS regclass)) WHERE isleaf",
            table=table,
        )
        return sorted(row[0] for row in named)

    async def all_tables(self) -> list[str]:
        return [name for table in TABLES for name in await self.tables(table)]

    async def place_of(self, id: UUID, table: str = "jobs") -> str:
        [row] = await self.run(f"SELECT tableoid::regclass::text FROM {table} WHERE id = :id", id=id)
        place: str = row[0]
        return place

    def keeper(self, now: datetime, retention: Retention = KEPT) -> Keeper:
        return Keeper(lambda: self.place, "test", retention, lambda: now, Turns(self.postgres))


@pytest.fixture
async def store(database: Database) -> AsyncIterator[Store]:
    one = Store(database)
    yield one
    await one.postgres.close()


def ids_of(day: date, number: int) -> list[UUID]:
    """Make UUIDv7s of ten hours of a day."""
    start = int((midnight(day) + timedelta(hours=1)).timestamp() * 1000)
    return [UUID(int=start + one % 36_000_000 << 80 | 7 << 76 | getrandbits(76)) for one in range(number)]


def noon(day: date) -> datetime:
    return midnight(day) + timedelta(hours=12)


async def test_what_is_over_goes_and_what_is_not_stays(store: Store) -> None:
    await store.begun(OLD)
    day = noon(OLD)
    done, waiting, running, dead, purged, late, ahead = (ids_of(OLD, 20) for _ in range(7))
    for ids in (done, waiting, running, dead, purged, late):
        await store.submit(ids, day)
    await store.submit(ahead, day, due_at=day + timedelta(days=200))
    await store.report(done[:10], State.SUCCEEDED, day)
    await store.report(done[10:], State.CANCELLED, day)
    await store.report(waiting[10:], State.BLOCKED, day)
    await store.report(running, State.RUNNING, day)
    await store.report([*dead, *purged], State.DEAD, day)
    await store.report(late, State.SUCCEEDED, day + 20 * DAY)
    await store.run("UPDATE jobs SET purged_at = now() WHERE id = ANY(:ids)", ids=purged)
    stays = {*waiting, *running, *dead, *ahead}
    before = {one: await store.jobs.get(one) for one in (*dead[:3], *ahead[:3])}

    turns = {
        8: {*stays, *late, *done, *purged},  # the payloads' time has not come
        9.5: {*stays, *late},  # it has; late ones aren't over yet
        28: stays,
    }
    for days, with_payload in turns.items():
        await store.keeper(day + days * DAY).turn()
        assert await store.kept("payloads") == with_payload, days
        assert await store.kept() == {*stays, *late, *done, *purged}
    assert Partition(OLD, "payloads").name not in await store.tables("payloads")
    gone = await store.jobs.get(done[0])
    assert gone is not None
    assert (gone.payload, str(gone.state), len(gone.attempts)) == (None, "succeeded", 1)

    await store.keeper(day + 32 * DAY).turn()
    assert await store.kept() == {*stays, *late}
    assert await store.kept("attempts") == {*running, *dead, *late}
    for table in TABLES:
        assert Partition(OLD, table).name not in await store.tables(table)
    assert await store.place_of(dead[0]) == "jobs_by_day_rest"
    assert {one: await store.jobs.get(one) for one in before} == before
    assert await store.jobs.get(done[0]) is None

    await store.keeper(day + 51 * DAY).turn()
    assert await store.kept() == stays  # the late ones have had their thirty days
    assert await store.kept("attempts") == {*running, *dead}
    assert await store.kept("payloads") == stays


async def test_what_stayed_goes_on_as_before_and_goes_when_it_is_over(store: Store) -> None:
    await store.begun(OLD)
    waiting, dead = ids_of(OLD, 30), ids_of(OLD, 30)
    await store.submit([*waiting, *dead], noon(OLD))
    await store.report(dead, State.DEAD, noon(OLD))
    now = noon(OLD) + 40 * DAY
    await store.keeper(now).turn()
    assert await store.kept() == {*waiting, *dead}

    taken = await store.rows.take(500)
    assert {one.job.id for one in taken} == set(waiting)
    assert {one.job.body for one in taken} == {b'{"n":1}'}
    assert await store.rows.mark([Publication(one, 1, 1) for one in waiting]) == set(waiting)
    await store.report(waiting, State.SUCCEEDED, now)
    await store.run("UPDATE jobs SET purged_at = now() WHERE id = ANY(:ids)", ids=dead[:10])
    listed = await store.jobs.page(Wanted(queue=QUEUE, state=State.DEAD))
    assert {one.id for one in listed} == set(dead)

    await store.keeper(now + 8 * DAY).turn()
    assert await store.kept() == {*waiting, *dead[10:]}
    assert await store.kept("payloads") == set(dead[10:])
    await store.keeper(now + 31 * DAY).turn()
    for table in TABLES:
        assert await store.kept(table) == set(dead[10:]), table


async def test_ids_that_tell_no_time_go_by_their_age(store: Store) -> None:
    await store.begun(OLD)
    done, open_ = [uuid4() for _ in range(1_500)], [uuid4() for _ in range(50)]
    await store.submit([*done, *open_], noon(OLD))
    await store.report(done, State.SUCCEEDED, noon(OLD))
    assert "jobs_default" in {await store.place_of(one) for one in done[:20]}
    await store.keeper(noon(OLD) + 6.9 * DAY).turn()
    assert await store.kept("payloads") == {*done, *open_}
    await store.keeper(noon(OLD) + 7.1 * DAY).turn()
    assert await store.kept("payloads") == set(open_)
    assert await store.kept() == {*done, *open_}
    await store.keeper(noon(OLD) + 30.1 * DAY).turn()
    assert await store.kept() == set(open_)
    assert await store.kept("attempts") == set()


async def test_a_day_of_which_much_must_stay_is_cleared_by_rows(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "MOST_ROWS", 100)
    await store.begun(OLD)
    done, dead = ids_of(OLD, 2_500), ids_of(OLD, 150)
    await store.submit([*done, *dead], noon(OLD))
    await store.report(done, State.SUCCEEDED, noon(OLD))
    await store.report(dead, State.DEAD, noon(OLD))
    now = noon(OLD) + 40 * DAY
    await store.keeper(now).turn()
    for table in TABLES:
        assert await store.kept(table) == set(dead), table
        assert Partition(OLD, table).name in await store.tables(table)
    await store.run("UPDATE jobs SET purged_at = now() WHERE id = ANY(:ids)", ids=dead[:100])
    await store.keeper(now).turn()
    for table in TABLES:
        assert await store.kept(table) == set(dead[100:]), table
        assert Partition(OLD, table).name not in await store.tables(table)


async def test_others_work_on_while_days_are_made_and_removed(store: Store) -> None:
    """A relay and recorders write jobs of today and of the days that go; nothing is lost, and nobody is refused."""
    await store.begun(OLD, days=12)
    days = [OLD + one * DAY for one in range(12)]
    stays: set[UUID] = set()
    for day in days:
        done, dead = ids_of(day, 300), ids_of(day, 30)
        await store.submit([*done, *dead], noon(day))
        await store.report(done, State.SUCCEEDED, noon(day))
        await store.report(dead, State.DEAD, noon(day))
        stays |= set(dead)
    written: set[UUID] = set()
    slowest, going = 0.0, True

    async def work(number: int) -> None:
        nonlocal slowest
        while going:
            at = datetime.now(UTC)
            ids = [UUID(str(uuid_utils.uuid7())) for _ in range(20)]
            late = ids_of(days[number % 12], 5)  # a late foreign client's: of a day that goes
            began = asyncio.get_running_loop().time()
            await store.submit(ids, at)
            await store.report([*ids[::-1], *late], State.RUNNING, at)
            await store.report([*late, *ids], State.SUCCEEDED, at)
            slowest = max(slowest, asyncio.get_running_loop().time() - began)
            written.update(ids, late)
            await store.rows.take(50)
            number += 1
            await asyncio.sleep(0.01)

    workers = [asyncio.create_task(work(number)) for number in (0, 5)]
    keepers = [store.keeper(datetime.now(UTC)), store.keeper(datetime.now(UTC))]
    async with asyncio.timeout(240):
        while {Partition(day, table).name for day in days for table in TABLES} & set(await store.all_tables()):
            await asyncio.gather(*(keeper.turn() for keeper in keepers))
    await asyncio.sleep(0.5)
    going = False
    await asyncio.gather(*workers)
    assert await store.kept() == stays | written
    assert slowest < 20
    counted = await store.run("SELECT id FROM jobs GROUP BY id HAVING count(*) > 1")
    assert counted == []


async def test_a_keeper_that_is_killed_leaves_all_as_it_was(store: Store) -> None:
    await store.begun(OLD)
    done, dead = ids_of(OLD, 100), ids_of(OLD, 20)
    await store.submit([*done, *dead], noon(OLD))
    await store.report(done, State.SUCCEEDED, noon(OLD))
    await store.report(dead, State.DEAD, noon(OLD))
    now = noon(OLD) + 40 * DAY
    await store.make(now.date(), 8)

    async def killed_at(step: str, held_up_by: str) -> None:
        async with store.postgres.transaction(60) as other:
            await other.execute(text(held_up_by))
            turn = asyncio.create_task(store.keeper(now).turn())
            async with asyncio.timeout(25):
                while not (
                    waiting := await store.run(
                        "SELECT pid FROM pg_stat_activity WHERE application_name = 'test retention' "
                        "AND wait_event_type = 'Lock' AND state = 'active' AND query LIKE :step || '%'",
                        step=step,
                    )
                ):
                    assert not turn.done()
                    await asyncio.sleep(0.02)
            await store.run("SELECT pg_terminate_backend(:pid)", pid=waiting[0][0])
            with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
                await turn

    day = Partition(OLD, "jobs")
    await killed_at("CREATE INDEX CONCURRENTLY", held_up_by=f"UPDATE {day.name} SET type = type WHERE false")
    assert await store.kept() == await store.kept("payloads") == {*done, *dead}
    await killed_at("DROP INDEX CONCURRENTLY", held_up_by=f"SELECT count(*) FROM {day.name}")  # one half built
    assert await store.kept() == await store.kept("payloads") == {*done, *dead}
    await killed_at("ALTER TABLE jobs_by_day DETACH", held_up_by="LOCK TABLE jobs_by_day_rest IN ACCESS SHARE MODE")
    assert await store.kept() == {*done, *dead}
    assert await store.kept("payloads") == set(dead)
    assert day.name in await store.tables()
    assert await store.keeper(now).turn()
    for table in TABLES:
        assert await store.kept(table) == set(dead), table
        assert Partition(OLD, table).name not in await store.tables(table)


async def test_only_one_is_at_it_and_a_lock_that_is_held_is_waited_for_another_time(store: Store) -> None:
    await store.begun(OLD)
    done = ids_of(OLD, 10)
    await store.submit(done, noon(OLD))
    await store.report(done, State.SUCCEEDED, noon(OLD))
    now = noon(OLD) + 40 * DAY
    await store.make(now.date(), 8)
    keeper = store.keeper(now)
    async with alone(lambda: store.place, "another") as mine, alone(lambda: store.place, "test") as other:
        assert mine is not None
        assert other is None
        assert await keeper.turn()  # nothing to do for this one
        assert await store.kept() == set(done)
    async with store.postgres.transaction(60) as holder:
        await holder.execute(text(f"LOCK TABLE {Partition(OLD, 'jobs').name} IN ACCESS SHARE MODE"))
        assert not await keeper.turn()
        assert await store.kept() == set(done)
    assert await keeper.turn()
    assert await store.kept() == set()


async def test_a_clock_that_is_ahead_removes_nothing(store: Store) -> None:
    await migrate(store.postgres)
    now = datetime.now(UTC)
    ids = [UUID(str(uuid_utils.uuid7())) for _ in range(10)]
    await store.submit(ids, now)
    await store.report(ids, State.SUCCEEDED, now)
    await store.keeper(now + 1_000 * DAY).turn()
    assert await store.kept("payloads") == set(ids)


async def test_ids_from_ahead_move_into_their_day(store: Store) -> None:
    await store.begun(OLD, days=1)
    ahead, neighbour = ids_of(OLD + DAY, 10), ids_of(OLD + 2 * DAY, 5)
    await store.submit([*ahead, *neighbour], noon(OLD))
    assert await store.place_of(ahead[0]) == "jobs_by_day_rest"
    await store.keeper(noon(OLD) - 6 * DAY).turn()
    for table in ("jobs", "payloads"):
        assert await store.place_of(ahead[0], table) == Partition(OLD + DAY, table).name
        assert await store.place_of(neighbour[0], table) == f"{table}_by_day_rest"
    assert await store.kept() == {*ahead, *neighbour}


async def test_a_partition_has_the_keys_and_indexes_of_its_table(store: Store) -> None:
    await store.begun(OLD, days=1)
    for table in TABLES:
        missing = await store.run(
            "SELECT whole.indexrelid FROM pg_index AS whole "
            "WHERE whole.indrelid = CAST(CAST(:days AS text) AS regclass) AND NOT EXISTS ("
            "    SELECT 1 FROM pg_inherits JOIN pg_index AS part ON part.indexrelid = inhrelid "
            "    WHERE inhparent = whole.indexrelid AND part.indisvalid "
            "    AND part.indrelid = CAST(CAST(:name AS text) AS regclass))",
            days=f"{table}_by_day",
            name=Partition(OLD, table).name,
        )
        assert missing == []


def _plan_tables(plan: object) -> set[str]:
    """Which tables a plan reads."""
    found: set[str] = set()
    if isinstance(plan, dict):
        if plan.get("Actual Loops", 1) and "Relation Name" in plan:
            found.add(plan["Relation Name"])
        for value in plan.values():
            found |= _plan_tables(value)
    if isinstance(plan, list):
        for value in plan:
            found |= _plan_tables(value)
    return found


def _count(plan: object, kind: str) -> int:
    if isinstance(plan, dict):
        return (plan.get("Node Type") == kind) + sum(_count(value, kind) for value in plan.values())
    return sum(_count(value, kind) for value in plan) if isinstance(plan, list) else 0


async def test_a_job_is_looked_for_in_its_own_partition_and_lists_use_their_indexes(store: Store) -> None:
    await store.begun(OLD, days=10)
    for day in range(10):
        ids = ids_of(OLD + day * DAY, 400)
        await store.submit(ids, noon(OLD + day * DAY))
        await store.report(ids[:390], State.SUCCEEDED, noon(OLD + day * DAY))
    await store.run("ANALYZE jobs")
    one = ids_of(OLD + 3 * DAY, 1)[0]

    async def explain(query: str, **values: object) -> object:
        async with store.postgres.transaction() as connection:
            await connection.execute(text("SET LOCAL enable_seqscan = off"))  # so small a table is read whole else
            found = await connection.execute(text(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}"), values)
            return found.scalar_one()

    by_id = await explain("SELECT * FROM jobs WHERE id = ANY(CAST(:ids AS uuid[])) ORDER BY id FOR UPDATE", ids=[one])
    assert _plan_tables(by_id) == {Partition(OLD + 3 * DAY, "jobs").name}
    joined = await explain("SELECT * FROM unnest(CAST(:ids AS uuid[])) AS asked (id) JOIN jobs USING (id)", ids=[one])
    assert _plan_tables(joined) <= {Partition(OLD + 3 * DAY, "jobs").name}
    outbox = await explain(
        "SELECT id FROM jobs WHERE published_at IS NULL AND lease_until <= now() ORDER BY lease_until, id LIMIT 100"
    )
    listed = await explain(
        "SELECT id FROM jobs WHERE queue = :queue ORDER BY created_at DESC, id DESC LIMIT 50", queue=QUEUE
    )
    days = {Partition(OLD + day * DAY, "jobs").name for day in range(10)}
    for plan in (outbox, listed):
        assert days <= _plan_tables(plan)
        assert (_count(plan, "Seq Scan"), _count(plan, "Sort")) == (0, 0)


def _migrate_to(revision: str) -> object:
    def run(connection: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(Path(migrating.__file__).parent / "migrations"))
        config.attributes["connection"] = connection
        if revision == "0003" and connection.execute(text("SELECT to_regclass('jobs')")).scalar_one():
            command.downgrade(config, revision)
        else:
            command.upgrade(config, revision)

    return run


async def test_tables_with_jobs_in_them_are_migrated_there_and_back(store: Store) -> None:
    async def to(revision: str) -> None:
        async with store.postgres.transaction(60) as connection:
            await connection.run_sync(_migrate_to(revision))  # type: ignore[arg-type]

    await to("0009")  # what is stored has all columns that are written today
    now = datetime.now(UTC)
    old, today = ids_of(OLD, 50), [UUID(str(uuid_utils.uuid7())) for _ in range(50)]
    foreign = [uuid4() for _ in range(2_000)]
    everything = {*old, *today, *foreign}
    await store.submit(sorted(everything), now)
    await store.report(sorted(everything)[:500], State.SUCCEEDED, now)
    await to("0003")
    before = await store.run("SELECT * FROM jobs ORDER BY id")
    await to("0004")
    assert await store.run("SELECT * FROM jobs ORDER BY id") == before
    assert await store.kept("payloads") == everything
    assert await store.place_of(today[0]) == Partition(now.date(), "jobs").name
    assert await store.place_of(old[0]) == "jobs_default"
    await to("0009")  # a producer migrates before it looks after the tables
    await store.submit(new := [UUID(str(uuid_utils.uuid7()))], now)
    assert await store.keeper(now).turn()
    await to("0003")
    assert await store.kept() == {*everything, *new}
    assert await store.tables() == ["jobs_default"]
    await to("0009")
    assert await store.kept() == {*everything, *new}


async def test_keys_go_a_day_after_they_came(store: Store) -> None:
    await migrate(store.postgres)
    await store.run(
        "INSERT INTO idempotency_keys (caller, key, request, ids, created_at, stored_at) SELECT 'c', CAST(n AS text), "
        "CAST('' AS bytea), CAST('{}' AS uuid[]), now(), now() - CASE WHEN n < 2500 THEN interval '25 hours' "
        "ELSE interval '23 hours' END FROM generate_series(0, 2502) AS n"
    )
    await store.keeper(datetime.now(UTC) + 2 * DAY).turn()  # a clock that is ahead removes nothing that is not old
    left = await store.run("SELECT key FROM idempotency_keys ORDER BY 1")
    assert [row[0] for row in left] == ["2500", "2501", "2502"]


async def test_decisions_go_by_their_age(store: Store) -> None:
    await migrate(store.postgres)
    now = datetime.now(UTC)
    for age in (1, 29, 31, 90):
        await store.run(
            "INSERT INTO decisions VALUES ('q', :at, 0, 1, 'Backlog', 'because')", at=now - timedelta(days=age)
        )
    await store.keeper(now).turn()
    [(left,)] = await store.run("SELECT count(*) FROM decisions")
    assert left == 2


async def test_attempts_of_nobody_go(store: Store) -> None:
    """Attempts whose job is gone, as from a restored backup, go wherever they are outside the days; others stay."""
    await store.begun(OLD)
    foreign, early, known = uuid4(), ids_of(OLD + 100 * DAY, 1)[0], ids_of(OLD + 100 * DAY, 1)[0]
    await store.submit([foreign, early, known], noon(OLD))
    await store.report([foreign, early, known], State.RUNNING, noon(OLD))
    assert await store.place_of(early, "payloads") == "payloads_by_day_rest"
    await store.run("DELETE FROM jobs WHERE id = ANY(:ids)", ids=[foreign, early])
    await store.keeper(noon(OLD)).turn()
    assert await store.kept("attempts") == {known}


async def test_handlers_of_versions_that_nobody_runs_go_by_their_age(store: Store) -> None:
    await migrate(store.postgres)
    now = datetime.now(UTC)
    await store.run("INSERT INTO queues (name, version) VALUES ('a', 'now'), ('b', 'before')")
    for queue, version, age in (("a", "now", 90), ("a", "before", 31), ("a", "next", 29), ("b", "now", 31)):
        at = now - timedelta(days=age)
        await store.run(
            "INSERT INTO handlers VALUES (:queue, :version, '{}', :at)", queue=queue, version=version, at=at
        )
    await store.keeper(now).turn()
    left = await store.run("SELECT queue, version FROM handlers ORDER BY 1, 2")
    assert [tuple(row) for row in left] == [("a", "next"), ("a", "now")]


async def test_a_late_report_makes_the_job_known_again_for_its_time(store: Store) -> None:
    await store.begun(OLD)
    done = ids_of(OLD, 3)
    await store.submit(done, noon(OLD))
    await store.report(done, State.SUCCEEDED, noon(OLD))
    now = noon(OLD) + 40 * DAY
    await store.keeper(now).turn()
    assert await store.kept() == set()
    await store.report(done[:1], State.SUCCEEDED, now)
    known = await store.jobs.get(done[0])
    assert known is not None
    assert (str(known.state), known.payload) == ("succeeded", None)
    await store.keeper(now + 29 * DAY).turn()
    assert await store.kept() == set(done[:1])
    await store.keeper(now + 31 * DAY).turn()
    assert await store.kept() == await store.kept("attempts") == set()


async def test_a_producer_does_it_by_itself(store: Store, broker: Broker, database: Database) -> None:
    await store.begun(OLD)
    done = ids_of(OLD, 20)
    await store.submit(done, noon(OLD))
    await store.report(done, State.SUCCEEDED, noon(OLD))
    async with producing(broker, database) as producer, producing(broker, database, "producer-b"):
        await ready(producer)

        async def are_gone() -> bool:
            return await store.kept() == set() and Partition(OLD, "jobs").name not in await store.tables()

        await eventually_true(are_gone, "what is old is gone", seconds=150)  # it may be tried again after 60 s
        answer = await producer.http.get(f"/v1/jobs/{done[0]}")
        assert (answer.status_code, "its retention is over" in answer.json()["detail"]) == (404, True)
