"""The watch on JobQueues, consumer Deployments and their pods: kopf, embedded, and a list of our own beside it.

kopf's handlers only parse and put down what they saw. A watch can miss things (an object deleted while the watch is set
up anew) or stand still while the process looks alive: so everything is listed once a minute, which repairs what was
missed. What a list holds and the watch hasn't told after 15 s means that the watch is not in sync; after 3 min the
process ends, to be started anew. What the watch tells while a list is under way is newer than the list, and stays.
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

import kopf
import structlog

from leveret.telemetry.probes import Readiness
from leveret_operator.jobqueue import LABEL, BadSpec, Json
from leveret_operator.kubernetes_api import ApiGone, ApiRefused, KubernetesApi
from leveret_operator.parsing import parse_deployment, parse_jobqueue, parse_recorded, parse_refused
from leveret_operator.pod_parsing import parse_pod
from leveret_operator.registry import Registry
from leveret_operator.watch_lag import WatchLag

log = structlog.get_logger(__name__)

LIST_EVERY = timedelta(seconds=60)
LIST_AGAIN = timedelta(seconds=2)  # after a list that failed or found the watch behind
MAY_BE_BEHIND = timedelta(seconds=15)
# kopf notices a dead stream after 70 s; what it can't set up anew it doesn't always mend (https://github.com/nolar/kopf/issues/1276).
STANDS_STILL = timedelta(minutes=3)


class WatchStandsStill(Exception):
    """Lists succeed, and the watch doesn't tell what they hold."""


class Watch:
    def __init__(
        self, api: KubernetesApi, registry: Registry, *, namespace: str, pod: str, clock: Callable[[], datetime]
    ) -> None:
        self._api, self._registry = api, registry
        self._namespace, self._pod, self._clock = namespace, pod, clock
        self._lag = WatchLag()
        self._gone: set[str] = set()  # uids that the watch told gone since the last list was asked for
        self._listed_at: datetime | None = None  # the last list that worked
        self._problem = ""  # why the last list did not

    def readiness(self) -> Readiness:
        """Whether the watch is in sync; asked from the probes' thread."""
        now, listed_at, behind_since = self._clock(), self._listed_at, self._lag.behind_since
        if listed_at is None:
            return Readiness(False, self._problem or "the JobQueues were not listed yet")
        age = now - listed_at
        if age > LIST_EVERY + MAY_BE_BEHIND:
            because = self._problem or "no answer yet"
            seconds = int(age.total_seconds())
            return Readiness(False, f"JobQueues and Deployments could not be listed for {seconds:,} s: {because}")
        if behind_since is not None and now - behind_since >= MAY_BE_BEHIND:
            return Readiness(False, "the watch has not told everything that a list holds")
        return Readiness(True, "the watch is in sync")

    async def wait_for_resource(self) -> None:
        """Return once JobQueues can be listed: the CRD may come later than the operator."""
        listed = await self.list_all()
        while not listed:
            await asyncio.sleep(LIST_AGAIN.total_seconds())
            listed = await self.list_all()

    async def run(self, stop: asyncio.Event, ready: asyncio.Event) -> None:
        """Watch until `stop` is set; raise what kopf can't recover from. `ready` is set once kopf has started."""
        await kopf.operator(
            registry=self._kopf_registry(),
            settings=_kopf_settings(),
            identity=self._pod,  # type: ignore[arg-type] # kopf would ask for a user name; our user has none
            standalone=True,
            namespaces=[self._namespace],
            stop_flag=stop,
            ready_flag=ready,
        )

    async def keep_listing(self) -> None:
        """List until cancelled; raise WatchStandsStill once the watch has been behind for 3 min."""
        while True:
            in_sync = await self.list_all() and self._lag.behind_since is None
            await asyncio.sleep((LIST_EVERY if in_sync else LIST_AGAIN).total_seconds())

    def _kopf_registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry)(_login)
        kopf.on.event("leveret.dev", "v1alpha1", "jobqueues", registry=registry)(self.jobqueue_event)
        labelled = {LABEL: kopf.PRESENT}
        kopf.on.event("apps", "v1", "deployments", registry=registry, labels=labelled)(self.deployment_event)
        kopf.on.event("", "v1", "pods", registry=registry, labels=labelled)(self.pod_event)
        return registry

    async def jobqueue_event(self, event: Mapping[str, Any], **_: object) -> None:
        """Take what the watch tells of a JobQueue."""
        body = event["object"]
        if self._hear(event):
            self._registry.jobqueue_is_gone(_name(body), _uid(body))
        else:
            self._take_jobqueue(body)

    async def deployment_event(self, event: Mapping[str, Any], **_: object) -> None:
        """Take what the watch tells of a Deployment with our label."""
        gone, deployment = self._hear(event), parse_deployment(event["object"])
        if gone:
            self._registry.deployment_is_gone(deployment)
        else:
            self._registry.deployment_is(deployment)

    async def pod_event(self, event: Mapping[str, Any], **_: object) -> None:
        """Take what the watch tells of a pod with our label."""
        gone, pod = self._hear(event), parse_pod(event["object"])
        if pod is None:  # it may have been one: its ReplicaSet lets go of a pod whose labels somebody changes
            self._registry.drop({_uid(event["object"])})
        elif gone:
            self._registry.pod_is_gone(pod)
        else:
            self._registry.pod_is(pod)

    def _hear(self, event: Mapping[str, Any]) -> bool:
        """Note what the watch told; return whether it was that an object is gone."""
        uid = _uid(event["object"])
        if event["type"] == "DELETED":
            self._gone.add(uid)
            self._lag.tell_gone(uid)
            return True
        self._lag.tell(uid, _revision(event["object"]))
        return False

    def _take_jobqueue(self, body: Json) -> None:
        try:
            jobqueue = parse_jobqueue(body)
        except BadSpec as problem:
            log.warning(
                "a JobQueue can't be understood; it stays as it was", jobqueue=_name(body), problem=str(problem)
            )
            jobqueue = parse_refused(body, problem)
        self._registry.jobqueue_is(jobqueue, parse_recorded(body))

    async def list_all(self) -> bool:
        """List everything; return whether that worked. Raises WatchStandsStill."""
        self._gone.clear()
        known, told = self._registry.uids(), self._lag.all_told()
        try:
            jobqueues, deployments = await self._api.list_jobqueues(), await self._api.list_deployments()
            pods = await self._api.list_pods()
        except (ApiGone, ApiRefused) as problem:
            self._not_listed(problem)
            return False
        for body in filter(self._is_news, jobqueues):
            self._take_jobqueue(body)
        for body in filter(self._is_news, deployments):
            self._registry.deployment_is(parse_deployment(body))
        for body in filter(self._is_news, pods):
            if (pod := parse_pod(body)) is not None:
                self._registry.pod_is(pod)
            else:
                self._registry.drop({_uid(body)})
        everything = (*jobqueues, *deployments, *pods)
        listed = {_uid(body): _revision(body) for body in everything if _uid(body) not in self._gone}
        self._registry.drop(known - listed.keys() - self._gone)
        now = self._clock()
        self._lag.compare(listed, told, now)
        self._listed_at, self._problem = now, ""
        self._must_not_stand_still(now)
        return True

    def _not_listed(self, problem: ApiGone | ApiRefused) -> None:
        missing = isinstance(problem, ApiRefused) and problem.status == 404
        because = "the resource JobQueue is not there yet; install its CRD" if missing else str(problem)
        if self._problem != because:
            log.warning("JobQueues and Deployments can't be listed; tried again", because=because)
        self._problem = because

    def _is_news(self, listed: Json) -> bool:
        """Whether the watch told nothing newer while the list was under way."""
        uid = _uid(listed)
        return uid not in self._gone and self._lag.told(uid) <= _revision(listed)

    def _must_not_stand_still(self, now: datetime) -> None:
        since = self._lag.behind_since
        if since is not None and now - since >= STANDS_STILL:
            raise WatchStandsStill(
                f"the watch has not told what lists hold since {since:%H:%M:%S}, for 3 min or longer"
            )


def _kopf_settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False  # our Events say what happened, not what kopf logs
    settings.scanning.disabled = True  # no permission on namespaces and CRDs is needed
    settings.watching.server_timeout = 300
    settings.watching.label_selectors["apps", "v1", "deployments"] = LABEL
    settings.watching.label_selectors["", "v1", "pods"] = LABEL
    settings.networking.request_timeout = 30
    # For ten minutes: an API server that is away for one restarts nothing, and is found within 10 s when it is back.
    settings.networking.error_backoffs = (1, 1, 2, 3, 5, 8, *[10] * 58)
    return settings


def _login(**kwargs: Any) -> kopf.ConnectionInfo | None:
    """As the pod's service account, or as the kubeconfig says; kopf asks again when the credentials were refused."""
    return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)


def _name(body: Json) -> str:
    return str(_meta(body)["name"])


def _uid(body: Json) -> str:
    return str(_meta(body)["uid"])


def _revision(body: Json) -> int:
    """Return the resourceVersion, which grows with each change; 0 where it is no number, which nobody is owed."""
    version = str(_meta(body).get("resourceVersion", ""))
    return int(version) if version.isdecimal() else 0


def _meta(body: Json) -> Json:
    meta = body["metadata"]
    assert isinstance(meta, Mapping)
    return meta
