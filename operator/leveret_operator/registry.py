"""What JobQueues, consumer Deployments and their pods there are, as the watch last told; and who is to be woken when that changes.

The watch's handlers write here and return; the central loop reads. A full list, taken now and then, finds what a watch
may miss: an object that was deleted while the watch was being set up anew.
"""

from collections.abc import Callable, Set
from dataclasses import replace

from leveret_operator.jobqueue import Deployment, JobQueue, Recorded
from leveret_operator.pods import Pod

Wake = Callable[[str], None]


class Registry:
    """Everything by the JobQueue's name; one namespace."""

    def __init__(self, wake: Wake) -> None:
        self.jobqueues: dict[str, JobQueue] = {}
        self.recorded: dict[str, Recorded] = {}  # by uid: the status, which another operator may have written
        self.deployments: dict[str, Deployment] = {}
        self._pods: dict[str, dict[str, Pod]] = {}  # by the JobQueue's name and the pod's uid
        self._wake = wake

    def jobqueue_is(self, jobqueue: JobQueue, recorded: Recorded) -> None:
        """Take it; one that can't be understood keeps running as it was, if it ran before."""
        self.recorded[jobqueue.uid] = recorded
        before = self.jobqueues.get(jobqueue.name)
        if before is not None and before.uid == jobqueue.uid:
            if before.generation > jobqueue.generation:
                return  # an old event that comes late
            if jobqueue.problem is not None:
                new = jobqueue
                jobqueue = replace(before, generation=new.generation, problem=new.problem, going=new.going)
        self.jobqueues[jobqueue.name] = jobqueue
        if before != jobqueue:
            self._wake(jobqueue.name)

    def jobqueue_is_gone(self, name: str, uid: str | None = None) -> None:
        jobqueue = self.jobqueues.get(name)
        if jobqueue is None or uid not in (None, jobqueue.uid):
            return
        del self.jobqueues[name]
        self.recorded.pop(jobqueue.uid, None)
        self._wake(name)

    def deployment_is(self, deployment: Deployment) -> None:
        """Take it if it has the name that consumers have: anybody's may carry our label."""
        if not deployment.is_consumers:
            return
        before = self.deployments.get(deployment.jobqueue)
        if before is not None and before.uid == deployment.uid and before.revision > deployment.revision:
            return
        self.deployments[deployment.jobqueue] = deployment
        if before is None or (before.wanted, before.fingerprint) != (deployment.wanted, deployment.fingerprint):
            self._wake(deployment.jobqueue)

    def deployment_is_gone(self, deployment: Deployment) -> None:
        before = self.deployments.get(deployment.jobqueue)
        if before is not None and before.uid == deployment.uid:
            del self.deployments[deployment.jobqueue]
            self._wake(deployment.jobqueue)

    def deployment_of(self, jobqueue: JobQueue) -> Deployment | None:
        """Return the JobQueue's own Deployment; one that another object controls is not."""
        there = self.deployments.get(jobqueue.name)
        return there if there is not None and there.controller in (None, jobqueue.uid) else None

    def pod_is(self, pod: Pod) -> None:
        """Take it; nobody is woken, as a turn each second is soon enough."""
        pods = self._pods.setdefault(pod.jobqueue, {})
        if pod.uid not in pods or pods[pod.uid].revision <= pod.revision:
            pods[pod.uid] = pod

    def pod_is_gone(self, pod: Pod) -> None:
        pods = self._pods.get(pod.jobqueue, {})
        pods.pop(pod.uid, None)
        if not pods:
            self._pods.pop(pod.jobqueue, None)

    def pods_of(self, jobqueue: JobQueue) -> tuple[Pod, ...]:
        return tuple(self._pods.get(jobqueue.name, {}).values())

    def queues(self) -> dict[str, str]:
        """Return the queue of each JobQueue there is."""
        return {name: known.queue for name, known in self.jobqueues.items()}

    def scaled(self, jobqueue: str, replicas: int, revision: int) -> None:
        """Our own write, known before the watch tells it."""
        before = self.deployments.get(jobqueue)
        if before is not None:
            self.deployments[jobqueue] = replace(before, wanted=replicas, revision=max(before.revision, revision))

    def uids(self) -> frozenset[str]:
        """Return the uid of everything that is known."""
        known: list[JobQueue | Deployment | Pod] = [*self.jobqueues.values(), *self.deployments.values()]
        return frozenset(one.uid for one in (*known, *self._all_pods()))

    def drop(self, uids: Set[str]) -> None:
        """Forget what a full list does not hold."""
        for jobqueue in [known for known in self.jobqueues.values() if known.uid in uids]:
            self.jobqueue_is_gone(jobqueue.name, jobqueue.uid)
        for deployment in [known for known in self.deployments.values() if known.uid in uids]:
            self.deployment_is_gone(deployment)
        for pod in [known for known in self._all_pods() if known.uid in uids]:
            self.pod_is_gone(pod)

    def _all_pods(self) -> list[Pod]:
        return [pod for pods in self._pods.values() for pod in pods.values()]
