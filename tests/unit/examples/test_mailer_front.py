"""The front of mailer without its database: what it refuses, how it says so, and what it takes."""

import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Any
from uuid import UUID

import httpx
import pytest
from containers import free_port
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from examples.mailer.emails import LONGEST_BODY, LONGEST_SUBJECT, MOST_RECIPIENTS, SCHEMA, NewEmail
from examples.mailer.front import LARGEST_BODY, create_app
from examples.mailer.settings import Settings
from examples.mailer.store import Store
from examples.mailer.sweep import end_of
from leveret.client import AsyncClient, JobResult, State
from leveret.client.outbox import Relay
from leveret.client.values import JobError

JSON = "application/json"
GOOD = {"to": "a@example.com", "subject": "Hello", "body": "Hello"}


@pytest.fixture
async def front() -> AsyncIterator[httpx.AsyncClient]:
    """A front whose database and whose Leveret are away."""
    nobody = free_port()
    app = create_app(
        lambda: Store(f"postgresql://nobody@127.0.0.1:{nobody}/none"),
        lambda: AsyncClient(f"http://127.0.0.1:{nobody}", "token"),
        "example.com",
        partial(Relay, url=f"http://127.0.0.1:{nobody}", token="token"),
    )
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://front") as client,
    ):
        yield client


BAD: dict[str, tuple[object, str]] = {
    "no to": ({"subject": "s", "body": "b"}, "/to"), "no subject": ({"to": "a@example.com", "body": "b"}, "/subject"),
    "no body": ({"to": "a@example.com", "subject": "s"}, "/body"), "another field": ({**GOOD, "cc": "b@example.com"}, "/cc"),
    "null": (None, ""), "a list": ([], ""), "a sender": ({**GOOD, "from": "b@example.com"}, "/from"),
    **{f"to is {to!r:.40}": ({**GOOD, "to": to}, "/to") for to in (
        None, 1, "", [], {}, [None], [["a@example.com"]], ["a@example.com"] * (MOST_RECIPIENTS + 1), True,
        "a", "@", "a@", "@example.com", "a@b", "a@example.com, b@example.com", "a@example.com;b@example.com", "A <a@example.com>",
        "a@example.com\r\nBcc: b@example.com", "a@example.com\n", "\na@example.com", "a\0@example.com", "a @example.com",
        "a@example.com>", "<a@example.com> SIZE=1", '"a\r\nb"@example.com', '"a b"@example.com', "a@[127.0.0.1]", "a@localhost",
        "ä@example.com", "a@exa mple.com", "a@example..com", ".a@example.com", "a..b@example.com", "a@-example.com",
        "x" * 65 + "@example.com", "a@" + "x" * 64 + ".com", "a@" + "x." * 200 + "com", ["a@example.com", "b"], "a\u2028@example.com",
    )},
    **{f"subject is {text!r:.40}": ({**GOOD, "subject": text}, "/subject") for text in (
        None, 1, "", [], "x" * (LONGEST_SUBJECT + 1), "a\r\nBcc: b@example.com", "a\nb", "a\rb", "a\0b", "a\tb", "a\x1bb", "a\x7fb",
        "a\x85b", "a\u2028b", "a\u2029b", "\n", "a\x0bb", "a\x0cb",
    )},
    **{f"body is {text!r:.40}": ({**GOOD, "body": text}, "/body") for text in (
        None, 1, "", [], "x" * (LONGEST_BODY + 1), "a\0b", "a\x1bb", "a\x7fb",
    )},
}  # fmt: skip


@pytest.mark.parametrize(("sent", "pointer"), BAD.values(), ids=BAD)
async def test_what_is_no_mail_is_refused_with_its_field(front: httpx.AsyncClient, sent: object, pointer: str) -> None:
    answer = await front.post("/emails", content=json.dumps(sent), headers={"content-type": JSON})
    problem = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert problem["type"] == "https://leveret.dev/problems/invalid-request"
    assert all(one["pointer"].startswith(pointer) for one in problem["errors"])
    assert "Nothing was stored" in problem["detail"]
    assert len(answer.content) < 4_096


@pytest.mark.parametrize("field", [*GOOD, "more"])
@pytest.mark.parametrize(
    ("value", "status"),
    [
        (b"1e400", 422), (b"1" * 5_000, 400), (b"[" * 150 + b"]" * 150, 422), (b"[" * 3_000 + b"]" * 3_000, 400),
        (b'{"a":{}}', 422), (b'"\\udfff"', 400), (b'"\xed\xa0\x80"', 400), (b'"\xff"', 400), (b'"\xc0\x80"', 400),
        (b'"a\\u0000"', 422), (b'"a\\u0080@example.com"', 422), (b'""', 422), (b'["a@example.com", 1e400]', 422), (b"0x10", 400),
    ],
    ids=lambda value: repr(value)[:40],
)  # fmt: skip
async def test_ill_will_in_any_field(front: httpx.AsyncClient, field: str, value: bytes, status: int) -> None:
    fields = {name: json.dumps(text).encode() for name, text in GOOD.items()} | {field: value}
    body = b"{" + b",".join(b'"%s":%s' % (name.encode(), text) for name, text in fields.items()) + b"}"
    answer = await front.post("/emails", content=body, headers={"content-type": JSON})
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    assert "Nothing was stored" in answer.json()["detail"]
    assert len(answer.content) < 4_096


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"", {"content-type": JSON}, 400), (b"{", {"content-type": JSON}, 400), (b"\xff", {"content-type": JSON}, 400),
        (b'{"to":"a@example.com","subject":"\\ud800","body":"b"}', {"content-type": JSON}, 400),
        (b"[" * 100_000, {"content-type": JSON}, 400), (b" " * (LARGEST_BODY + 1), {"content-type": JSON}, 413),
        (b"to=a@example.com", {"content-type": "application/x-www-form-urlencoded"}, 415), (b"{}", {}, 415),
        (b"{}", [("content-type", JSON), ("content-type", "text/plain")], 415),
    ],
)  # fmt: skip
async def test_what_can_not_be_read_is_refused(
    front: httpx.AsyncClient, content: bytes, headers: dict[str, str], status: int
) -> None:
    answer = await front.post("/emails", content=content, headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/emails", 405), ("GET", "/emails/1", 422), ("DELETE", f"/emails/{UUID(int=7)}", 405), ("GET", "/nothing", 404),
     ("GET", "/emails/", 404), ("GET", "/emails/%00", 422), ("GET", "/emails/%ff", 422)],
)  # fmt: skip
async def test_so_are_bad_addresses(front: httpx.AsyncClient, method: str, path: str, status: int) -> None:
    answer = await front.request(method, path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


@pytest.mark.parametrize(
    ("method", "path", "said"),
    [
        ("POST", "/emails", "Nothing was stored"),
        ("GET", f"/emails/{UUID(int=7)}", "is kept"),
        ("GET", "/readyz", "is kept"),
    ],
)
async def test_without_the_database_it_says_when_to_come_again_and_what_is_stored(
    front: httpx.AsyncClient, method: str, path: str, said: str
) -> None:
    answer = await front.request(method, path, json=GOOD)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert said in answer.json()["detail"]


async def test_what_needs_no_database_is_there_and_the_documentation_too(front: httpx.AsyncClient) -> None:
    for path in ("/healthz", "/docs", "/openapi.json"):
        assert (await front.get(path)).status_code == 200, path
    assert list((await front.get("/openapi.json")).json()["paths"]) == ["/emails", "/emails/{id}"]


@pytest.mark.parametrize(
    ("to", "kept"),
    [
        ("a@Example.COM", ["a@example.com"]), ("A@example.com", ["A@example.com"]), ("a+b.c_d-e@x.com", ["a+b.c_d-e@x.com"]),
        ("a@exämple.com", ["a@xn--exmple-cua.com"]), ([f"n{n}@example.com" for n in range(MOST_RECIPIENTS)],) * 2,
    ],
    ids=["a domain has one form", "a name has its own", "signs", "an international domain", "fifty"],
)  # fmt: skip
def test_an_address_is_kept_as_it_goes_over_the_line(to: object, kept: list[str]) -> None:
    assert NewEmail.model_validate({**GOOD, "to": to}).to == kept


@pytest.mark.parametrize(
    "field", [{"subject": "ä日🎈" * 85}, {"subject": "x" * LONGEST_SUBJECT}, {"body": "ä\t\r\n\n\r"}]
)
def test_any_text_will_do(field: dict[str, str]) -> None:
    assert NewEmail.model_validate({**GOOD, **field})


@pytest.mark.parametrize(
    ("job", "error"),
    [
        (None, "its job was removed from Leveret before the mail was sent"),
        ((State.QUEUED, None), None), ((State.RUNNING, None), None), ((State.RETRYING, None), None), ((State.SUCCEEDED, None), None),
        ((State.CANCELLED, None), "its job was cancelled"), ((State.DEAD, None), "its job ended without a report"),
        ((State.DEAD, JobError("DeliveryLimit", None, None)), "DeliveryLimit"),
    ],
)  # fmt: skip
def test_a_job_that_will_send_nothing_ends_the_mail(
    job: tuple[State, JobError | None] | None, error: str | None
) -> None:
    made: Any = None if job is None else JobResult(UUID(int=1), job[0], None, job[1])
    assert end_of(made) == error


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"MAILER_ON_DOUBT": "maybe"}, "dead-letter or send"), ({"MAILER_REQUEUES": "many"}, "must be a number"),
        ({"MAILER_REQUEUES": "-1"}, "must be a number"), ({"MAILER_REPLY_SECONDS": "nan"}, "must be a number"),
        ({"MAILER_SENDER": "me"}, "must be an e-mail address"),
    ],
)  # fmt: skip
def test_a_setting_that_can_not_be_meant_is_told(environment: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Settings.of(environment)


def test_settings_are_read() -> None:
    given = {
        "MAILER_ON_DOUBT": "send",
        "MAILER_REQUEUES": "3",
        "MAILER_SENDER": "x@example.com",
        "MAILER_REPLY_SECONDS": "1",
    }
    made = Settings.of(given)
    assert (made.send_in_doubt, made.requeues, made.sender, made.reply_seconds) == (True, 3, "x@example.com", 1.0)
    assert not Settings.of({}).send_in_doubt


def test_a_schema_that_clients_check_by_takes_what_the_front_takes() -> None:
    validator = Draft202012Validator(json.loads(json.dumps(SCHEMA)))
    for good in (GOOD, {**GOOD, "to": ["a@example.com"]}):
        assert validator.is_valid(good)
    for name, (sent, _) in BAD.items():
        if not name.startswith("to is"):  # the form of an address is a format, which few check
            assert not validator.is_valid(sent), name
        with pytest.raises(ValidationError):
            NewEmail.model_validate(sent)
