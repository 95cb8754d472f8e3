"""The Deployment that runs a JobQueue's consumers, built from values.

What Leveret sets makes the guarantees hold (probes, command, grace period, the mounted Secret, restricted security) and
can't be changed by a template; what else a template says is merged by name. `replicas` is left out: the size is written
through the Deployment's `/scale` alone.
"""

import hashlib
import json
from dataclasses import dataclass, field
from datetime import timedelta
from math import ceil

from leveret.durations import format_duration
from leveret_operator.dead_letter_sources import Source
from leveret_operator.jobqueue import LABEL, MARK, JobQueue, Json
from leveret_operator.template import EVICTABLE, merge_template

CONTAINER = "consumer"
MARGIN = timedelta(seconds=30)  # on top of one attempt: to hand back, flush and close
PROGRESS_DEADLINE = timedelta(minutes=10)  # Kubernetes' default
PULLS = timedelta(minutes=2)  # for what comes before a start
PROBE_PORT = 9000
USER = 10001
SECRETS_FOLDER = "/etc/leveret"
SCRATCH_FOLDER = "/tmp"  # noqa: S108 - the pod's own, and the only place to write
SCRATCH_VOLUME = "leveret-tmp"
HISTORY = 2  # former ReplicaSets kept: enough to go back, and a thousand JobQueues have two thousand, not ten


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a consumer needs that its JobQueue doesn't say."""

    broker_secret: str
    pull_policy: str | None  # None leaves it to Kubernetes
    log: str
    pull_secrets: tuple[str, ...] = ()  # Secrets that open the images' registry
    resources: Json = field(default_factory=dict)  # of a container whose template says nothing of them
    installation_secret: str | None = None  # where the chart names none, none is mounted


def build_deployment(jobqueue: JobQueue, around: Surroundings, source: Source | None = None) -> dict[str, object]:
    """Return what is applied; raise TemplateInvalid where the template changes a field that is ours.

    `source` is where the consumers take dead letters from, beside their own jobs.
    """
    labels = _labels(jobqueue)
    meta: dict[str, object] = {
        "name": jobqueue.deployment,
        "namespace": jobqueue.namespace,
        "labels": labels,
        "ownerReferences": [_owner(jobqueue)],
    }
    manifest: dict[str, object] = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": meta,
        "spec": {
            "selector": {"matchLabels": _selector(jobqueue)},
            "revisionHistoryLimit": HISTORY,
            **_progress_deadline(jobqueue.consumer.startup_timeout),
            "template": merge_template(_pod_template(jobqueue, around, source, labels), jobqueue.consumer.template),
        },
    }
    # An operator that starts sees by it what it would change.
    text = json.dumps(manifest, sort_keys=True, default=str)
    meta["annotations"] = {MARK: hashlib.sha256(text.encode()).hexdigest()[:16]}
    return manifest


def selector_text(jobqueue: JobQueue) -> str:
    """The selector of the pods, as `kubectl -l` takes it."""
    return ",".join(f"{key}={value}" for key, value in sorted(_selector(jobqueue).items()))


def grace_seconds(timeout: timedelta) -> int:
    return ceil((timeout + MARGIN).total_seconds())


def _labels(jobqueue: JobQueue) -> dict[str, str]:
    return {
        "app.kubernetes.io/name": "leveret",
        "app.kubernetes.io/instance": jobqueue.name,
        "app.kubernetes.io/component": "consumer",
        "app.kubernetes.io/managed-by": "leveret-operator",
        LABEL: jobqueue.name,
    }


def _progress_deadline(startup: timedelta) -> dict[str, int]:
    """Kubernetes calls a Deployment stuck whose pods aren't ready after 10 min, and a start may take longer."""
    if startup + MARGIN < PROGRESS_DEADLINE:
        return {}
    return {"progressDeadlineSeconds": ceil((startup + PULLS).total_seconds())}


def _selector(jobqueue: JobQueue) -> dict[str, str]:
    return {"app.kubernetes.io/component": "consumer", LABEL: jobqueue.name}


def _owner(jobqueue: JobQueue) -> Json:
    """The Deployment goes when its JobQueue goes."""
    return {
        "apiVersion": "leveret.dev/v1alpha1",
        "kind": "JobQueue",
        "name": jobqueue.name,
        "uid": jobqueue.uid,
        "controller": True,
        "blockOwnerDeletion": False,  # True would need a permission on the owner's finalizers
    }


def _pod_template(
    jobqueue: JobQueue, around: Surroundings, source: Source | None, labels: dict[str, str]
) -> dict[str, object]:
    return {
        # The cluster autoscaler keeps a node for the sake of an emptyDir, and there is nothing in this one to keep.
        "metadata": {"labels": labels, "annotations": {EVICTABLE: SCRATCH_VOLUME}},
        "spec": {
            "automountServiceAccountToken": False,
            # Handlers have settings of their own, which the variables of a Service could hide.
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": grace_seconds(jobqueue.timeout),
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER,
                "runAsGroup": USER,
                "fsGroup": USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [_container(jobqueue, around, source)],
            "volumes": [
                *(
                    {"name": f"leveret-{name}", "secret": {"secretName": secret, "defaultMode": 0o440}}
                    for name, secret in _secrets(around).items()
                ),
                {"name": SCRATCH_VOLUME, "emptyDir": {}},
            ],
            **({"imagePullSecrets": [{"name": name} for name in around.pull_secrets]} if around.pull_secrets else {}),
        },
    }


def _secrets(around: Surroundings) -> dict[str, str]:
    """Return the Secrets that are mounted, by the name of their folder."""
    installation = {"installation": around.installation_secret} if around.installation_secret else {}
    return {"broker": around.broker_secret, **installation}


def _container(jobqueue: JobQueue, around: Surroundings, source: Source | None) -> dict[str, object]:
    container: dict[str, object] = {
        "name": CONTAINER,
        "image": jobqueue.consumer.image,
        "command": ["python", "-m", "leveret_consumer"],  # the image's own entry point may be the user's
        "env": _environment(jobqueue, around, source),
        "ports": [{"name": "metrics", "containerPort": PROBE_PORT, "protocol": "TCP"}],
        # A consumer that waits for its broker is alive and not ready; only a loop that stands still is restarted.
        "startupProbe": _probe(
            "/healthz", period=2, failures=ceil(jobqueue.consumer.startup_timeout.total_seconds() / 2)
        ),
        "livenessProbe": _probe("/healthz", period=10, failures=3),
        "readinessProbe": _probe("/readyz", period=2, failures=1),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            *(
                {"name": f"leveret-{name}", "mountPath": f"{SECRETS_FOLDER}/{name}", "readOnly": True}
                for name in _secrets(around)
            ),
            {"name": SCRATCH_VOLUME, "mountPath": SCRATCH_FOLDER},
        ],
    }
    if around.pull_policy:
        container["imagePullPolicy"] = around.pull_policy
    if around.resources:
        container["resources"] = around.resources
    return container


def _environment(jobqueue: JobQueue, around: Surroundings, source: Source | None) -> list[Json]:
    backoff = jobqueue.retry.backoff
    retry = {
        "maxAttempts": jobqueue.retry.max_attempts,
        "backoff": {
            "initial": format_duration(backoff.initial),
            "factor": int(backoff.factor) if backoff.factor.is_integer() else backoff.factor,
            "max": format_duration(backoff.max),
            "jitter": str(backoff.jitter),
        },
    }
    values = {
        "LEVERET_QUEUE": jobqueue.queue,
        "LEVERET_HANDLERS": jobqueue.consumer.handlers,
        "LEVERET_CONCURRENCY": str(jobqueue.consumer.concurrency),
        "LEVERET_TIMEOUT": format_duration(jobqueue.timeout),
        "LEVERET_RETRY": json.dumps(retry, separators=(",", ":")),
        "LEVERET_DELIVERY_LIMIT": str(jobqueue.queue_spec.delivery_limit),
        "LEVERET_GRACE_PERIOD": format_duration(timedelta(seconds=grace_seconds(jobqueue.timeout))),
        "LEVERET_STARTUP_TIMEOUT": format_duration(jobqueue.consumer.startup_timeout),
        "LEVERET_VERSION": jobqueue.version,
        "LEVERET_LOG": around.log,
        # Also where they say nothing: what is set here can't come from `envFrom`, from a Service or from the image.
        "LEVERET_BROKER_URL": "",
        "LEVERET_PROBE_PORT": str(PROBE_PORT),
        "LEVERET_SOURCE_QUEUE": source.dead_queue if source else "",
        # The user needs no entry in the image's /etc/passwd then, and what libraries write at home has a place.
        "HOME": SCRATCH_FOLDER,
        "USER": "leveret",
        "LOGNAME": "leveret",
    }
    pod: Json = {"name": "LEVERET_POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
    return [*({"name": name, "value": value} for name, value in values.items()), pod]


def _probe(path: str, *, period: int, failures: int) -> Json:
    return {
        "httpGet": {"path": path, "port": PROBE_PORT},
        "periodSeconds": period,
        "timeoutSeconds": 2,
        "failureThreshold": failures,
    }
