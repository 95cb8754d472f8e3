"""Which of a queue's jobs are cancelled, as the messages of the control stream tell.

What is kept is what is live: all of the newest whole snapshot, and what came since that one's first message (see
`leveret.control`). A command that nobody writes again holds until its own end. What is read a second time, after a lost
connection say, adds what is new and takes nothing away before the next whole snapshot: so a stream that somebody deleted makes
no consumer forget.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from leveret import control
from leveret.control import Cancel, CancelRule, Control
from leveret.jobs import Envelope, made_at

_RuleKey = tuple[datetime | None, datetime, str | None]  # since, before, type
_SECOND, _MILLISECOND = timedelta(seconds=1), timedelta(milliseconds=1)


@dataclass(slots=True)
class _Known:
    jobs: dict[bytes, datetime] = field(default_factory=dict)  # by `control.packed`, until when
    rules: dict[_RuleKey, datetime] = field(default_factory=dict)


@dataclass(slots=True)
class _Snapshot:
    """One that is being read; `known` is all that came since its first message."""

    id: UUID
    parts: set[int] = field(default_factory=set)
    number: int | None = None  # of parts, once the last one was read
    known: _Known = field(default_factory=_Known)


class Commands:
    """Those for one queue."""

    def __init__(self, queue: str) -> None:
        self._queue = queue
        self._known = _Known()
        self._reading: _Snapshot | None = None
        self.snapshots = 0  # whole ones
        self.live = False  # whether anything is known: most of the time nothing is, and then nobody needs to ask

    def hear(self, message: Control, now: datetime) -> None:
        """Take the stream's next message; raise ValueError for one that can't be read, of which nothing is taken."""
        jobs, rules = self._new(message, now)
        part = message.snapshot
        if part and part.part == 0 and (self._reading is None or self._reading.id != part.id):
            self._reading = _Snapshot(part.id)
        reading = self._reading
        for known in (self._known, *([reading.known] if reading else [])):
            known.jobs.update(jobs)
            known.rules.update(rules)
        if reading and part and part.id == reading.id:
            reading.parts.add(part.part)
            reading.number = part.parts or reading.number
            if len(reading.parts) == reading.number:
                self._known, self._reading = reading.known, None
                self.snapshots += 1
        self.live = bool(self._known.jobs or self._known.rules)

    def stops(self, job: Envelope, now: datetime) -> bool:
        """Tell whether a job is named, whatever it does: only then is one that runs asked to end."""
        until = self._known.jobs.get(control.packed(job.id, job.generation))
        return until is not None and now < until

    def cancels(self, job: Envelope, now: datetime) -> bool:
        """Tell whether a job that waits is named or meant by a rule."""
        return self.stops(job, now) or (bool(self._known.rules) and self._by_rule(job, now))

    def _new(self, message: Control, now: datetime) -> tuple[dict[bytes, datetime], dict[_RuleKey, datetime]]:
        jobs: dict[bytes, datetime] = {}
        rules: dict[_RuleKey, datetime] = {}
        for command in message.commands:
            if command.queue != self._queue or command.until <= now:
                continue
            match command:
                case Cancel():
                    jobs.update(dict.fromkeys(control.split(command.jobs), command.until))
                case CancelRule():
                    rules[command.since, command.before, command.type] = command.until
        return jobs, rules

    def _by_rule(self, job: Envelope, now: datetime) -> bool:
        made = made_at(job.id)
        at = job.submitted_at or made
        if at is None or job.generation > 1:
            return False
        # AMQP's timestamps are cut to the second: a job that may have been submitted after a rule's end is not the rule's.
        cut = _MILLISECOND if at == made or at.microsecond else _SECOND
        return any(
            now < until
            and before - at >= cut
            and (since is None or since <= at)
            and (of_type is None or of_type == job.type)
            for (since, before, of_type), until in self._known.rules.items()
        )
