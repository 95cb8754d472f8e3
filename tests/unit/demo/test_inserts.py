"""What the demo shows of bulk-insert, by a front that answers what a test says."""

import io

import httpx
import pytest
from rich.console import Console

from demo.api import NotThere
from demo.inserts import show


class Front:
    """Inserts: the first one ends, the second one runs until it is stopped."""

    def __init__(self, stops: bool = True) -> None:
        self.count, self.asked, self.states, self.stops = (
            7,
            [""],
            {"1": ["accepted", "running", "succeeded"], "2": ["running"]},
            stops,
        )

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url.path)
        _, what, *which = request.url.path.split("/")
        match what, which:
            case "insert", [rows]:
                id = "1" if rows == "100000" else "2"  # noqa: A001
                return httpx.Response(202, json={"id": id})
            case "stop", [id]:
                self.states[id] = ["running", "cancelled"] if self.stops else ["running"]
                return httpx.Response(202, json={"id": id, "state": "running", "rows": 0})
            case "status", [id]:
                state = self.states[id].pop(0) if len(self.states[id]) > 1 else self.states[id][0]
                self.count = 100_007 if state == "succeeded" else self.count
                return httpx.Response(200, json={"id": id, "state": state, "rows": 0})
        return httpx.Response(200, json={"count": self.count})


def shown(front: Front) -> str:
    out = io.StringIO()
    client = httpx.Client(base_url="http://front", transport=httpx.MockTransport(front.answer))
    show(client, Console(file=out, width=200), sleep=lambda seconds: None)
    return out.getvalue()


def test_an_insert_and_a_stop_and_the_count_after_each() -> None:
    front = Front()
    said = shown(front)
    assert "The insert is succeeded: the table has 100,007 rows." in said
    assert "stopped after 1 s is cancelled: the table has 100,007 rows." in said
    assert front.asked.index("/stop/2") > front.asked.index("/status/2")


def test_one_that_does_not_end_is_told() -> None:
    with pytest.raises(NotThere, match="The insert 2 is still running after 180 s"):
        shown(Front(stops=False))


def test_so_is_a_front_that_is_away() -> None:
    client = httpx.Client(base_url="http://front", transport=httpx.MockTransport(lambda _: httpx.Response(503)))
    with pytest.raises(NotThere, match="bulk-insert does not answer"):
        show(client, Console(file=io.StringIO()))
