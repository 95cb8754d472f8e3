"""A front of an example, as a client outside of the cluster uses it."""

from typing import Any, Protocol

import httpx
from api import eventually


class Ask(Protocol):
    def __call__(self, method: str, path: str, **more: Any) -> httpx.Response: ...


def answer_of(url: str, method: str, path: str, **more: Any) -> httpx.Response | None:
    """Return what a front answers; None while it, or what it needs, is away, which it must say with a 503."""
    try:
        answer = httpx.request(method, f"{url}{path}", timeout=60, trust_env=False, **more)
    except httpx.TransportError:
        return None
    if answer.status_code == 503:
        assert answer.headers["retry-after"]
        return None
    assert answer.status_code < 500, answer.text
    return answer


def asking(url: str) -> Ask:
    def ask(method: str, path: str, **more: Any) -> httpx.Response:
        """Ask until there is an answer that is none of a part that is away."""
        answers: list[httpx.Response] = []

        def answered() -> bool:
            answer = answer_of(url, method, path, **more)
            answers.extend([answer] if answer is not None else [])
            return bool(answers)

        eventually(f"{method} {path} is answered", answered, 120)
        return answers[0]

    return ask
