"""Each thing that a client does, as a talk: what it sends and how long it pauses, one after the other, to its result.

A talk is a generator that does nothing itself. It hands out a `Send` or a `Pause`, is told what was `Heard`, and returns
the result or raises. The two clients carry the same talks out, one with threads' means and one with an event loop's.
"""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar
from urllib.parse import quote
from uuid import UUID

import msgspec

from leveret.client.decide import Answer, Lost, Patience, Tries, judge
from leveret.client.encoding import MOST_IDS, MOST_JOBS, bodies, checked_key, encode, encode_all, new_jobs, uuids
from leveret.client.errors import (
    PROBLEMS,
    LeveretError,
    NotUnderstood,
    Problem,
    QueueFull,
    TimedOut,
    Unavailable,
    UnknownJob,
)
from leveret.client.values import BegunCancel, Job, JobResult, NewJob, Submitted

_SOON, _SELDOM, _SLOWER = 0.05, 3.0, 1.5  # s between the first looks at jobs, s between late ones, factor
_ENDLESS = 1 << 62
_LEAST = 1.0  # s for a try at the very end of its time: a look at jobs that has no time left finds nothing

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Send:
    method: str
    path: str
    timeout: float = 0.0  # s for this try; more for an answer that comes in parts
    body: bytes | None = None
    key: str | None = None
    changes: bool = False  # something, also without a key: it does no more twice than once


@dataclass(frozen=True, slots=True)
class Pause:
    seconds: float  # 0 only asks what time it is


@dataclass(frozen=True, slots=True)
class Heard:
    now: float  # s, of a clock that only goes forward
    outcome: Answer | Lost | None = None  # None after a pause
    waited: float = 0.0  # s of the time in which the client was busy with others, and nothing was sent


Talk = Generator[Send | Pause, Heard, T]


class _Accepted(msgspec.Struct, frozen=True):
    jobs: tuple[Submitted, ...]
    warning: str | None = None


class _Found(msgspec.Struct, frozen=True):
    jobs: tuple[JobResult, ...]


class _Ids(msgspec.Struct, frozen=True):
    ids: Sequence[UUID]


@dataclass(frozen=True, slots=True)
class Talks:
    patience: Patience
    draw: Callable[[], float]  # even in 0 … 1
    new_key: Callable[[], str]

    def submit(self, queue: str, job: NewJob, key: str | None) -> Talk[Submitted]:
        send = Send("POST", _jobs_of(queue), body=encode(job), key=self._key(key, [job]), changes=True)
        return _read((yield from self._ask(send)), Submitted)

    def submit_many(
        self, queue: str, jobs: Iterable[NewJob | Mapping[str, object]], key: str | None
    ) -> Talk[list[Submitted]]:
        """Send a list as one request, or as several where it is too long for one; each is stored whole or not at all."""
        listed = new_jobs(jobs)
        requests = list(bodies(encode_all(listed)))
        key = self._key(key, listed)
        submitted: list[Submitted] = []
        for index, (body, count) in enumerate(requests):
            # The same list is cut in the same places, so that the same key makes the same requests again.
            own = key if key is None or len(requests) == 1 else f"{key}-{index}"
            send = Send("POST", _jobs_of(queue), body=body, key=own, changes=True)
            try:
                accepted = _read((yield from self._ask(send)), _Accepted)
                if len(accepted.jobs) != count:
                    raise NotUnderstood(f"the API answers to {count} jobs with {len(accepted.jobs)}")
            except LeveretError as error:
                error.submitted, error.key = tuple(submitted), key
                raise
            submitted += [msgspec.structs.replace(job, warning=accepted.warning) for job in accepted.jobs]
        return submitted

    def _key(self, given: str | None, jobs: Sequence[NewJob]) -> str | None:
        """Return what makes a request one that is stored once, None where its jobs' ids do."""
        return None if not given and all(job.id for job in jobs) else checked_key(given or self.new_key())

    def get(self, id: UUID | str) -> Talk[Job]:
        return _read((yield from self._ask(Send("GET", f"/v1/jobs/{uuids([id])[0]}"))), Job)

    def get_many(self, ids: Iterable[UUID | str]) -> Talk[list[JobResult]]:
        """Those that the API knows, in the order of the ids, each once."""
        _, found = yield from self._look(uuids(ids), None)
        return found

    def cancel(self, id: UUID | str, queue: str | None) -> Talk[Job]:
        path = f"{_jobs_of(queue) if queue else '/v1/jobs'}/{uuids([id])[0]}/cancel"
        return _read((yield from self._ask(Send("POST", path, changes=True))), Job)

    def cancel_many(self, queue: str, ids: Iterable[UUID | str]) -> Talk[BegunCancel]:
        wanted, begun = uuids(ids), BegunCancel(0, 0)
        for start in range(0, len(wanted), MOST_JOBS):
            body = msgspec.json.encode(_Ids(wanted[start : start + MOST_JOBS]))
            send = Send("POST", f"{_jobs_of(queue)}/cancel", body=body, changes=True)
            more = _read((yield from self._ask(send)), BegunCancel)
            begun = BegunCancel(begun.total + more.total, begun.skipped + more.skipped, more.warning)
        return begun

    def wait(self, id: UUID | str, timeout: float) -> Talk[JobResult]:
        return (yield from self.wait_many([id], timeout))[0]

    def wait_many(self, ids: Iterable[UUID | str], timeout: float) -> Talk[list[JobResult]]:
        """Look at those that have not ended, soon at first and then less often, until all have."""
        wanted, ended, pause = uuids(ids), dict[UUID, JobResult](), _SOON
        now = (yield Pause(0)).now
        end = now + timeout
        while pending := [one for one in wanted if one not in ended]:
            try:
                now, found = yield from self._look(pending, end)
            except (Unavailable, QueueFull) as away:
                if isinstance(away, Unavailable) and away.lasting:  # there was time, but it would not have helped
                    raise
                raise TimedOut(pending, list(ended.values()), away) from away
            if missing := set(pending).difference(job.id for job in found):
                raise _unknown(missing)
            ended |= {job.id: job for job in found if job.final}
            if len(ended) == len(wanted):
                break
            if now >= end:
                raise TimedOut([one for one in wanted if one not in ended], list(ended.values()))
            now = (yield Pause(min(pause * (0.5 + self.draw() / 2), end - now))).now
            pause = min(pause * _SLOWER, _SELDOM)
        return [ended[one] for one in wanted]

    def _look(self, ids: Sequence[UUID], end: float | None) -> Talk[tuple[float, list[JobResult]]]:
        found: dict[UUID, JobResult] = {}
        for start in range(0, len(ids), MOST_IDS):
            body = msgspec.json.encode(_Ids(ids[start : start + MOST_IDS]))
            answer = yield from self._ask(Send("POST", "/v1/jobs/get", body=body), end)
            found |= {job.id: job for job in _read(answer, _Found).jobs}
        now = (yield Pause(0)).now
        return now, [found[one] for one in ids if one in found]

    def _ask(self, send: Send, end: float | None = None) -> Talk[bytes]:
        """Try until there is an answer; `end` stands for the patience's time and number where somebody waits."""
        now = (yield Pause(0)).now
        patience, own = (self.patience, True) if end is None else (replace(self.patience, attempts=_ENDLESS), False)
        end = now + patience.timeout if end is None else end
        tries = Tries(1, end - now)
        while True:
            heard = yield replace(send, timeout=min(patience.one_try, max(end - now, _LEAST)))
            assert heard.outcome is not None
            end += heard.waited if own else 0.0
            found = judge(heard.outcome, replace(tries, left=end - heard.now), patience, self.draw())
            if isinstance(found, bytes):
                return found
            if isinstance(found, LeveretError):
                found.key = send.key
                found.stored = found.stored if send.key or send.changes else "no"
                raise found
            now = (yield Pause(found.wait)).now
            tries = Tries(tries.attempt + 1, end - now, found.stored)


def _jobs_of(queue: str) -> str:
    return f"/v1/queues/{quote(queue, safe='')}/jobs"


def _read(body: bytes, of: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=of)
    except (msgspec.MsgspecError, ValueError) as problem:
        raise NotUnderstood(f"what answers is no API of Leveret: {problem!s:.200}; look at the URL") from problem


def _unknown(ids: set[UUID]) -> UnknownJob:
    detail = f"{len(ids)} of the jobs are not known to the API (any more), such as {min(ids)}"
    return UnknownJob(Problem(f"{PROBLEMS}unknown-job", "Unknown job", 404, detail))
