"""Read consumer pods as the Kubernetes API has them."""

from leveret_operator.jobqueue import CONSUMERS, NOT_KNOWN, Json
from leveret_operator.kubernetes_json import condition_in, map_in, maps_in, time_of, whole
from leveret_operator.pods import Container, Ended, Pod, Told

_OVER_THE_NETWORK = ("persistentVolumeClaim", "csi", "ephemeral")


def parse_pod(body: Json) -> Pod | None:
    """Return None for one that no Deployment of consumers made, whatever its labels."""
    meta, spec, status = map_in(body, "metadata"), map_in(body, "spec"), map_in(body, "status")
    owner = next((str(one.get("name")) for one in maps_in(meta, "ownerReferences") if one.get("controller")), "")
    deployment, _, replica_set = owner.rpartition("-")
    if not deployment.endswith(CONSUMERS):
        return None
    created = time_of(meta.get("creationTimestamp")) or NOT_KNOWN
    unready = condition_in(status, "Ready", "False")
    phase = status.get("phase")
    over = Told(str(status.get("reason") or phase), str(status.get("message", "")), created)
    return Pod(
        name=str(meta["name"]),
        jobqueue=deployment.removesuffix(CONSUMERS),
        uid=str(meta["uid"]),
        revision=whole(meta.get("resourceVersion"), 0),
        replica_set=replica_set,
        created=created,
        ready=condition_in(status, "Ready", "True") is not None,
        going="deletionTimestamp" in meta,
        over=over if phase in ("Failed", "Succeeded") else None,
        unplaced=condition_in(status, "PodScheduled", "False"),
        not_set_up=condition_in(status, "PodReadyToStartContainers", "False"),
        slow_volumes=any(kind in one for one in maps_in(spec, "volumes") for kind in _OVER_THE_NETWORK),
        unready_since=unready.since if unready else None,
        containers=tuple(
            _container(one) for key in ("initContainerStatuses", "containerStatuses") for one in maps_in(status, key)
        ),
    )


def _container(status: Json) -> Container:
    state = map_in(status, "state")
    waiting, running, ended = map_in(state, "waiting"), map_in(state, "running"), map_in(state, "terminated")
    ended = ended or map_in(map_in(status, "lastState"), "terminated")
    return Container(
        name=str(status.get("name")),
        ready=status.get("ready") is True,
        started=status.get("started") is True,
        waiting=str(waiting.get("reason") or "ContainerCreating") if waiting else None,
        says=str(waiting.get("message", "")),
        running_since=time_of(running.get("startedAt")),
        ended=_ended(ended) if ended else None,
        restarts=whole(status.get("restartCount"), 0),
    )


def _ended(terminated: Json) -> Ended:
    began, finished = time_of(terminated.get("startedAt")), time_of(terminated.get("finishedAt"))
    ran = finished - began if began and finished else None
    said = str(terminated.get("message", ""))
    return Ended(str(terminated.get("reason", "Error")), said, whole(terminated.get("exitCode"), 0), ran)
