"""The Kubernetes API: server-side apply, scale, status, Events, the Lease and lists, over the asynchronous client.

Works on paths and JSON, without the client's generated models, which would cost tens of megabytes and check nothing that
the API server doesn't. Whatever goes wrong comes out as ApiRefused (the server answered and said no) or ApiGone. Nothing but
the Lease is written by a process that may not write, and no request goes on for longer than it may.
"""

import json
from collections.abc import Callable, Mapping
from typing import Self

import aiohttp
from kubernetes.aio import config
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration

from leveret_operator.jobqueue import LABEL, Deployment, JobQueue, Json
from leveret_operator.managed_fields import FIELD_MANAGER
from leveret_operator.parsing import parse_deployment

# What says nothing about the request (401: the token is not taken). A 500 does: it is the answer to an apply of a wrongly
# typed field.
_TRY_AGAIN = frozenset({401, 429, 502, 503, 504})

TIMEOUT = 10.0  # s
JOBQUEUES = "/apis/leveret.dev/v1alpha1/namespaces/{namespace}/jobqueues"
DEPLOYMENTS = "/apis/apps/v1/namespaces/{namespace}/deployments"
PODS = "/api/v1/namespaces/{namespace}/pods"
SECRETS = "/api/v1/namespaces/{namespace}/secrets"
EVENTS = "/api/v1/namespaces/{namespace}/events"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
APPLY, MERGE = "application/apply-patch+yaml", "application/merge-patch+json"


class ApiGone(Exception):
    """The API server doesn't answer."""


class NotHeld(ApiGone):
    """Nothing was asked: this process doesn't hold the Lease, and may again."""


class ApiRefused(Exception):
    """The API server said no; the message is its own."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class KubernetesApi:
    """One namespace of one cluster. `written` is told the kind of each write that succeeded.

    `may_write_for` returns for how many seconds this process may still write.
    """

    def __init__(
        self, client: ApiClient, namespace: str, written: Callable[[str], None], may_write_for: Callable[[], float]
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._written, self._may_write_for = written, may_write_for

    @classmethod
    async def connect(cls, namespace: str, written: Callable[[str], None], may_write_for: Callable[[], float]) -> Self:
        """As the pod's service account, or outside a cluster as the kubeconfig says."""
        configuration = Configuration()
        try:
            config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        except config.ConfigException:
            await config.load_kube_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        return cls(ApiClient(configuration), namespace, written, may_write_for)

    async def close(self) -> None:
        await self._client.close()  # type: ignore[no-untyped-call]

    async def list_jobqueues(self) -> list[Json]:
        return await self._list(JOBQUEUES, {})

    async def list_deployments(self) -> list[Json]:
        return await self._list(DEPLOYMENTS, {"labelSelector": LABEL})

    async def list_pods(self) -> list[Json]:
        return await self._list(PODS, {"labelSelector": LABEL})

    async def apply_deployment(self, manifest: Json, name: str) -> Deployment:
        return parse_deployment(await self._write("apply", "PATCH", f"{DEPLOYMENTS}/{name}", manifest, APPLY))

    async def scale(self, deployment: str, replicas: int, *, owned: bool = False) -> int:
        """Tell the Deployment its size; return its new revision.

        `owned`: so that `replicas` has an owner from then on. Through `/scale` the API server keeps who set them only where
        it was kept before.
        """
        body = {"spec": {"replicas": replicas}}
        path = f"{DEPLOYMENTS}/{deployment}" if owned else f"{DEPLOYMENTS}/{deployment}/scale"
        answer = await self._write("scale", "PATCH", path, body, MERGE)
        meta = answer.get("metadata")
        revision = meta.get("resourceVersion") if isinstance(meta, Mapping) else None
        return int(revision) if isinstance(revision, str) and revision.isdecimal() else 0

    async def write_status(self, jobqueue: JobQueue, status: Json) -> None:
        await self._write("status", "PATCH", f"{JOBQUEUES}/{jobqueue.name}/status", {"status": status}, MERGE)

    async def create_secret(self, manifest: Json) -> None:
        await self._write("secret", "POST", SECRETS, manifest)

    async def create_event(self, event: Json) -> None:
        await self._write("event", "POST", EVENTS, event)

    async def update_event(self, name: str, change: Json) -> None:
        await self._write("event", "PATCH", f"{EVENTS}/{name}", change, MERGE)

    async def read_lease(self, name: str) -> Json | None:
        """Return None where there is none."""
        try:
            return await self._request("GET", f"{LEASES}/{name}", {})
        except ApiRefused as problem:
            if problem.status != 404:
                raise
            return None

    async def write_lease(self, name: str, lease: Json, *, new: bool) -> Json:
        """Create it, or replace the version that it names; raise ApiRefused, 409, if somebody else was quicker."""
        method, path = ("POST", LEASES) if new else ("PUT", f"{LEASES}/{name}")
        answer = await self._request(method, path, {"fieldManager": FIELD_MANAGER}, lease)
        self._written("lease")
        return answer

    async def _list(self, path: str, query: dict[str, str]) -> list[Json]:
        items = (await self._request("GET", path, query)).get("items")
        return [item for item in items if isinstance(item, Mapping)] if isinstance(items, list) else []

    async def _write(self, kind: str, method: str, path: str, body: Json, content: str = "application/json") -> Json:
        left = self._may_write_for()
        if left <= 0:
            raise NotHeld("nothing was written: this operator does not hold the Lease")
        query = {"fieldManager": FIELD_MANAGER, **({"force": "true"} if content == APPLY else {})}
        answer = await self._request(method, path, query, body, content, min(left, TIMEOUT))
        self._written(kind)
        return answer

    async def _request(
        self,
        method: str,
        path: str,
        query: dict[str, str],
        body: Json | None = None,
        content: str = "application/json",
        timeout: float = TIMEOUT,
    ) -> Json:
        try:
            verb, url, headers, data, _ = await self._client.param_serialize(
                method,
                path.format(namespace=self._namespace),
                query_params=list(query.items()),
                header_params={"Accept": "application/json", "Content-Type": content},
                body=body,
                auth_settings=["BearerToken"],
            )
            answer = await self._client.call_api(verb, url, headers, data, _request_timeout=timeout)
            text = await answer.read()  # type: ignore[no-untyped-call]
        except (aiohttp.ClientError, OSError, TimeoutError) as problem:
            raise ApiGone(f"{type(problem).__name__}: {problem}") from problem
        return _decode(answer.status, text)


def _decode(status: int, text: bytes) -> Json:
    try:
        value = json.loads(text)
    except ValueError:
        value = {}
    value = value if isinstance(value, dict) else {}
    if status in _TRY_AGAIN:
        raise ApiGone(f"the API server answered {status}: {value.get('message') or text[:200]!r}")
    if status >= 400:
        message = str(value.get("message") or f"the API server answered {status}")
        raise ApiRefused(status, str(value.get("reason") or status), message)
    return value
