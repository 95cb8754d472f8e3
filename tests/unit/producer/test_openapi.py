"""The OpenAPI document says what is sent."""

from typing import Any

import pytest

from leveret.settings import Places
from leveret_producer.app import create_app
from leveret_producer.settings import Settings


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
