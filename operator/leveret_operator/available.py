"""Whether a JobQueue's consumers can run, and if they can't, why, in Kubernetes' own word.

The Deployment says how many are ready, and that pods can't be created; why one that is there doesn't get ready only the
pod says. What starts and has not failed changes nothing: a start from zero is no news. Nothing is asked here; what is
known comes in, the time included.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from leveret_operator.conditions import UNKNOWN, State
from leveret_operator.deployment import CONTAINER
from leveret_operator.jobqueue import Condition, Deployment
from leveret_operator.pods import Container, Ended, Pod, Told

# What is usual at a start, and a little more; Kubernetes says each of these at once, and most pass.
PLACED_WITHIN = timedelta(seconds=10)
SET_UP_WITHIN = timedelta(seconds=20)
SLOW_SET_UP_WITHIN = timedelta(seconds=150)  # a volume that is attached over the network
READY_WITHIN = timedelta(seconds=60)
ANSWERS_WITHIN = timedelta(seconds=20)
PROBED_FOR = timedelta(seconds=120)  # by the startup probe: 60 times, every 2 s
STARTS_WITHIN = timedelta(minutes=10)  # also a large image over a slow network
CRASH = timedelta(minutes=10)  # the kubelet, too, takes what ran for longer to have run well
REFUSED_LATELY = timedelta(minutes=5)
TRY_FOR = timedelta(minutes=10)  # so long the last consumer stays if none of its kind was ever ready
LONGEST = 600  # characters of what somebody else says

_USUAL = (None, "ContainerCreating", "PodInitializing")
_PULLS = ("ErrImagePull", "ImagePullBackOff")  # the kubelet says the one and the other in turn
_NONE_WANTED = State(True, "NoneWanted", "no consumers are wanted now")


@dataclass(frozen=True, slots=True)
class Trouble:
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Availability:
    """What is known and kept between two looks."""

    state: State = UNKNOWN
    template: str | None = None  # of the pods that it is about; None until the first look
    was_ready: bool = False  # one of that template
    since: datetime | None = None  # some are wanted
    starts_within: timedelta = PROBED_FOR

    def may_go(self, now: datetime) -> bool:
        """Whether the last consumer may go: what never got ready stays for a while, to show why."""
        long = max(TRY_FOR, self.starts_within)
        return self.was_ready or (self.since is not None and now - self.since >= long)


def recall(recorded: Iterable[Condition]) -> Availability:
    """Go on from what an earlier operator wrote."""
    for known in recorded:
        if known.type == "ConsumersAvailable":
            good = {"True": True, "False": False}.get(known.status)
            state = State(good, known.reason, known.message)
            return Availability(state, was_ready=known.reason == "Available", since=None if good else known.since)
    return Availability()


def judge(
    deployment: Deployment | None,
    pods: Iterable[Pod],
    before: Availability,
    now: datetime,
    starts_within: timedelta = PROBED_FOR,
) -> Availability:
    """Look at the Deployment and its pods; `before` is what the last look returned."""
    before = replace(before, starts_within=starts_within)
    if deployment is None:
        return replace(before, state=State(None, "NoDeployment", "there is no Deployment of consumers yet"))
    known = (
        before
        if before.template in (None, deployment.template)
        else Availability(before.state, starts_within=starts_within)
    )
    known = replace(known, template=deployment.template, since=(known.since or now) if deployment.wanted else None)
    if not deployment.wanted:
        return replace(known, state=_NONE_WANTED)
    if not deployment.observed:
        return known
    there = sorted((pod for pod in pods if not pod.going), key=lambda pod: (pod.created, pod.name))
    newest = deployment.replica_set or (there[-1].replica_set if there else None)
    of_newest = [pod for pod in there if pod.replica_set == newest]
    looked_at = [(pod, _of_pod(pod, now, starts_within)) for pod in of_newest or there]
    trouble = _trouble(looked_at, now) or _of_deployment(deployment)
    was_ready = known.was_ready or (any(pod.ready for pod in of_newest) if there else deployment.ready > 0)
    starts = bool(of_newest) and any(not pod.ready and pod.over is None and not its for pod, its in looked_at)
    return replace(known, state=_state(deployment, trouble, before.state, starts=starts), was_ready=was_ready)


def _state(deployment: Deployment, trouble: Trouble | None, before: State, *, starts: bool) -> State:
    ready = f"{deployment.ready:,} ready, {deployment.wanted:,} wanted"
    if trouble is not None:
        works = deployment.ready > 0
        if not works and starts:  # a node that is full, or a quota, keeps some from starting, not all
            return State(before.good, trouble.reason, f"{ready}; some can't run: {trouble.message}", wrong=True)
        text = f"{ready}; other pods can't run" if works else f"no consumer can run ({ready})"
        return State(works, trouble.reason, f"{text}: {trouble.message}", wrong=works)
    if deployment.ready:
        return State(True, "Available", f"consumers: {ready}")
    if before.good is False:
        return before
    return State(before.good, "Starting", f"consumers start: {ready}")


def _of_deployment(deployment: Deployment) -> Trouble | None:
    return next((Trouble(told.reason, _bounded(told.message)) for told in deployment.failures), None)


def _trouble(looked_at: Sequence[tuple[Pod, Trouble | None]], now: datetime) -> Trouble | None:
    """Put together why pods can't run: the reason that most have, and one of them with all it says."""
    found = [(pod, trouble) for pod, trouble in looked_at if trouble is not None]
    if not found:
        pods = [pod for pod, _ in looked_at]
        return _refused([pod.over for pod in pods if pod.over and now - pod.created < REFUSED_LATELY], pods)
    counted = Counter(trouble.reason for _, trouble in found)
    reason = min(counted, key=lambda reason: (-counted[reason], reason))
    pod, shown = next((pod, trouble) for pod, trouble in found if trouble.reason == reason)
    more = f" (and {counted[reason] - 1:,} more)" if counted[reason] > 1 else ""
    others = ", ".join(f"{other} of {counted[other]:,}" for other in sorted(counted) if other != reason)
    return Trouble(reason, f"{shown.message} (pod {pod.name}){more}" + (f"; beside that {others}" if others else ""))


def _refused(over: Sequence[Told], pods: Sequence[Pod]) -> Trouble | None:
    """One pod that its node evicted is made anew, and that is all; one after the other is a trouble."""
    if len(over) < 2 or any(pod.ready for pod in pods):
        return None
    return Trouble(over[-1].reason, f"{len(over):,} pods one after the other were ended: {_bounded(over[-1].message)}")


def _of_pod(pod: Pod, now: datetime, starts_within: timedelta) -> Trouble | None:
    if pod.ready or pod.over:
        return None
    if pod.unplaced is not None:
        told = pod.unplaced
        return Trouble(told.reason, _bounded(told.message)) if now - told.since >= PLACED_WITHIN else None
    for container in pod.containers:
        if (trouble := _of_container(container, now, starts_within)) is not None:
            return trouble
    within = SLOW_SET_UP_WITHIN if pod.slow_volumes else SET_UP_WITHIN
    if pod.not_set_up is not None and now - pod.not_set_up.since >= within:
        text = "its volumes or its network can't be set up; is a Secret or ConfigMap missing that it mounts?"
        return Trouble("FailedMount", f"{text} kubectl describe pod {pod.name} says which")
    return _not_ready(pod, now, starts_within)


def _of_container(container: Container, now: datetime, starts_within: timedelta) -> Trouble | None:
    name, ended, since = container.name, container.ended, container.running_since
    if container.waiting in _PULLS:
        told = f"container {name}: {_bounded(container.says)}"
        ask = "is the name right, does its node have the image or reach it, and is there a pull secret if it needs one?"
        return Trouble("ImagePullBackOff", f"{told}; {ask}")
    if container.ready:
        return None
    slow = since is not None and now - since >= ANSWERS_WITHIN
    if ended is not None and (_loops(container, ended) or (slow and _never_answered(container, ended, starts_within))):
        return _crashed(container, ended, starts_within)
    if container.waiting not in _USUAL:
        return Trouble(str(container.waiting), f"container {name}: {_bounded(container.says or 'it says no more')}")
    if name == CONTAINER and since and not container.started and now - since > starts_within:
        return _startup_probe(name, starts_within)
    return None


def _loops(container: Container, ended: Ended) -> bool:
    """Between two waits it runs, and ends, for a moment; what ended once is started again, and that is all."""
    again = container.restarts >= 2 and (ended.ran is None or ended.ran < CRASH)
    return container.waiting == "CrashLoopBackOff" or again


def _never_answered(container: Container, ended: Ended, starts_within: timedelta) -> bool:
    """Whether the kubelet stopped a consumer because of its startup probe, which only an Event would say."""
    stopped = (
        ended.exit_code in (0, 137, 143)
        and ended.ran is not None
        and starts_within <= ended.ran < max(CRASH, 2 * starts_within)
    )
    return container.name == CONTAINER and not container.started and stopped


def _crashed(container: Container, ended: Ended, starts_within: timedelta) -> Trouble:
    name = container.name
    if ended.reason == "OOMKilled":
        return Trouble("OOMKilled", f"container {name} took more memory than its limit and was killed; raise the limit")
    if _never_answered(container, ended, starts_within):
        return _startup_probe(name, starts_within)
    said = f": {_bounded(ended.message)}" if ended.message else f"; kubectl logs --previous -c {name} may say why"
    return Trouble("CrashLoopBackOff", f"container {name} ended with exit code {ended.exit_code}{said}")


def _startup_probe(name: str, starts_within: timedelta) -> Trouble:
    text = f"container {name} has not answered its startup probe for {starts_within.seconds} s, and is restarted"
    return Trouble(
        "StartupProbeFailed", f"{text}; do the handlers' modules take long to import? (spec.consumer.startupTimeout)"
    )


def _not_ready(pod: Pod, now: datetime, starts_within: timedelta) -> Trouble | None:
    """All containers run, and one isn't ready; a consumer that starts has its startup probe's time.

    No start lasts for ever: a pull, or a container that must end before the others, may hang without a word.
    """
    idle = [one for one in pod.containers if not one.ready]
    starts = [one for one in idle if one.running_since is None or (one.name == CONTAINER and not one.started)]
    if pod.unready_since is None:
        return None
    if starts and now - pod.unready_since >= STARTS_WITHIN:
        first = next((one for one in idle if one.running_since), starts[0])
        does = "waits" if first.running_since is None else "runs and is not done starting"
        text = f"the pod has started for {STARTS_WITHIN // timedelta(minutes=1)} minutes: container {first.name} {does}"
        return Trouble("NotReady", f"{text}; kubectl describe pod {pod.name} and its logs may say why")
    if starts:
        return None
    since = max([pod.unready_since, *(one.running_since for one in idle if one.running_since)])
    # Who asked for more than usual imports for so long, and answers its probes meanwhile.
    if now - since < (READY_WITHIN if starts_within <= PROBED_FOR else starts_within):
        return None
    who = f"container {', '.join(one.name for one in idle)}" if idle else "the pod"
    return Trouble("NotReady", f"{who} runs and doesn't get ready; a consumer's log says what it waits for")


def _bounded(text: str) -> str:
    said = " ".join(text.split())
    return said if len(said) <= LONGEST else f"{said[:LONGEST]}…"
