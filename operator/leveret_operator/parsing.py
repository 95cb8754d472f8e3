"""Read JobQueues, Deployments and pods. The dictionaries of the Kubernetes API stop here.

The API server has checked and completed a JobQueue by the CRD's schema; what is parsed twice (durations, the back-off's
order) is refused here as well, so that an object stored under an older schema is told what is wrong with it.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from leveret.durations import parse_duration
from leveret.retry import Backoff, Jitter, RetryPolicy
from leveret.scaling.decide import Policy
from leveret.topology import BROKER_DELIVERY_LIMIT
from leveret_operator.jobqueue import (
    CONSUMERS,
    NOT_KNOWN,
    BadSpec,
    Condition,
    Consumer,
    Decided,
    Deployment,
    JobQueue,
    Json,
    QueueSpec,
    Recorded,
)
from leveret_operator.pods import Container, Ended, Pod, Told

_REPLICA_SET = re.compile(r'eplica ?set "([^"]+)"', re.IGNORECASE)
_OVER_THE_NETWORK = ("persistentVolumeClaim", "csi", "ephemeral")


def parse_jobqueue(body: Json) -> JobQueue:
    """Raise BadSpec for what can't be understood."""
    meta, spec = _map(body, "metadata"), _map(body, "spec")
    try:
        consumer, scaling = _map(spec, "consumer"), _map(spec, "scaling")
        return JobQueue(
            namespace=str(meta["namespace"]),
            name=str(meta["name"]),
            uid=str(meta["uid"]),
            generation=_int(meta.get("generation"), 1),
            consumer=Consumer(
                image=str(consumer["image"]),
                handlers=str(consumer["handlers"]),
                concurrency=_int(consumer.get("concurrency"), 10),
                template=_map(consumer, "template"),
            ),
            retry=_retry(_map(spec, "retry")),
            timeout=_duration(spec, "timeout", "30s"),
            policy=Policy(
                min_replicas=_int(scaling.get("minReplicas"), 0),
                max_replicas=_int(scaling.get("maxReplicas"), 10),
                backlog_per_replica=_int(_map(scaling, "objective").get("backlogPerReplica"), 100),
                stabilization=_duration(scaling, "scaleDownStabilization", "60s"),
                zero_after=_duration(scaling, "scaleToZeroAfter", "2m"),
            ),
            queue_spec=_queue(_map(spec, "queue")),
            created=_time(meta.get("creationTimestamp")) or NOT_KNOWN,
        )
    except KeyError as missing:
        raise BadSpec(f"the field {missing.args[0]} is missing") from missing
    except ValueError as problem:
        raise BadSpec(str(problem)) from problem


def parse_recorded(body: Json) -> Recorded:
    """Read what a status says; an entry that no version of us wrote is left out."""
    status = _map(body, "status")
    conditions = [_condition(entry) for entry in _maps(status, "conditions")]
    decisions = [_decided(entry) for entry in _maps(status, "decisions")]
    return Recorded(
        tuple(condition for condition in conditions if condition), tuple(decided for decided in decisions if decided)
    )


def parse_deployment(body: Json) -> Deployment:
    meta, spec, status = _map(body, "metadata"), _map(body, "spec"), _map(body, "status")
    shape = {"template": spec.get("template"), "owners": meta.get("ownerReferences"), "labels": meta.get("labels")}
    name = str(meta["name"])
    return Deployment(
        name=name,
        jobqueue=name.removesuffix(CONSUMERS),
        uid=str(meta["uid"]),
        revision=_int(meta.get("resourceVersion"), 0),
        wanted=_int(spec.get("replicas"), 1),
        there=_int(status.get("replicas"), 0),
        fingerprint=hashlib.sha256(json.dumps(shape, sort_keys=True, default=str).encode()).hexdigest(),
        controller=next((str(one.get("uid")) for one in _maps(meta, "ownerReferences") if one.get("controller")), None),
        ready=_int(status.get("readyReplicas"), 0),
        template=hashlib.sha256(json.dumps(spec.get("template"), sort_keys=True, default=str).encode()).hexdigest(),
        observed=_int(status.get("observedGeneration"), 0) >= _int(meta.get("generation"), 0),
        replica_set=_newest_replica_set(name, status),
        failures=tuple(
            told
            for type_, bad in (("ReplicaFailure", "True"), ("Progressing", "False"))
            if (told := _told(status, type_, bad))
        ),
    )


def parse_pod(body: Json) -> Pod | None:
    """Return None for one that no Deployment of consumers made, whatever its labels."""
    meta, spec, status = _map(body, "metadata"), _map(body, "spec"), _map(body, "status")
    owner = next((str(one.get("name")) for one in _maps(meta, "ownerReferences") if one.get("controller")), "")
    deployment, _, replica_set = owner.rpartition("-")
    if not deployment.endswith(CONSUMERS):
        return None
    created = _time(meta.get("creationTimestamp")) or NOT_KNOWN
    unready = _told(status, "Ready", "False")
    phase = status.get("phase")
    over = Told(str(status.get("reason") or phase), str(status.get("message", "")), created)
    return Pod(
        name=str(meta["name"]),
        jobqueue=deployment.removesuffix(CONSUMERS),
        uid=str(meta["uid"]),
        revision=_int(meta.get("resourceVersion"), 0),
        replica_set=replica_set,
        created=created,
        ready=_told(status, "Ready", "True") is not None,
        going="deletionTimestamp" in meta,
        over=over if phase in ("Failed", "Succeeded") else None,
        unplaced=_told(status, "PodScheduled", "False"),
        not_set_up=_told(status, "PodReadyToStartContainers", "False"),
        slow_volumes=any(kind in one for one in _maps(spec, "volumes") for kind in _OVER_THE_NETWORK),
        unready_since=unready.since if unready else None,
        containers=tuple(
            _container(one) for key in ("initContainerStatuses", "containerStatuses") for one in _maps(status, key)
        ),
    )


def _container(status: Json) -> Container:
    state = _map(status, "state")
    waiting, running, ended = _map(state, "waiting"), _map(state, "running"), _map(state, "terminated")
    ended = ended or _map(_map(status, "lastState"), "terminated")
    return Container(
        name=str(status.get("name")),
        ready=status.get("ready") is True,
        started=status.get("started") is True,
        waiting=str(waiting.get("reason") or "ContainerCreating") if waiting else None,
        says=str(waiting.get("message", "")),
        running_since=_time(running.get("startedAt")),
        ended=_ended(ended) if ended else None,
    )


def _ended(terminated: Json) -> Ended:
    began, finished = _time(terminated.get("startedAt")), _time(terminated.get("finishedAt"))
    ran = finished - began if began and finished else None
    said = str(terminated.get("message", ""))
    return Ended(str(terminated.get("reason", "Error")), said, _int(terminated.get("exitCode"), 0), ran)


def _told(status: Json, type_: str, value: str) -> Told | None:
    """Return a condition if it has that value."""
    for entry in _maps(status, "conditions"):
        if entry.get("type") == type_ and entry.get("status") == value:
            since = _time(entry.get("lastTransitionTime")) or NOT_KNOWN
            return Told(str(entry.get("reason") or type_), str(entry.get("message", "")), since)
    return None


def _newest_replica_set(deployment: str, status: Json) -> str | None:
    """The Deployment names it in a sentence only: `ReplicaSet "bench-consumer-6c9f" is progressing.`"""
    told = _told(status, "Progressing", "True") or _told(status, "Progressing", "False")
    found = _REPLICA_SET.search(told.message) if told else None
    return found[1].removeprefix(f"{deployment}-") if found else None


def _queue(queue: Json) -> QueueSpec:
    most, source = queue.get("maxLength"), _map(queue, "from").get("deadLettersOf")
    limit = _int(queue.get("deliveryLimit"), BROKER_DELIVERY_LIMIT)
    if not 1 <= limit <= BROKER_DELIVERY_LIMIT:
        raise BadSpec(f"queue.deliveryLimit is {limit}, and must be 1 to {BROKER_DELIVERY_LIMIT}")
    return QueueSpec(
        name=str(queue["name"]) if queue.get("name") else None,
        max_length=None if most is None else _int(most, 0),
        delivery_limit=limit,
        dead_letters_of=str(source) if source else None,
    )


def _retry(retry: Json) -> RetryPolicy:
    backoff = _map(retry, "backoff")
    factor = backoff.get("factor", 2)
    return RetryPolicy(
        max_attempts=_int(retry.get("maxAttempts"), 5),
        backoff=Backoff(
            initial=_duration(backoff, "initial", "1s"),
            factor=float(factor) if isinstance(factor, int | float | str) else 2.0,
            max=_duration(backoff, "max", "10m"),
            jitter=Jitter(str(backoff.get("jitter", "full"))),
        ),
    )


def _condition(entry: Json) -> Condition | None:
    since = _time(entry.get("lastTransitionTime"))
    if since is None or not entry.get("type"):
        return None
    return Condition(
        type=str(entry["type"]),
        status=str(entry.get("status", "Unknown")),
        reason=str(entry.get("reason", "")),
        message=str(entry.get("message", "")),
        since=since,
        generation=_int(entry.get("observedGeneration"), 0),
    )


def _decided(entry: Json) -> Decided | None:
    at = _time(entry.get("time"))
    if at is None:
        return None
    return Decided(
        at,
        _int(entry.get("from"), 0),
        _int(entry.get("to"), 0),
        str(entry.get("reason")),
        str(entry.get("message", "")),
    )


def _time(value: object) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _duration(parent: Json, key: str, default: str) -> timedelta:
    try:
        return parse_duration(str(parent.get(key, default)))
    except ValueError as problem:
        raise BadSpec(f"{key}: {problem}") from problem


def _map(parent: Json, key: str) -> Json:
    value = parent.get(key)
    return value if isinstance(value, Mapping) else {}


def _maps(parent: Json, key: str) -> list[Json]:
    value = parent.get(key)
    entries = value if isinstance(value, Sequence) and not isinstance(value, str) else ()
    return [entry for entry in entries if isinstance(entry, Mapping)]


def _int(value: object, default: int) -> int:
    if value is None:
        return default
    if isinstance(value, int | float | str):
        return int(value)
    raise BadSpec(f"{value!r} is no number")
