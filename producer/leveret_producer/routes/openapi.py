"""The OpenAPI document: what routes take and give, from the very types that are decoded and encoded.

It is a 3.0 document, as the bundled Swagger UI reads no later one; so `null` becomes `nullable`.
"""

from datetime import UTC, datetime
from functools import cache
from itertools import product
from typing import Any, cast

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from leveret.events import Error, Progress
from leveret.jobs import DeadReason, State
from leveret_producer import views
from leveret_producer.cancels.selection import JobSelection
from leveret_producer.dead_letters.selection import DeadLetterSelection
from leveret_producer.health import Ready
from leveret_producer.idempotency import BARE, HEADER, LONGEST, QUOTED, REPLAYED
from leveret_producer.outcomes import OutcomeList, WantedJobs
from leveret_producer.problems import BASE, MEDIA_TYPE, Problem, status_of
from leveret_producer.routes import asked
from leveret_producer.routes.listing import CURSOR, DEFAULT_LIMIT, MOST
from leveret_producer.submission import MOST_JOBS, Submission

_TYPES = (
    Submission,
    views.Job,
    views.AcceptedJob,
    views.JobPage,
    views.AcceptedList,
    OutcomeList,
    views.QueueView,
    views.QueueList,
    Ready,
    DeadLetterSelection,
    JobSelection,
    WantedJobs,
    views.DeadLetterPage,
    views.WholeDeadLetter,
    views.Operation,
    views.BegunCancel,
    Problem,
)
_MORE = (Error, Progress)
_PATH = "#/components/schemas/"
_ANYWHERE = ("not-authenticated", "internal-error", "database-unavailable")
_BODY = ("invalid-json", "too-large", "unsupported-media-type", "invalid-request", "overloaded")


def _ref(name: str) -> dict[str, str]:
    return {"$ref": _PATH + name}


def _answer(description: str, name: str, media_type: str = "application/json") -> dict[str, Any]:
    return {"description": description, "content": {media_type: {"schema": _ref(name)}}}


def _problems(*kinds: str) -> dict[int | str, dict[str, Any]]:
    described: dict[int | str, dict[str, Any]] = {}
    for status in sorted({status_of(slug) for slug in (*kinds, *_ANYWHERE)}):
        of_it = ", ".join(slug for slug in (*kinds, *_ANYWHERE) if status_of(slug) == status)
        described[status] = _answer(f"Problem `{of_it}`", "Problem", MEDIA_TYPE)
        if status in (429, 503) or "request-in-progress" in of_it:
            described[status]["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "seconds"}}
        if status == 401:
            described[status]["headers"] = {"WWW-Authenticate": {"schema": {"type": "string"}}}
    return described


def _query(name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": description}


_ID = {"type": "string", "format": "uuid"}
_NO_NUL = "^[^\\x00]*$"
_one_or_many = {
    "oneOf": [_ref("Submission"), {"type": "array", "items": _ref("Submission"), "minItems": 1, "maxItems": MOST_JOBS}]
}
_key = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "schema": {"type": "string", "pattern": f"^({QUOTED}|{BARE})$", "maxLength": 2 * LONGEST + 2},
    "description": "A name for this request: sent again with it, it is stored once and answered as the first time",
}
_replayed = {REPLAYED: {"schema": {"type": "string", "enum": ["true"]}, "description": "An earlier request's answer"}}
_location = {"Location": {"schema": {"type": "string"}, "description": "The job, if it was one and not a list"}}
_job_or_list = {"schema": {"oneOf": [_ref("AcceptedJob"), _ref("AcceptedList")]}}

SUBMIT: dict[str, Any] = {
    "responses": {
        202: {"description": "Stored", "headers": _location | _replayed, "content": {"application/json": _job_or_list}},
        **_problems(*_BODY, "unknown-queue", "request-in-progress", "key-reused", "queue-full", "outbox-full"),
    },
    "openapi_extra": {
        "parameters": [_key],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": _one_or_many, "example": {"type": "echo", "payload": {"value": 1}}}
            },
        },
    },
}
GET_JOB: dict[str, Any] = {"responses": {200: _answer("The job", "Job"), **_problems("unknown-job", "invalid-request")}}
_example = {"ids": ["019a3c5e-0000-7000-8000-000000000000"]}
_wanted = {"application/json": {"schema": _ref("WantedJobs"), "example": _example}}
_asked_for = {
    202: {
        "description": "Cancelled, or to be cancelled",
        "headers": {"Location": {"schema": {"type": "string"}, "description": "The job"}},
        "content": {"application/json": {"schema": _ref("AcceptedJob")}},
    }
}
CANCEL: dict[str, Any] = {"responses": {**_asked_for, **_problems("unknown-job", "job-finished", "invalid-request")}}
CANCEL_OF_QUEUE: dict[str, Any] = {
    "responses": {**_asked_for, **_problems("unknown-queue", "unknown-job", "job-finished", "invalid-request")}
}
GET_JOBS: dict[str, Any] = {
    "responses": {200: _answer("Those that are known, in the order asked for", "OutcomeList"), **_problems(*_BODY)},
    "openapi_extra": {"requestBody": {"required": True, "content": _wanted}},
}
LIST_JOBS: dict[str, Any] = {
    "responses": {200: _answer("A page of jobs", "JobPage"), **_problems("invalid-request")},
    "openapi_extra": {
        "parameters": [
            _query("queue", {"type": "string", "pattern": _NO_NUL}, "Only of this queue"),
            _query("state", {"type": "string", "enum": [str(state) for state in State]}, "Only in this state"),
            _query("type", {"type": "string", "pattern": _NO_NUL}, "Only of this type"),
            _query("before", {"type": "string", "pattern": CURSOR}, "`next` of the page before"),
            _query("limit", {"type": "integer", "minimum": 1, "maximum": MOST, "default": DEFAULT_LIMIT}, "Page size"),
        ]
    },
}
LIST_QUEUES: dict[str, Any] = {"responses": {200: _answer("The queues", "QueueList"), **_problems()}}
GET_QUEUE: dict[str, Any] = {"responses": {200: _answer("The queue", "QueueView"), **_problems("unknown-queue")}}
LIST_DEAD_LETTERS: dict[str, Any] = {
    "responses": {
        200: _answer("A page of dead letters", "DeadLetterPage"),
        **_problems("unknown-queue", "invalid-request"),
    },
    "openapi_extra": {
        "parameters": [
            _query("reason", {"type": "string", "enum": [str(reason) for reason in DeadReason]}, "Only of this reason"),
            _query("type", {"type": "string", "pattern": _NO_NUL}, "Only of this type"),
            _query("before", {"type": "string", "pattern": CURSOR}, "`next` of the page before"),
            _query("limit", {"type": "integer", "minimum": 1, "maximum": MOST, "default": DEFAULT_LIMIT}, "Page size"),
        ]
    },
}
GET_DEAD_LETTER: dict[str, Any] = {
    "responses": {
        200: _answer("The dead letter", "WholeDeadLetter"),
        **_problems("unknown-queue", "unknown-job", "invalid-request"),
    }
}


def _begun(name: str) -> dict[str, Any]:
    location = {"Location": {"schema": {"type": "string"}, "description": "The operation"}}
    return {**_answer("Begun; follow it at Location", name), "headers": location}


_selection = {
    "application/json": {
        "schema": _ref("DeadLetterSelection"),
        "examples": {
            "filter": {"value": {"filter": {"reason": "AttemptsExhausted", "since": "2026-05-01T00:00:00Z"}}},
            "all": {"value": {"all": True}},
        },
    }
}
REDRIVE: dict[str, Any] = {
    "responses": {202: _begun("Operation"), **_problems(*_BODY, "unknown-queue")},
    "openapi_extra": {"requestBody": {"required": True, "content": _selection}},
}
PURGE = REDRIVE
_jobs = {
    "application/json": {
        "schema": _ref("JobSelection"),
        "examples": {
            "filter": {"value": {"filter": {"state": "queued", "type": "echo", "until": "2026-05-01T00:00:00Z"}}},
            "all": {"value": {"all": True}},
        },
    }
}
CANCEL_JOBS: dict[str, Any] = {
    "responses": {202: _begun("BegunCancel"), **_problems(*_BODY, "unknown-queue")},
    "openapi_extra": {"requestBody": {"required": True, "content": _jobs}},
}
GET_OPERATION: dict[str, Any] = {
    "responses": {200: _answer("The operation", "Operation"), **_problems("not-found", "invalid-request")}
}
_ok = {"schema": {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}}
HEALTHZ: dict[str, Any] = {
    "responses": {200: {"description": "Alive", "content": {"application/json": _ok}}},
    "openapi_extra": {"security": []},
}
READYZ: dict[str, Any] = {
    "responses": {200: _answer("Ready", "Ready"), 503: _answer("Not ready", "Ready")},
    "openapi_extra": {"security": []},
}


def document(app: FastAPI) -> dict[str, Any]:
    """Return the document of an app, as it is this year: how far ahead a job may be put off is told by its years."""
    return _document(app, datetime.now(UTC).year)


@cache
def _document(app: FastAPI, year: int) -> dict[str, Any]:
    made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    _, components = msgspec.json.schema_components((*_TYPES, *_MORE), ref_template=_PATH + "{name}")
    schemas = {name: _as_3_0(schema) for name, schema in components.items()}
    for name in ("Job", "AcceptedJob", "ListedJob", "Outcome", "Attempt", "WholeDeadLetter"):
        schemas[name]["properties"]["error"] = {"nullable": True, "allOf": [_ref("Error")]}
    for name in ("Job", "AcceptedJob", "ListedJob"):
        schemas[name]["properties"]["progress"] = {"nullable": True, "allOf": [_ref("Progress")]}
    for job, name in (*product(("Job", "AcceptedJob"), ("payload", "result")), ("Outcome", "result")):
        schemas[job]["properties"][name] = {"nullable": True, "description": "Any JSON"}
    schemas["WholeDeadLetter"]["properties"]["payload"] = {
        "nullable": True,
        "description": "As it came; null if it isn't JSON",
    }
    schemas["Problem"]["properties"]["type"]["example"] = BASE + "unknown-queue"
    asked.narrow(schemas, year)
    made["openapi"] = "3.0.3"
    made["components"] = {
        "schemas": schemas,
        "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
    }
    made["security"] = [{"token": []}]
    for operations in made["paths"].values():
        for operation in operations.values():
            if "422" in operation["responses"] and MEDIA_TYPE not in operation["responses"]["422"]["content"]:
                del operation["responses"]["422"]  # the framework's own form, which we never send
            for parameter in operation.get("parameters", ()):
                if parameter["name"] == "id":
                    parameter["schema"] = _ID
    return made


def _as_3_0(schema: Any) -> Any:
    """Rewrite a schema of JSON Schema 2020-12 in the dialect of OpenAPI 3.0."""
    if isinstance(schema, list):
        return [_as_3_0(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _as_3_0(value) for key, value in schema.items() if (key, value) != ("required", [])}
    choices = cast("list[dict[str, Any]]", made.get("anyOf", []))
    if {"type": "null"} in choices:
        rest = [one for one in choices if one != {"type": "null"}]
        del made["anyOf"]
        made["nullable"] = True
        made |= rest[0] if len(rest) == 1 and "$ref" not in rest[0] else {"anyOf": rest} if rest else {}
    return made
