"""Read JobQueues and Deployments. The dictionaries of the Kubernetes API stop here.

The API server has checked and completed a JobQueue by the CRD's schema; what is parsed twice (durations, the back-off's
order) is refused here as well, so that an object stored under an older schema is told what is wrong with it.
"""

import hashlib
import json
import re
from dataclasses import replace
from datetime import timedelta

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
from leveret_operator.kubernetes_json import condition_in, map_in, maps_in, time_of, whole

_REPLICA_SET = re.compile(r'eplica ?set "([^"]+)"', re.IGNORECASE)


def parse_jobqueue(body: Json) -> JobQueue:
    """Raise BadSpec for what can't be understood."""
    meta, spec = map_in(body, "metadata"), map_in(body, "spec")
    try:
        consumer, scaling = map_in(spec, "consumer"), map_in(spec, "scaling")
        return JobQueue(
            namespace=str(meta["namespace"]),
            name=str(meta["name"]),
            uid=str(meta["uid"]),
            generation=whole(meta.get("generation"), 1),
            consumer=Consumer(
                image=str(consumer["image"]),
                handlers=str(consumer["handlers"]),
                concurrency=whole(consumer.get("concurrency"), 10),
                template=map_in(consumer, "template"),
                startup_timeout=_duration(consumer, "startupTimeout", "2m"),
            ),
            retry=_retry(map_in(spec, "retry")),
            timeout=_duration(spec, "timeout", "30s"),
            policy=Policy(
                min_replicas=whole(scaling.get("minReplicas"), 0),
                max_replicas=whole(scaling.get("maxReplicas"), 10),
                backlog_per_replica=whole(map_in(scaling, "objective").get("backlogPerReplica"), 100),
                stabilization=_duration(scaling, "scaleDownStabilization", "60s"),
                zero_after=_duration(scaling, "scaleToZeroAfter", "2m"),
            ),
            queue_spec=_queue(map_in(spec, "queue")),
            created=time_of(meta.get("creationTimestamp")) or NOT_KNOWN,
            going="deletionTimestamp" in meta,
        )
    except KeyError as missing:
        raise BadSpec(f"the field {missing.args[0]} is missing") from missing
    except ValueError as problem:
        raise BadSpec(str(problem)) from problem


def parse_refused(body: Json, problem: BadSpec) -> JobQueue:
    """Read of one that can't be understood what keeps its queue and its size; the rest is as if it were left out."""
    queue, scaling = (map_in(map_in(body, "spec"), part) for part in ("queue", "scaling"))
    sizes: dict[str, object] = {key: scaling.get(key) for key in ("minReplicas", "maxReplicas")}
    sizes["objective"] = {"backlogPerReplica": map_in(scaling, "objective").get("backlogPerReplica")}
    readable = {
        "consumer": {"image": "", "handlers": ""},
        "queue": {key: queue[key] for key in ("name", "from") if key in queue},
        "scaling": sizes,
    }
    try:
        read = parse_jobqueue({**body, "spec": readable})
    except BadSpec:
        read = parse_jobqueue({**body, "spec": {**readable, "scaling": {}}})
    return replace(read, problem=str(problem))


def parse_recorded(body: Json) -> Recorded:
    """Read what a status says; an entry that no version of us wrote is left out."""
    status = map_in(body, "status")
    conditions = [_condition(entry) for entry in maps_in(status, "conditions")]
    decisions = [_decided(entry) for entry in maps_in(status, "decisions")]
    return Recorded(
        tuple(condition for condition in conditions if condition), tuple(decided for decided in decisions if decided)
    )


def parse_deployment(body: Json) -> Deployment:
    meta, spec, status = map_in(body, "metadata"), map_in(body, "spec"), map_in(body, "status")
    shape = {"template": spec.get("template"), "owners": meta.get("ownerReferences"), "labels": meta.get("labels")}
    name = str(meta["name"])
    return Deployment(
        name=name,
        jobqueue=name.removesuffix(CONSUMERS),
        uid=str(meta["uid"]),
        revision=whole(meta.get("resourceVersion"), 0),
        wanted=whole(spec.get("replicas"), 1),
        there=whole(status.get("replicas"), 0),
        fingerprint=hashlib.sha256(json.dumps(shape, sort_keys=True, default=str).encode()).hexdigest(),
        controller=next(
            (str(one.get("uid")) for one in maps_in(meta, "ownerReferences") if one.get("controller")), None
        ),
        ready=whole(status.get("readyReplicas"), 0),
        template=hashlib.sha256(json.dumps(spec.get("template"), sort_keys=True, default=str).encode()).hexdigest(),
        observed=whole(status.get("observedGeneration"), 0) >= whole(meta.get("generation"), 0),
        replica_set=_newest_replica_set(name, status),
        version=version_of(spec),
        failures=tuple(
            told
            for type_, bad in (("ReplicaFailure", "True"), ("Progressing", "False"))
            if (told := condition_in(status, type_, bad))
        ),
    )


def version_of(deployment: Json) -> str | None:
    """Return which version of the handlers the pods of a Deployment's spec run."""
    pod = map_in(map_in(deployment, "template"), "spec")
    told = (one for container in maps_in(pod, "containers") for one in maps_in(container, "env"))
    return next((str(one.get("value")) for one in told if one.get("name") == "LEVERET_VERSION"), None)


def _newest_replica_set(deployment: str, status: Json) -> str | None:
    """The Deployment names it in a sentence only: `ReplicaSet "bench-consumer-6c9f" is progressing.`"""
    told = condition_in(status, "Progressing", "True") or condition_in(status, "Progressing", "False")
    found = _REPLICA_SET.search(told.message) if told else None
    return found[1].removeprefix(f"{deployment}-") if found else None


def _queue(queue: Json) -> QueueSpec:
    most, source = queue.get("maxLength"), map_in(queue, "from").get("deadLettersOf")
    limit = whole(queue.get("deliveryLimit"), BROKER_DELIVERY_LIMIT)
    if not 1 <= limit <= BROKER_DELIVERY_LIMIT:
        raise BadSpec(f"queue.deliveryLimit is {limit}, and must be 1 to {BROKER_DELIVERY_LIMIT}")
    return QueueSpec(
        name=str(queue["name"]) if queue.get("name") else None,
        max_length=None if most is None else whole(most, 0),
        delivery_limit=limit,
        dead_letters_of=str(source) if source else None,
    )


def _retry(retry: Json) -> RetryPolicy:
    backoff = map_in(retry, "backoff")
    factor = backoff.get("factor", 2)
    return RetryPolicy(
        max_attempts=whole(retry.get("maxAttempts"), 5),
        backoff=Backoff(
            initial=_duration(backoff, "initial", "1s"),
            factor=float(factor) if isinstance(factor, int | float | str) else 2.0,
            max=_duration(backoff, "max", "10m"),
            jitter=Jitter(str(backoff.get("jitter", "full"))),
        ),
    )


def _condition(entry: Json) -> Condition | None:
    since = time_of(entry.get("lastTransitionTime"))
    if since is None or not entry.get("type"):
        return None
    return Condition(
        type=str(entry["type"]),
        status=str(entry.get("status", "Unknown")),
        reason=str(entry.get("reason", "")),
        message=str(entry.get("message", "")),
        since=since,
        generation=whole(entry.get("observedGeneration"), 0),
        troubled=entry.get("status") == "False",
    )


def _decided(entry: Json) -> Decided | None:
    at = time_of(entry.get("time"))
    if at is None:
        return None
    return Decided(
        at,
        whole(entry.get("from"), 0),
        whole(entry.get("to"), 0),
        str(entry.get("reason")),
        str(entry.get("message", "")),
    )


def _duration(parent: Json, key: str, default: str) -> timedelta:
    try:
        return parse_duration(str(parent.get(key, default)))
    except ValueError as problem:
        raise BadSpec(f"{key}: {problem}") from problem
