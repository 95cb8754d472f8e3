"""The OpenAPI document says what is sent."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker
from starlette.datastructures import QueryParams

from leveret.settings import Places
from leveret_producer.app import create_app
from leveret_producer.cancels import selection as cancels
from leveret_producer.dead_letters.selection import read_selection
from leveret_producer.problems import Refused
from leveret_producer.routes.listing import CURSOR, cursor, read_part
from leveret_producer.scheduling import run_times
from leveret_producer.settings import Settings
from leveret_producer.store.listing import Place
from leveret_producer.submission import Submission, read


@pytest.fixture(scope="module")
def schemas() -> dict[str, Any]:
    found: dict[str, Any] = create_app(Settings(Places({}), "test")).openapi()["components"]["schemas"]
    return found


def test_times_are_told_as_times(schemas: dict[str, Any]) -> None:
    times = [
        (name, field, schema)
        for name, one in schemas.items()
        for field, schema in one.get("properties", {}).items()
        if field.endswith("_at") or field in ("time", "deadline", "since", "until")
    ]
    assert len(times) > 20
    assert [(name, field) for name, field, schema in times if schema.get("format") != "date-time"] == []


@pytest.mark.parametrize("name", ["Job", "ListedJob", "Attempt", "QueueView", "DeadLetter", "WholeDeadLetter"])
def test_what_is_always_sent_is_said_to_be(schemas: dict[str, Any], name: str) -> None:
    assert set(schemas[name]["required"]) == set(schemas[name]["properties"])


@pytest.mark.parametrize("name", ["AcceptedJob", "AcceptedList"])
def test_a_warning_may_be_absent(schemas: dict[str, Any], name: str) -> None:
    properties = schemas[name]["properties"]
    assert set(properties) - set(schemas[name]["required"]) == {"warning"}
    assert properties["warning"]["type"] == "string"


def test_a_job_that_was_accepted_is_a_job(schemas: dict[str, Any]) -> None:
    accepted, job = (dict(schemas[name]["properties"]) for name in ("AcceptedJob", "Job"))
    del accepted["warning"]
    assert accepted == job


def _validator(schemas: dict[str, Any], name: str) -> Draft202012Validator:
    """A validator of one schema: `nullable` of OpenAPI 3.0 is another alternative."""

    def nullable(schema: Any) -> Any:
        if isinstance(schema, list):
            return [nullable(one) for one in schema]
        if not isinstance(schema, dict):
            return schema
        rest = {key: nullable(value) for key, value in schema.items() if key != "nullable"}
        return {"anyOf": [rest, {"type": "null"}]} if schema.get("nullable") else rest

    root = {"components": {"schemas": nullable(schemas)}, "$ref": f"#/components/schemas/{name}"}
    return Draft202012Validator(root, format_checker=FormatChecker())


def _is_taken(body: object) -> bool:
    try:
        job = read(json.dumps(body).encode())
        assert isinstance(job, Submission)
        run_times([job], NOW, in_list=False)
    except Refused:
        return False
    return True


def _is_selection(body: object, read_one: Callable[[bytes], object]) -> bool:
    try:
        read_one(json.dumps(body).encode())
    except Refused:
        return False
    return True


NOW = datetime.now(UTC)
JOB = {"type": "a", "payload": 1}
SOON = f"{NOW.year}-01-02T03:04:05.678Z"
SUBMISSIONS = [
    JOB,
    {"type": "é" * 60, "payload": None},
    {"type": "a" * 255, "payload": [{}]},
    *({**JOB, "run_at": at} for at in (None, SOON, f"{NOW.year - 9}-12-28T23:59:59+13:59")),
    *({**JOB, "delay": delay} for delay in (None, "0s", "10m", "999h", "1.5h", "9999999s")),
    {**JOB, "run_at": None, "delay": None},
    {**JOB, "run_at": SOON, "delay": None},
    {**JOB, "run_at": None, "delay": "1s"},
]
NO_SUBMISSIONS = [
    {},
    {"type": "", "payload": 1},
    {"type": "é" * 200, "payload": 1},
    {"type": "a\nb", "payload": 1},
    {"type": "a" * 256, "payload": 1},
    {**JOB, "more": 1},
    *({**JOB, "delay": delay} for delay in ("soon", "9999h", "", "-1s", "1 s", 5)),
    *({**JOB, "run_at": at} for at in ("2099-01-01T00:00:00Z", f"{NOW.year}-01-01T00:00:00", "today", 5)),
    {**JOB, "run_at": SOON, "delay": "1s"},
]
ID = "00000000-0000-7000-8000-000000000000"
SELECTIONS = [
    {"ids": [ID]},
    {"all": True},
    {"filter": {"type": "a"}},
    {"filter": {"reason": "Rejected", "since": SOON}},
    {"filter": {"until": SOON, "since": None}},
    {"ids": None, "filter": None, "all": True},
]
NO_SELECTIONS = [
    {},
    {"all": False},
    {"all": None},
    {"ids": []},
    {"ids": ["x"]},
    {"filter": {}},
    {"filter": {"type": None}},
    {"filter": {"type": "\0"}},
    {"filter": {"reason": "Other"}},
    {"all": True, "ids": [ID]},
    {"all": True, "filter": {"type": "a"}},
    {"filter": {"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}},
    {"some": 1},
]


@pytest.mark.parametrize("body", SUBMISSIONS + NO_SUBMISSIONS, ids=repr)
def test_what_the_schema_allows_is_taken_and_what_is_refused_it_does_not_allow(
    schemas: dict[str, Any], body: object
) -> None:
    allowed = _validator(schemas, "Submission").is_valid(body)
    assert allowed == _is_taken(body) == (body in SUBMISSIONS)


@pytest.mark.parametrize("body", SELECTIONS + NO_SELECTIONS, ids=repr)
def test_which_dead_letters_may_be_meant_is_told(schemas: dict[str, Any], body: object) -> None:
    allowed = _validator(schemas, "DeadLetterSelection").is_valid(body)
    assert allowed == _is_selection(body, read_selection) == (body in SELECTIONS)


OF_JOBS = [*(one for one in SELECTIONS if "Rejected" not in str(one)), {"filter": {"state": "queued", "since": SOON}}]
NOT_OF_JOBS = [
    *NO_SELECTIONS,
    {"filter": {"state": "dead"}},
    {"filter": {"state": "gone"}},
    {"filter": {"state": None}},
]


@pytest.mark.parametrize("body", OF_JOBS + NOT_OF_JOBS, ids=repr)
def test_which_jobs_may_be_meant_is_told(schemas: dict[str, Any], body: object) -> None:
    allowed = _validator(schemas, "JobSelection").is_valid(body)
    assert allowed == _is_selection(body, cancels.read_selection) == (body in OF_JOBS)


@given(st.data())
def test_whatever_a_pattern_allows_is_taken(schemas: dict[str, Any], data: st.DataObject) -> None:
    fields = schemas["Submission"]["properties"]
    body: dict[str, object] = {
        "type": data.draw(st.from_regex(fields["type"]["pattern"], fullmatch=True)),
        "payload": data.draw(st.none() | st.integers()),
    }
    name = data.draw(st.sampled_from(["delay", "run_at"]))
    body[name] = data.draw(st.from_regex(re.compile(fields[name]["pattern"], re.ASCII), fullmatch=True))
    assert _is_taken(body), body


@given(st.from_regex(re.compile(CURSOR, re.ASCII), fullmatch=True))
def test_whatever_a_cursors_pattern_allows_is_a_place(text: str) -> None:
    assert read_part(QueryParams({"before": text}), ("before",))[1] == []


@given(
    st.datetimes(max_value=datetime(9000, 1, 1)),  # noqa: DTZ001 - the zone is the next argument
    st.uuids(),
)
def test_a_cursor_is_read_as_it_was_written(at: datetime, id: UUID) -> None:
    place = Place(at.replace(tzinfo=UTC), id)
    assert re.fullmatch(CURSOR, cursor(place))
    assert read_part(QueryParams({"before": cursor(place)}), ("before",))[0].behind == place


def test_problems_are_those_that_an_operation_has(schemas: dict[str, Any]) -> None:
    paths = create_app(Settings(Places({}), "test")).openapi()["paths"]
    told = {
        (method, path): operation["responses"]["503"]["description"]
        for path, one in paths.items()
        for method, operation in one.items()
        if path.startswith("/v1")
    }
    assert {key for key, description in told.items() if "outbox-full" in description} == {
        ("post", "/v1/queues/{queue}/jobs")
    }
    ids = [
        parameter["schema"]
        for one in paths.values()
        for operation in one.values()
        for parameter in operation.get("parameters", [])
        if parameter["name"] == "id"
    ]
    assert ids == [{"type": "string", "format": "uuid"}] * 6
