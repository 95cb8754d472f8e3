"""What became of many jobs is answered whole, or it can be seen that it isn't; however large it is, a part at a time."""

import json
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest
from msgspec import DecodeError
from pretended_server import Answering, Server

from leveret_producer.outcomes import MOST_IDS, read_ids
from leveret_producer.problems import Refused
from leveret_producer.store.outcomes import MOST_BYTES
from leveret_producer.store.postgres import DatabaseUnavailable

ONE, TWO = UUID(int=1), UUID(int=2)
PATH = "/v1/jobs/get"
GOOD = {
    "none": ({"ids": []}, []),
    "one": ({"ids": [str(ONE)]}, [ONE]),
    "as asked": ({"ids": [str(TWO), str(ONE)]}, [TWO, ONE]),
    "twice": ({"ids": [str(TWO), str(ONE), str(TWO).upper()]}, [TWO, ONE]),
    "many": ({"ids": [str(UUID(int=one)) for one in range(MOST_IDS)]}, [UUID(int=one) for one in range(MOST_IDS)]),
}
BAD = {
    "empty": (b"", 400, []),
    "half": (b'{"ids": [', 400, []),
    "not UTF-8": (b'{"ids": ["\xff"]}', 400, []),
    "a list": (b"[]", 422, [""]),
    "nothing": (b"{}", 422, ["/ids"]),
    "null": (b'{"ids": null}', 422, ["/ids"]),
    "a bad id": (json.dumps({"ids": [str(ONE), "x"]}).encode(), 422, ["/ids/1"]),
    "a number": (b'{"ids": [7]}', 422, ["/ids/0"]),
    "too many": (json.dumps({"ids": [str(ONE)] * (MOST_IDS + 1)}).encode(), 422, ["/ids"]),
    "another field": (b'{"ids": [], "queue": "q"}', 422, ["/queue"]),
    "deep": (b'{"ids":' + b"[" * 100_000, 422, ["/ids/0"]),
}


@pytest.mark.parametrize(("asked", "ids"), GOOD.values(), ids=GOOD.keys())
def test_ids_are_read(asked: object, ids: list[UUID]) -> None:
    assert read_ids(json.dumps(asked).encode()) == ids


@pytest.mark.parametrize(("body", "status", "pointers"), BAD.values(), ids=BAD.keys())
def test_what_is_no_list_of_ids_is_refused(body: bytes, status: int, pointers: list[str]) -> None:
    with pytest.raises(Refused) as refused:
        read_ids(body)
    problem = refused.value.problem
    assert (problem.status, [flaw.pointer for flaw in problem.errors or ()]) == (status, pointers)
    assert "Nothing was looked for." in problem.detail
    assert "are  and" not in problem.detail


class Table(Answering):
    """In place of PostgreSQL: `jobs` are results by id; it is away after so many statements."""

    def __init__(self, jobs: dict[UUID, str | None], statements: int = 1_000) -> None:
        super().__init__()
        self.jobs, self.statements = jobs, statements
        self.rows: list[Any] = []

    async def execute(self, statement: object, values: dict[str, Any] | None = None) -> "Table":
        assert values is not None
        if self.statements == 0:
            raise DatabaseUnavailable("away")
        self.statements -= 1
        self.rows, size = [], 0
        for one in values["ids"]:
            if one in self.jobs and size < values["most"]:
                self.rows.append(SimpleNamespace(id=one, state="succeeded", result=self.jobs[one], error=None))
                size += len(self.jobs[one] or "")
        return self

    def all(self) -> list[Any]:
        return self.rows


async def ask(table: Table, *ids: UUID) -> tuple[int, dict[str, Any], dict[str, str]]:
    body = json.dumps({"ids": [str(one) for one in ids]}).encode()
    return await Server(postgres=cast(Any, table)).call(body, PATH)


@pytest.mark.parametrize("size", [1, MOST_BYTES // 3, MOST_BYTES], ids=["at once", "in parts", "one by one"])
async def test_all_that_are_known_are_told_in_order(size: int) -> None:
    known = [UUID(int=number) for number in range(20, 0, -2)]
    table = Table({one: json.dumps("x" * (size - 2)) for one in known} | {ONE: None})
    status, document, _ = await ask(table, *(UUID(int=number) for number in range(30, 0, -1)))
    assert status == 200
    assert [job["id"] for job in document["jobs"]] == [*map(str, known), str(ONE)]
    assert {len(job["result"] or "x" * (size - 2)) for job in document["jobs"]} == {max(size - 2, 0)}
    assert document["jobs"][-1] == {"id": str(ONE), "state": "succeeded", "result": None, "error": None}


async def test_a_database_that_is_away_before_it_began_is_told() -> None:
    status, document, headers = await ask(Table({}, statements=0), ONE)
    assert (status, headers["retry-after"]) == (503, "5")
    assert "stored" not in json.dumps(document)


async def test_an_answer_that_can_not_be_ended_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table({ONE: json.dumps("x" * MOST_BYTES), TWO: "1"}, statements=1)
    with pytest.raises(DecodeError):
        await ask(table, ONE, TWO)
    assert "Traceback" not in "".join(capsys.readouterr())


async def test_looking_is_not_getting() -> None:
    status, _, headers = await Server().call(b"", PATH, "GET")
    assert (status, headers["allow"]) == (405, "POST")
