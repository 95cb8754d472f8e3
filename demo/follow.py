"""Follow our jobs until each is final: ask the API again and again, and keep what it said as a snapshot.

The API lists jobs newest first in pages. A page whose jobs of ours are all final can't change any more, so it is asked
only once: following thousands of jobs costs a few requests a second. An API that is away for a while (a killed
pod) is a line on the screen, not the end.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from demo.api import JobPage, QueueNow, Unanswered
from demo.snapshot import Decision, JobSeen, Sample, Snapshot, is_final, tally


class Source(Protocol):
    def page(self, before: str | None) -> JobPage: ...

    def queue_now(self) -> QueueNow: ...


class Follower:
    """What we know of our jobs and their queue, brought up to date by `look`."""

    def __init__(self, source: Source, queue: str, clock: Callable[[], float], *, began: datetime) -> None:
        self._source = source
        self._queue = queue
        self._clock = clock
        self._began = began
        self._start = clock()
        self._jobs: dict[str, JobSeen] = {}
        self._settled: dict[str, str | None] = {}  # a page's cursor → the next one's, where all of ours are final
        self._samples: list[Sample] = []
        self._decisions: dict[datetime, Decision] = {}

    def add(self, ids: list[str], kinds: list[str]) -> None:
        """Follow these jobs, too. The pages move by that, so nothing counts as settled any more."""
        self._jobs.update({job: JobSeen(kind) for job, kind in zip(ids, kinds, strict=True)})
        self._settled.clear()

    @property
    def jobs(self) -> dict[str, JobSeen]:
        return dict(self._jobs)

    def look(self) -> Snapshot:
        """Ask for what may have changed and return all that is known; what could not be asked is in `trouble`."""
        trouble: str | None = None
        now = QueueNow()
        try:
            now = self._source.queue_now()
            self._read_pages()
        except Unanswered as problem:
            trouble = str(problem)
        for one in now.decisions:
            if one.time >= self._began:
                self._decisions[one.time] = one.value()
        elapsed, counted = self._clock() - self._start, tally(self._jobs)
        self._samples.append(
            Sample(
                at=elapsed,
                finished=counted.finished,
                backlog=now.backlog,
                replicas=now.replicas,
                desired=now.desired_replicas,
            )
        )
        decisions = tuple(self._decisions[time] for time in sorted(self._decisions))
        return Snapshot(self._queue, self._began, elapsed, counted, tuple(self._samples), decisions, trouble)

    def _read_pages(self) -> None:
        waiting_for = set(self._jobs)
        cursor: str | None = None
        while waiting_for:
            if cursor is not None and cursor in self._settled:
                cursor = self._settled[cursor]
            else:
                page = self._source.page(cursor)
                ours = [job for job in page.jobs if job.id in self._jobs]
                for job in ours:
                    self._jobs[job.id] = JobSeen(self._jobs[job.id].kind, job.state, job.attempt)
                waiting_for.difference_update(job.id for job in ours)
                if cursor is not None and all(is_final(self._jobs[job.id]) for job in ours):
                    self._settled[cursor] = page.next
                cursor = page.next
            if cursor is None or all(is_final(self._jobs[job]) for job in waiting_for):
                return
