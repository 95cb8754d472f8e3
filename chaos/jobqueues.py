"""The run's own JobQueues: the examples' handlers, two pods at least, and one pod whose clock can be moved."""

from pathlib import Path

from chaos.faults import CLOCK_FILE
from chaos.jobs import BENCH_ATTEMPTS, TARGETS, URL_ATTEMPTS
from chaos.plan import Part

IMAGE = "leveret/examples:0.2.0"
CONFIG_MAP = "chaos-libfaketime"
LIBRARY = "libfaketimeMT.so.1"
_LIBRARY_FOLDER = "/chaos-library"
Manifest = dict[str, object]


def clock_library() -> Path | None:
    """Return where Debian's package libfaketime puts its library, None if it isn't there."""
    return next(Path("/usr/lib").glob(f"*/faketime/{LIBRARY}"), None)


def jobqueues(*, clock: bool) -> tuple[Manifest, ...]:
    """Return the manifests; `clock` tells whether the ConfigMap with libfaketime is there."""
    allowed: Manifest = {"name": "URL_CHECK_ALLOWED_HOSTS", "value": "url-check-targets"}
    witness: Manifest = {"name": "BENCH_WITNESS", "value": f"{TARGETS}/ok"}
    odd = _moved_clock(witness) if clock else _template(witness)
    return (
        _jobqueue(Part.BENCH, "examples.bench.handlers:handlers", 10, BENCH_ATTEMPTS, _template(witness)),
        _jobqueue(Part.URLS, "examples.url_check.handlers:handlers", 20, URL_ATTEMPTS, _template(allowed)),
        _jobqueue(Part.ODD, "examples.bench.handlers:handlers", 10, BENCH_ATTEMPTS, odd, most=1),
    )


def _jobqueue(
    part: Part, handlers: str, concurrency: int, attempts: int, template: Manifest, most: int = 4
) -> Manifest:
    return {
        "apiVersion": "leveret.dev/v1alpha1",
        "kind": "JobQueue",
        "metadata": {"name": str(part), "labels": {"app.kubernetes.io/part-of": "leveret-chaos"}},
        "spec": {
            "consumer": {"image": IMAGE, "handlers": handlers, "concurrency": concurrency, "template": template},
            "timeout": "30s",
            # Few and short waits: what is left over at the end of a run is final within seconds.
            "retry": {
                "maxAttempts": attempts,
                "backoff": {"initial": "1s", "factor": 2, "max": "4s", "jitter": "full"},
            },
            "scaling": {
                "minReplicas": min(2, most),
                "maxReplicas": most,
                "objective": {"backlogPerReplica": 100},
                "scaleDownStabilization": "30s",
            },
        },
    }


def _template(*env: Manifest, **more: object) -> Manifest:
    container: Manifest = {
        "name": "consumer",
        "imagePullPolicy": "IfNotPresent",
        "env": list(env),
        "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
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
