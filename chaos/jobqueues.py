"""The run's own JobQueues: the examples' handlers, two pods at least, and one pod whose clock can be moved.

Beside them the witness of those handlers: a Deployment of one pod, which is no part of Leveret either.
"""

from pathlib import Path

from chaos.faults import CLOCK_FILE
from chaos.jobs import BENCH_ATTEMPTS, EFFECT_ATTEMPTS, URL_ATTEMPTS, WITNESS
from chaos.plan import CONSUMERS, PODS, SLOTS, Part

IMAGE = "leveret/examples:0.2.0"
WITNESS_PORT = 8090
CONFIG_MAP = "chaos-libfaketime"
LIBRARY = "libfaketimeMT.so.1"
_LIBRARY_FOLDER = "/chaos-library"
Manifest = dict[str, object]


def clock_library() -> Path | None:
    """Return where Debian's package libfaketime puts its library, None if it isn't there."""
    return next(Path("/usr/lib").glob(f"*/faketime/{LIBRARY}"), None)


def jobqueues(*, clock: bool) -> dict[Part, Manifest]:
    """Return the manifests by part; `clock` tells whether the ConfigMap with libfaketime is there."""
    allowed: Manifest = {"name": "URL_CHECK_ALLOWED_HOSTS", "value": "url-check-targets"}
    witness: Manifest = {"name": "BENCH_WITNESS", "value": f"{WITNESS}:{WITNESS_PORT}"}
    odd = _moved_clock(witness) if clock else _template(witness)
    roomy = _template(witness, memory="512Mi")
    bench = "examples.bench.handlers:handlers"
    found = (
        _jobqueue(Part.BENCH, bench, BENCH_ATTEMPTS, _template(witness)),
        _jobqueue(Part.URLS, "examples.url_check.handlers:handlers", URL_ATTEMPTS, _template(allowed)),
        _jobqueue(Part.ODD, bench, BENCH_ATTEMPTS, odd),
        _jobqueue(Part.LONG, bench, BENCH_ATTEMPTS, roomy, timeout="300s"),
        _jobqueue(Part.FEW, bench, BENCH_ATTEMPTS, roomy),
        _jobqueue(Part.BULK, bench, BENCH_ATTEMPTS, _template(witness, memory="1Gi")),
        _jobqueue(
            Part.EFFECTS,
            "examples.bench.effects:handlers",
            EFFECT_ATTEMPTS,
            _template(witness, *_own_database(), memory="512Mi"),
        ),
    )
    return dict(zip(CONSUMERS, found, strict=True))


def _own_database() -> list[Manifest]:
    """Return libpq's variables, as bulk-insert's own consumers have them."""
    secret: Manifest = {"secretKeyRef": {"name": "bulk-insert-database", "key": "password"}}
    place = {"PGHOST": "bulk-insert-database", "PGUSER": "front", "PGDATABASE": "front"}
    found: list[Manifest] = [{"name": name, "value": value} for name, value in place.items()]
    return [*found, {"name": "PGPASSWORD", "valueFrom": secret}]


def witness() -> tuple[Manifest, ...]:
    """Return the manifests of the witness, which is only ever made anew: it knows of this run's jobs alone."""
    labels: Manifest = {"app.kubernetes.io/name": WITNESS, "app.kubernetes.io/part-of": "leveret-chaos"}
    container: Manifest = {
        "name": "witness",
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-m", "examples.bench.witness_server"],
        "readinessProbe": {"tcpSocket": {"port": WITNESS_PORT}, "periodSeconds": 2},
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "1Gi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    pod: Manifest = {
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
    }
    selected: Manifest = {"app.kubernetes.io/name": WITNESS}
    deployment: Manifest = {
        "replicas": 1,
        "strategy": {"type": "Recreate"},
        "selector": {"matchLabels": selected},
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    metadata: Manifest = {"name": WITNESS, "labels": labels}
    return (
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": deployment},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"selector": selected, "ports": [{"port": WITNESS_PORT}]},
        },
    )


def _jobqueue(part: Part, handlers: str, attempts: int, template: Manifest, timeout: str = "30s") -> Manifest:
    least, most = PODS[part]
    return {
        "apiVersion": "leveret.dev/v1alpha1",
        "kind": "JobQueue",
        "metadata": {"name": str(part), "labels": {"app.kubernetes.io/part-of": "leveret-chaos"}},
        "spec": {
            "consumer": {"image": IMAGE, "handlers": handlers, "concurrency": SLOTS[part], "template": template},
            "timeout": timeout,
            # Few and short waits: what is left over at the end of a run is final within seconds.
            "retry": {
                "maxAttempts": attempts,
                "backoff": {"initial": "1s", "factor": 2, "max": "4s", "jitter": "full"},
            },
            "scaling": {
                "minReplicas": least,
                "maxReplicas": most,
                "objective": {"backlogPerReplica": 100},
                "scaleDownStabilization": "30s",
            },
        },
    }


def _template(*env: Manifest, memory: str = "256Mi", **more: object) -> Manifest:
    container: Manifest = {
        "name": "consumer",
        "imagePullPolicy": "IfNotPresent",
        "env": list(env),
        "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"memory": memory}},
    }
    mounts = more.pop("mounts", None)
    if mounts:
        container["volumeMounts"] = mounts
    return {"spec": {"containers": [container], **more}}


def _moved_clock(*env: Manifest) -> Manifest:
    """The wall clock alone: no step of it moves the monotonic clock of a real machine, either."""
    folder = CLOCK_FILE.rpartition("/")[0]
    return _template(
        *env,
        {"name": "LD_PRELOAD", "value": f"{_LIBRARY_FOLDER}/{LIBRARY}"},
        {"name": "FAKETIME_TIMESTAMP_FILE", "value": CLOCK_FILE},
        {"name": "FAKETIME_CACHE_DURATION", "value": "1"},
        {"name": "FAKETIME_DONT_FAKE_MONOTONIC", "value": "1"},
        mounts=[
            {"name": "chaos-library", "mountPath": _LIBRARY_FOLDER, "readOnly": True},
            {"name": "chaos-clock", "mountPath": folder},
        ],
        volumes=[
            {"name": "chaos-library", "configMap": {"name": CONFIG_MAP}},
            {"name": "chaos-clock", "emptyDir": {}},
        ],
    )
