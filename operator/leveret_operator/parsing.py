"""Read JobQueues and Deployments. The dictionaries of the Kubernetes API stop here.

The API server has checked and completed a JobQueue by the CRD's schema; one that was stored under another schema goes on
with the nearest values that work (`bounds`), and is told what can't be read at all.
"""

import hashlib
import json
import re
from dataclasses import replace

from leveret.retry import Backoff, Jitter, RetryPolicy
from leveret.scaling.decide import Policy
from leveret_operator.bounds import Bounded
from leveret_operator.jobqueue import (
    CONSUMERS,
    MARK,
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
from leveret_operator.managed_fields import APPLIED, REPLICAS, other_manager
from leveret_operator.template import left_out

_REPLICA_SET = re.compile(r'eplica ?set "([^"]+)"', re.IGNORECASE)


def parse_jobqueue(body: Json) -> JobQueue:
    """Raise BadSpec for what can't be understood."""
    meta, spec = map_in(body, "metadata"), map_in(body, "spec")
    try:
        consumer, read = map_in(spec, "consumer"), Bounded(spec, [])
        template = map_in(consumer, "template")
        return JobQueue(
            namespace=str(meta["namespace"]),
            name=str(meta["name"]),
            uid=str(meta["uid"]),
            generation=whole(meta.get("generation"), 1),
            consumer=Consumer(
                image=str(consumer["image"]),
                handlers=str(consumer["handlers"]),
                concurrency=read.whole("consumer.concurrency"),
                template=template,
                startup_timeout=read.duration("consumer.startupTimeout"),
            ),
            retry=_retry(read, map_in(map_in(spec, "retry"), "backoff").get("jitter")),
            timeout=read.duration("timeout"),
            policy=_policy(read),
            queue_spec=_queue(read, map_in(spec, "queue")),
            created=time_of(meta.get("creationTimestamp")) or NOT_KNOWN,
            going="deletionTimestamp" in meta,
            adjusted=(*read.adjusted, *left_out(template)),
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
    name, text = str(meta["name"]), json.dumps(shape, sort_keys=True, default=str)
    mark = map_in(meta, "annotations").get(MARK)
    return Deployment(
        name=name,
        jobqueue=name.removesuffix(CONSUMERS),
        uid=str(meta["uid"]),
        revision=whole(meta.get("resourceVersion"), 0),
        wanted=whole(spec.get("replicas"), 1),
        there=whole(status.get("replicas"), 0),
        fingerprint=hashlib.sha256(text.encode()).hexdigest(),
        controller=next(
            (str(one.get("uid")) for one in maps_in(meta, "ownerReferences") if one.get("controller")), None
        ),
        ready=whole(status.get("readyReplicas"), 0),
        template=hashlib.sha256(json.dumps(spec.get("template"), sort_keys=True, default=str).encode()).hexdigest(),
        observed=whole(status.get("observedGeneration"), 0) >= whole(meta.get("generation"), 0),
        replica_set=_newest_replica_set(name, status),
        version=version_of(spec),
        changed_by=other_manager(meta, APPLIED),
        scaled_by=other_manager(meta, REPLICAS),
        updated=whole(status.get("updatedReplicas"), 0),
        mark=None if mark is None else str(mark),
        shape=text,
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


def _queue(read: Bounded, queue: Json) -> QueueSpec:
    source = map_in(queue, "from").get("deadLettersOf")
    return QueueSpec(
        name=str(queue["name"]) if queue.get("name") else None,
        max_length=None if queue.get("maxLength") is None else read.whole("queue.maxLength"),
        delivery_limit=read.whole("queue.deliveryLimit"),
        dead_letters_of=str(source) if source else None,
    )


def _retry(read: Bounded, jitter: object) -> RetryPolicy:
    longest = read.duration("retry.backoff.max")
    return RetryPolicy(
        max_attempts=read.whole("retry.maxAttempts"),
        backoff=Backoff(
            initial=read.duration("retry.backoff.initial", longest),
            factor=float(read.number("retry.backoff.factor")),
            max=longest,
            jitter=Jitter.FULL if jitter is None else Jitter(str(jitter)),
        ),
    )


def _policy(read: Bounded) -> Policy:
    most = read.whole("scaling.maxReplicas")
    return Policy(
        min_replicas=read.whole("scaling.minReplicas", most),
        max_replicas=most,
        backlog_per_replica=read.whole("scaling.objective.backlogPerReplica"),
        stabilization=read.duration("scaling.scaleDownStabilization"),
        zero_after=read.duration("scaling.scaleToZeroAfter"),
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
