"""What is asked of the API server, and that a process that may not write asks nothing but for the Lease."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from leveret_operator.jobqueue import JobQueue
from leveret_operator.kubernetes_api import ApiGone, ApiRefused, KubernetesApi

DEPLOYMENT = {"metadata": {"name": "a-consumer", "uid": "d", "resourceVersion": "7"}, "spec": {}}


@dataclass
class Answer:
    status: int
    said: Any

    async def read(self) -> bytes:
        return json.dumps(self.said).encode()


@dataclass
class Client:
    """In place of the library's: keeps what it is asked, and answers all alike."""

    answer: Answer
    asked: list[str] = field(default_factory=list)
    timeouts: list[float] = field(default_factory=list)

    async def param_serialize(self, method: str, path: str, **more: Any) -> tuple[Any, ...]:
        query = "&".join("=".join(pair) for pair in more["query_params"])
        return method, f"{path}?{query}" if query else path, more["header_params"], more["body"], None

    async def call_api(self, method: str, url: str, headers: Any, body: Any, _request_timeout: float) -> Answer:
        self.asked.append(f"{method} {url}")
        self.timeouts.append(_request_timeout)
        return self.answer


def api(status: int = 200, said: Any = DEPLOYMENT, left: float = 12.0) -> tuple[KubernetesApi, Client, list[str]]:
    client, written = Client(Answer(status, said)), list[str]()
    library: Any = client
    return KubernetesApi(library, "shop", written.append, lambda: left), client, written


NAMED = "fieldManager=leveret-operator"
DEPLOYMENTS, EVENTS = "/apis/apps/v1/namespaces/shop/deployments", "/api/v1/namespaces/shop/events"
SECRETS = "/api/v1/namespaces/shop/secrets"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/shop/leases"
WRITES = [
    pytest.param(
        lambda api, _: api.apply_deployment({}, "a-consumer"),
        "apply", f"PATCH {DEPLOYMENTS}/a-consumer?{NAMED}&force=true", id="apply",
    ),
    pytest.param(
        lambda api, _: api.scale("a-consumer", 3),
        "scale", f"PATCH {DEPLOYMENTS}/a-consumer/scale?{NAMED}", id="scale",
    ),
    pytest.param(
        lambda api, jobqueue: api.write_status(jobqueue, {}),
        "status",
        f"PATCH /apis/leveret.dev/v1alpha1/namespaces/shop/jobqueues/url-check/status?{NAMED}", id="status",
    ),
    pytest.param(lambda api, _: api.create_secret({}), "secret", f"POST {SECRETS}?{NAMED}", id="secret"),
    pytest.param(lambda api, _: api.create_event({}), "event", f"POST {EVENTS}?{NAMED}", id="event"),
    pytest.param(
        lambda api, _: api.update_event("e", {}), "event", f"PATCH {EVENTS}/e?{NAMED}", id="event-again"
    ),
]  # fmt: skip
Write = Callable[[KubernetesApi, JobQueue], Awaitable[Any]]


@pytest.mark.parametrize(("write", "kind", "request_"), WRITES)
async def test_what_is_written_names_us(write: Write, kind: str, request_: str, jobqueue: JobQueue) -> None:
    there, client, written = api()
    await write(there, jobqueue)
    assert (client.asked, written) == ([request_], [kind])


@pytest.mark.parametrize(("write", "kind", "request_"), WRITES)
async def test_without_the_lease_nothing_is_written(write: Write, kind: str, request_: str, jobqueue: JobQueue) -> None:
    there, client, written = api(left=0.0)
    with pytest.raises(ApiGone, match="does not hold the Lease"):
        await write(there, jobqueue)
    assert (client.asked, written) == ([], [])
    await there.list_deployments()
    await there.read_lease("leveret-operator")
    await there.write_lease("leveret-operator", {}, new=True)
    await there.write_lease("leveret-operator", {}, new=False)
    assert client.asked[1:] == [
        f"GET {LEASES}/leveret-operator", f"POST {LEASES}?{NAMED}", f"PUT {LEASES}/leveret-operator?{NAMED}"
    ]  # fmt: skip


@pytest.mark.parametrize(("left", "longest"), [pytest.param(2.5, 2.5, id="soon-over"), pytest.param(99, 10, id="held")])
async def test_no_write_goes_on_for_longer_than_it_may(left: float, longest: float) -> None:
    there, client, _ = api(left=left)
    assert await there.scale("a-consumer", 3) == 7
    assert client.timeouts == [longest]


async def test_a_lease_that_is_not_there_is_none_and_not_a_problem() -> None:
    there, _, _ = api(404, {"reason": "NotFound", "message": "not found"})
    assert await there.read_lease("leveret-operator") is None
    with pytest.raises(ApiRefused, match="not found"):
        await there.scale("a-consumer", 3)


@pytest.mark.parametrize("status", [401, 429, 502, 503, 504])
async def test_what_says_nothing_about_the_request_refuses_nothing(status: int) -> None:
    there, _, _ = api(status, {"message": "later"})
    with pytest.raises(ApiGone, match="later"):
        await there.scale("a-consumer", 3)
