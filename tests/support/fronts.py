"""A front of an example, as a client outside of the cluster uses it."""

from typing import Any, Protocol

import httpx
from api import eventually


class Ask(Protocol):
    def __call__(self, method: str, path: str, **more: Any) -> httpx.Response: ...


def asking(url: str) -> Ask:
    def ask(method: str, path: str, **more: Any) -> httpx.Response:
        """Ask until there is an answer that is none of a part that is away, which must say so with a 503."""
        answers: list[httpx.Response] = []

        def answered() -> bool:
            try:
                answer = httpx.request(method, f"{url}{path}", timeout=60, trust_env=False, **more)
            except httpx.TransportError:
                return False
            if answer.status_code == 503:
                assert answer.headers["retry-after"]
                return False
            answers.append(answer)
            return True

        eventually(f"{method} {path} is answered", answered, 120)
        assert answers[0].status_code < 500, answers[0].text
        return answers[0]

    return ask
