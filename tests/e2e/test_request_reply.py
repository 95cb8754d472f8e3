"""request_reply as a team would run it: asked through its Service in every style, many at once, while a front pod goes."""

import asyncio
import json
import os
import time
from collections import Counter
from typing import Any

import httpx
import pytest
from api import eventually
from kube import ROOT, Namespace

URL = os.environ.get("LEVERET_E2E_REQUEST_REPLY_URL", "http://127.0.0.1:18083")
STYLES = ("direct", "exclusive", "fixed")
FRONTS = "app.kubernetes.io/name=request-reply,app.kubernetes.io/component=front"
AT_ONCE = 200  # in each style


@pytest.fixture(scope="module")
def fronts(namespace: Namespace) -> Namespace:
    namespace.apply(ROOT / "manifests/examples/request-reply.yaml")
    namespace.kubectl("rollout", "status", "deployment/request-reply", "--timeout=300s")
    namespace.kubectl("wait", "--for=condition=Ready", "jobqueue/request-reply", "--timeout=300s")
    eventually("each style answers", lambda: all(_asked(style).is_success for style in STYLES), 120)
    return namespace


def _asked(style: str) -> httpx.Response:
    return httpx.post(f"{URL}/ask", json={"message": "hello", "style": style}, timeout=60, trust_env=False)


async def _ask_all(seconds: float = 0) -> Counter[str]:
    """Ask many at once in every style, again and again for so long; count the answers, and what else came."""
    seen: Counter[str] = Counter()
    end = time.monotonic() + seconds
    # Each request has a connection of its own, so that the Service shares them out.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)

    async def ask(message: str, style: str) -> None:
        try:
            answer = await client.post("/ask", json={"message": message, "style": style})
        except httpx.TransportError as problem:
            seen[f"{style}: {type(problem).__name__}"] += 1
            return
        right = answer.is_success and answer.json()["reply"] == f"Consumer processed {message}"
        seen["right" if right else f"{style}: {answer.status_code} {answer.text[:300]}"] += 1

    async with httpx.AsyncClient(base_url=URL, timeout=60, limits=limits, trust_env=False) as client:
        while True:
            await asyncio.gather(*(ask(f"{style} {n}", style) for n in range(AT_ONCE) for style in STYLES))
            if time.monotonic() > end:
                return seen


async def test_many_at_once_in_every_style(fronts: Namespace) -> None:
    assert await _ask_all() == Counter(right=AT_ONCE * len(STYLES))


@pytest.mark.timeout(300)
async def test_a_front_pod_that_goes_answers_what_it_was_asked(fronts: Namespace) -> None:
    gone = fronts.pods(FRONTS)[0]
    asking = asyncio.create_task(_ask_all(seconds=15))
    await asyncio.sleep(1)
    await asyncio.to_thread(fronts.kubectl, "delete", "pod", gone, "--wait=false")
    seen = await asking
    print(f"\n{seen}")
    assert set(seen) == {"right"}

    def in_use() -> bool:
        """Whether the fixed queues that have a consumer are those of the pods that live, and empty."""
        queues = [one for one in _queues(fronts) if one["name"].startswith("request-reply.replies.")]
        used = {one["name"].removeprefix("request-reply.replies.") for one in queues if one["consumers"]}
        pods = set(fronts.pods(FRONTS))
        return len(pods) == 2 and gone not in pods and used == pods and not any(one["messages"] for one in queues)

    await asyncio.to_thread(
        eventually, "only the living pods' fixed queues have a consumer, and all are empty", in_use, 120
    )


def _queues(namespace: Namespace) -> list[dict[str, Any]]:
    words = ("rabbitmqctl", "-q", "list_queues", "--formatter=json", "name", "consumers", "messages")
    found: list[dict[str, Any]] = json.loads(namespace.kubectl("exec", "leveret-rabbitmq-0", "--", *words))
    return found


BAD = [
    pytest.param(b"{", 400, "invalid-json", id="half a body"),
    pytest.param({"message": 5, "style": "direct"}, 422, "invalid-request", id="no text"),
    pytest.param({"message": "x", "style": "carrier pigeon"}, 422, "invalid-request", id="no style"),
    pytest.param({"message": "x" * 65_537, "style": "direct"}, 422, "invalid-request", id="a byte too long"),
    pytest.param(b" " * (10 << 20), 413, "too-large", id="ten megabytes"),
]


@pytest.mark.parametrize(("body", "status", "slug"), BAD)
def test_bad_input_gets_a_problem_document(fronts: Namespace, body: Any, status: int, slug: str) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    json_type = {"content-type": "application/json"}
    answer = httpx.post(f"{URL}/ask", content=content, headers=json_type, timeout=60, trust_env=False)
    assert (answer.status_code, answer.json()["type"]) == (status, f"https://leveret.dev/problems/{slug}")
    assert httpx.get(f"{URL}/docs", trust_env=False).is_success
