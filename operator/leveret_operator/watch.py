"""The watch on JobQueues and consumer Deployments: kopf, embedded, and a list of our own beside it.

kopf's handlers only parse and put down what they saw. A watch can miss things (an object deleted while the watch is set
up anew) or stand still while the process looks alive: so everything is listed once a minute, which repairs what was
missed, and an object that the list has and the watch hasn't told after 15 s means that the watch is not in sync.
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

import kopf
import structlog

from leveret.telemetry.probes import Readiness
from leveret_operator.jobqueue import LABEL, BadSpec, Json, parse_deployment, parse_jobqueue, parse_recorded
from leveret_operator.kubernetes_api import ApiGone, ApiRefused, KubernetesApi
from leveret_operator.registry import Registry

log = structlog.get_logger(__name__)

LIST_EVERY = 60.0  # s
LIST_AGAIN = 2.0  # s, after a list that failed or found the watch behind
MAY_BE_BEHIND = timedelta(seconds=15)


class Watch:
    def __init__(
        self, api: KubernetesApi, registry: Registry, *, namespace: str, pod: str, clock: Callable[[], datetime]
    ) -> None:
        self._api, self._registry = api, registry
        self._namespace, self._pod, self._clock = namespace, pod, clock
        self._told: dict[str, int] = {}  # by uid: the generation of each JobQueue that the watch has told
        self._behind_since: datetime | None = None
        self._says = "the JobQueues were not listed yet"
        self._listed = False

    def readiness(self) -> Readiness:
        """Whether the watch is in sync; asked from the probes' thread."""
        since = self._behind_since
        if self._listed and (since is None or self._clock() - since < MAY_BE_BEHIND):
            return Readiness(True, "the watch is in sync")
        return Readiness(False, self._says)

    async def wait_for_resource(self) -> None:
        """Return once JobQueues can be listed: the CRD may come later than the operator."""
        listed = await self._list()
        while not listed:
            await asyncio.sleep(LIST_AGAIN)
            listed = await self._list()

    async def run(self, stop: asyncio.Event, ready: asyncio.Event) -> None:
        """Watch until `stop` is set; raise what kopf can't recover from. `ready` is set once kopf has started."""
        listing = asyncio.create_task(self._keep_listing(), name="lists beside the watch")
        try:
            await kopf.operator(
                registry=self._kopf_registry(),
                settings=_kopf_settings(),
                identity=self._pod,  # type: ignore[arg-type] # kopf would ask for a user name; our user has none
                standalone=True,
                namespaces=[self._namespace],
                stop_flag=stop,
                ready_flag=ready,
            )
        finally:
            listing.cancel()

    def _kopf_registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry)(_login)
        kopf.on.event("leveret.dev", "v1alpha1", "jobqueues", registry=registry)(self._jobqueue_event)
        labelled = {LABEL: kopf.PRESENT}
        kopf.on.event("apps", "v1", "deployments", registry=registry, labels=labelled)(self._deployment_event)
        return registry

    async def _jobqueue_event(self, event: Mapping[str, Any], **_: object) -> None:
        self._take_jobqueue(event["object"], gone=event["type"] == "DELETED", watched=True)

    async def _deployment_event(self, event: Mapping[str, Any], **_: object) -> None:
        deployment = parse_deployment(event["object"])
        if event["type"] == "DELETED":
            self._registry.deployment_is_gone(deployment)
        else:
            self._registry.deployment_is(deployment)

    def _take_jobqueue(self, body: Json, *, gone: bool = False, watched: bool = False) -> None:
        meta = body["metadata"]
        assert isinstance(meta, Mapping)
        name, uid = str(meta["name"]), str(meta["uid"])
        if gone:
            self._told.pop(uid, None)
            self._registry.jobqueue_is_gone(name, uid)
            return
        if watched:
            self._told[uid] = int(meta.get("generation", 1))
        try:
            self._registry.jobqueue_is(parse_jobqueue(body), parse_recorded(body))
        except BadSpec as problem:
            log.warning("a JobQueue can't be understood; it stays as it was", jobqueue=name, problem=str(problem))
            self._registry.jobqueue_is_bad(name, problem)

    async def _keep_listing(self) -> None:
        while True:
            in_sync = await self._list() and self._behind_since is None
            await asyncio.sleep(LIST_EVERY if in_sync else LIST_AGAIN)

    async def _list(self) -> bool:
        """List everything; return whether that worked."""
        try:
            jobqueues, deployments = await self._api.list_jobqueues(), await self._api.list_deployments()
        except (ApiGone, ApiRefused) as problem:
            missing = isinstance(problem, ApiRefused) and problem.status == 404
            because = "the resource JobQueue is not there yet; install its CRD" if missing else str(problem)
            if self._says != because:
                log.warning("JobQueues and Deployments can't be listed; tried again", because=because)
            self._says = because
            return False
        for body in jobqueues:
            self._take_jobqueue(body)
        for body in deployments:
            self._registry.deployment_is(parse_deployment(body))
        self._registry.only_these_are_there(map(_uid, jobqueues), map(_uid, deployments))
        self._compare(jobqueues)
        self._listed = True
        return True

    def _compare(self, jobqueues: list[Json]) -> None:
        """Note since when the watch is behind the list."""
        uids = {_uid(body) for body in jobqueues}
        self._told = {uid: generation for uid, generation in self._told.items() if uid in uids}
        if all(_generation(body) <= self._told.get(_uid(body), 0) for body in jobqueues):
            self._behind_since = None
        elif self._behind_since is None:
            self._behind_since = self._clock()
            self._says = "the watch has not told everything that a list holds"


def _kopf_settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False  # our Events say what happened, not what kopf logs
    settings.scanning.disabled = True  # no permission on namespaces and CRDs is needed
    settings.watching.server_timeout = 300
    settings.watching.label_selectors["apps", "v1", "deployments"] = LABEL
    settings.networking.request_timeout = 30
    return settings


def _login(**kwargs: Any) -> kopf.ConnectionInfo | None:
    """As the pod's service account, or as the kubeconfig says; kopf asks again when the credentials were refused."""
    return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)


def _uid(body: Json) -> str:
    meta = body["metadata"]
    return str(meta["uid"]) if isinstance(meta, Mapping) else ""


def _generation(body: Json) -> int:
    meta = body["metadata"]
    return int(meta.get("generation", 1)) if isinstance(meta, Mapping) else 0
