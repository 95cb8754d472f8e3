"""Kubernetes Events about a JobQueue, as `kubectl describe jq` shows them.

What happens again raises the count of the Event that is there instead of making another, with any number of JobQueues. An
Event that can't be written is dropped: it is news, and the status is the record.
"""

import itertools
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

import structlog

from leveret_operator.jobqueue import JobQueue, Json
from leveret_operator.kubernetes_api import ApiGone, ApiRefused, KubernetesApi

log = structlog.get_logger(__name__)

SAME_FOR = timedelta(minutes=30)  # the API server forgets an Event after an hour


@dataclass(slots=True)
class _Posted:
    name: str
    count: int
    at: datetime


class KubernetesEvents:
    def __init__(self, api: KubernetesApi, pod: str) -> None:
        self._api, self._pod = api, pod
        self._posted: dict[tuple[str, str], _Posted] = {}  # those of the last 30 min, the oldest first
        self._numbers = itertools.count(1)

    async def tell(
        self, jobqueue: JobQueue, kind: Literal["Normal", "Warning"], reason: str, message: str, *, now: datetime
    ) -> None:
        """Write one Event, or count it onto the last one of the same reason."""
        key = (jobqueue.uid, reason)
        while self._posted and now - next(iter(self._posted.values())).at >= SAME_FOR:
            self._posted.pop(next(iter(self._posted)))
        try:
            if (posted := self._posted.pop(key, None)) is not None:
                posted.count, posted.at = posted.count + 1, now
                self._posted[key] = posted
                change = {"count": posted.count, "lastTimestamp": _time(now), "message": message[:1024], "type": kind}
                try:
                    await self._api.update_event(posted.name, change)
                    return
                except ApiRefused as problem:
                    if problem.status != 404:
                        raise
            name = f"{jobqueue.name}.{int(now.timestamp() * 1000):x}{next(self._numbers):x}"
            self._posted[key] = _Posted(name, 1, now)
            await self._api.create_event(self._event(jobqueue, name, kind, reason, message, now))
        except (ApiGone, ApiRefused) as problem:
            log.warning("a Kubernetes Event could not be written", jobqueue=jobqueue.name, problem=str(problem))

    def _event(self, jobqueue: JobQueue, name: str, kind: str, reason: str, message: str, now: datetime) -> Json:
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": jobqueue.namespace},
            "involvedObject": {
                "apiVersion": "leveret.dev/v1alpha1",
                "kind": "JobQueue",
                "namespace": jobqueue.namespace,
                "name": jobqueue.name,
                "uid": jobqueue.uid,
            },
            "type": kind,
            "reason": reason,
            "message": message[:1024],
            "count": 1,
            "firstTimestamp": _time(now),
            "lastTimestamp": _time(now),
            "source": {"component": "leveret-operator"},
            "reportingComponent": "leveret-operator",
            "reportingInstance": self._pod,
        }


def _time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
