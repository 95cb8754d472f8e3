"""What is in the outbox beside jobs is sent until the broker has it, whatever comes in between."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

import aio_pika
import pytest

from leveret import control, topology
from leveret.control import Cancel
from leveret.rabbitmq.alarm import Alarm
from leveret.rabbitmq.publisher import NotConfirmed
from leveret_producer.cancels.sender import Sender
from leveret_producer.metrics import Metrics
from leveret_producer.store.commands import CANCEL, REPLY, RULE, Command
from leveret_producer.store.postgres import DatabaseUnavailable

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


@dataclass
class Pretended:
    """The table, and the broker; each may fail so many times."""

    rows: list[Command]
    refuses: int = 0
    is_away: int = 0
    taken: set[int] = field(default_factory=set)
    told: list[UUID] = field(default_factory=list)
    replies: list[tuple[str, str]] = field(default_factory=list)
    confirms: bool = True
    is_closed: bool = False

    async def take(self, kinds: Sequence[str], most: int) -> list[Command]:
        found = [one for one in self.rows if one.kind in kinds and one.number not in self.taken][:most]
        self.taken |= {one.number for one in found}
        return found

    async def done(self, commands: Sequence[Command]) -> None:
        if self.is_away:
            self.is_away -= 1
            raise DatabaseUnavailable("away")
        self.rows = [one for one in self.rows if one not in commands]

    async def publish(self, exchange: str, key: str, message: aio_pika.Message) -> None:
        assert (exchange, key) == ("", topology.CONTROL)
        if self.refuses:
            self.refuses -= 1
            raise NotConfirmed("late")
        for command in control.decode(message.body).commands:
            assert isinstance(command, Cancel)
            self.told.extend(job for job, _ in control.unpack(command.jobs))

    async def send(self, address: str, message: aio_pika.Message, *, job: str, queue: str) -> bool:
        self.replies.append((address, str(message.correlation_id)))
        return self.confirms

    def sender(self) -> Sender:
        return Sender(cast(Any, self), Metrics(), lambda: NOW, Alarm())


def _cancels(number: int) -> list[Command]:
    return [Command(one, CANCEL, "q", UUID(int=one), 1) for one in range(number)]


async def test_what_is_not_confirmed_is_sent_again_and_only_then_gone() -> None:
    there = Pretended(_cancels(3), refuses=1)
    sender = there.sender()
    with pytest.raises(NotConfirmed):
        await sender._tell(cast(Any, there))
    assert (len(there.rows), there.told) == (3, [])
    await sender._tell(cast(Any, there))
    assert (there.rows, [one.int for one in there.told]) == ([], [0, 1, 2])


async def test_what_the_database_can_not_note_is_told_once_however_long_it_is_away() -> None:
    there = Pretended(_cancels(1), is_away=100)
    sender = there.sender()
    for _ in range(100):
        with pytest.raises(DatabaseUnavailable):
            await sender._tell(cast(Any, there))
    await sender._tell(cast(Any, there))
    assert (there.rows, len(there.told)) == ([], 1)


async def test_a_thousand_are_in_a_message_and_the_rest_in_the_next() -> None:
    there = Pretended(_cancels(1_500))
    sender = there.sender()
    await sender._tell(cast(Any, there))
    assert len(there.told) == 1_000
    await sender._tell(cast(Any, there))
    assert (there.rows, len(there.told)) == ([], 1_500)


async def test_of_a_rule_that_stands_no_more_nothing_is_told() -> None:
    there = Pretended([Command(1, RULE, "q", UUID(int=1), None)], refuses=1)
    await there.sender()._tell(cast(Any, there))
    assert (there.rows, there.refuses) == ([], 1)


@pytest.mark.parametrize(
    ("confirms", "is_closed", "left"),
    [
        pytest.param(True, False, 0, id="confirmed"),
        pytest.param(False, False, 0, id="dropped, and counted as that"),
        pytest.param(False, True, 1, id="the connection is gone"),
    ],
)
async def test_a_reply_is_there_until_it_was_tried(confirms: bool, is_closed: bool, left: int) -> None:
    row = Command(1, REPLY, "q", UUID(int=1), 1, '{"reply_to": "mine", "correlation_id": "c"}')
    there = Pretended([row], confirms=confirms, is_closed=is_closed)
    await there.sender()._answer(cast(Any, there), cast(Any, there))
    assert (there.replies, len(there.rows)) == ([("mine", "c")], left)
