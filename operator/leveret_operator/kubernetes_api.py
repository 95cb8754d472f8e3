"""The Kubernetes API: server-side apply, scale, status, Events and lists, over the asynchronous client.

Works on paths and JSON, without the client's generated models, which would cost tens of megabytes and check nothing that
the API server doesn't. Whatever goes wrong comes out as ApiRefused (the server answered and said no) or ApiGone.
"""

import json
from collections.abc import Callable, Mapping
from typing import Self

import aiohttp
from kubernetes.aio import config
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration

from leveret_operator.jobqueue import LABEL, Deployment, JobQueue, Json
from leveret_operator.parsing import parse_deployment

# What says nothing about the request. A 500 does: it is the answer to an apply of a wrongly typed field.
_TRY_AGAIN = frozenset({429, 502, 503, 504})

FIELD_MANAGER = "leveret-operator"
TIMEOUT = 10.0  # s
JOBQUEUES = "/apis/leveret.dev/v1alpha1/namespaces/{namespace}/jobqueues"
DEPLOYMENTS = "/apis/apps/v1/namespaces/{namespace}/deployments"
PODS = "/api/v1/namespaces/{namespace}/pods"
SECRETS = "/api/v1/namespaces/{namespace}/secrets"
EVENTS = "/api/v1/namespaces/{namespace}/events"
APPLY, MERGE = "application/apply-patch+yaml", "application/merge-patch+json"


class ApiGone(Exception):
    """The API server doesn't answer."""


class ApiRefused(Exception):
    """The API server said no; the message is its own."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class KubernetesApi:
    """One namespace of one cluster. `written` is told the kind of each write that succeeded."""

    def __init__(self, client: ApiClient, namespace: str, written: Callable[[str], None]) -> None:
        self._client = client
        self._namespace = namespace
        self._written = written

    @classmethod
    async def connect(cls, namespace: str, written: Callable[[str], None]) -> Self:
        """As the pod's service account, or outside a cluster as the kubeconfig says."""
        configuration = Configuration()
        try:
            config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        except config.ConfigException:
            await config.load_kube_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        return cls(ApiClient(configuration), namespace, written)

    async def close(self) -> None:
        await self._client.close()  # type: ignore[no-untyped-call]

    async def list_jobqueues(self) -> list[Json]:
        return await self._list(JOBQUEUES, {})

    async def list_deployments(self) -> list[Json]:
        return await self._list(DEPLOYMENTS, {"labelSelector": LABEL})

    async def list_pods(self) -> list[Json]:
        return await self._list(PODS, {"labelSelector": LABEL})

    async def apply_deployment(self, manifest: Json, name: str) -> Deployment:
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        answer = await self._request("PATCH", f"{DEPLOYMENTS}/{name}", query, manifest, APPLY)
        self._written("apply")
        return parse_deployment(answer)

    async def scale(self, deployment: str, replicas: int) -> int:
        """Tell the Deployment its size; return its new revision."""
        query = {"fieldManager": FIELD_MANAGER}
        body = {"spec": {"replicas": replicas}}
        answer = await self._request("PATCH", f"{DEPLOYMENTS}/{deployment}/scale", query, body, MERGE)
        self._written("scale")
        meta = answer.get("metadata")
        revision = meta.get("resourceVersion") if isinstance(meta, Mapping) else None
        return int(revision) if isinstance(revision, str) and revision.isdecimal() else 0

    async def write_status(self, jobqueue: JobQueue, status: Json) -> None:
        query = {"fieldManager": FIELD_MANAGER}
        await self._request("PATCH", f"{JOBQUEUES}/{jobqueue.name}/status", query, {"status": status}, MERGE)
        self._written("status")

    async def create_secret(self, manifest: Json) -> None:
        await self._request("POST", SECRETS, {"fieldManager": FIELD_MANAGER}, manifest)
        self._written("secret")

    async def create_event(self, event: Json) -> None:
        await self._request("POST", EVENTS, {"fieldManager": FIELD_MANAGER}, event)
        self._written("event")

    async def update_event(self, name: str, change: Json) -> None:
        await self._request("PATCH", f"{EVENTS}/{name}", {"fieldManager": FIELD_MANAGER}, change, MERGE)
        self._written("event")

    async def _list(self, path: str, query: dict[str, str]) -> list[Json]:
        items = (await self._request("GET", path, query)).get("items")
        return [item for item in items if isinstance(item, Mapping)] if isinstance(items, list) else []

    async def _request(
        self, method: str, path: str, query: dict[str, str], body: Json | None = None, content: str = "application/json"
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
            answer = await self._client.call_api(verb, url, headers, data, _request_timeout=TIMEOUT)
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
