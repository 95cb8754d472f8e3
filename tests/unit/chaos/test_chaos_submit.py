"""The submitter counts what was answered, and nothing that it only believes."""

import io
import json
from collections.abc import Callable

import httpx
import pytest

from chaos.__main__ import options
from chaos.jobs import Batch, Job, Way
from chaos.plan import Part
from chaos.stretches import Size, Stretch
from chaos.submit import NotAccepted, Submitter

OK = Job(Part.URLS, "check-url", {"url": "http://url-check-targets/ok?a"}, status=200, path="/ok?a", mark="a")
NOOP = Job(Part.BENCH, "noop", {}, delay=1.5)
UNSURE = {"detail": "The database went away while it was storing this, so it isn't known whether it was stored. Look."}


def broken(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadError("gone", request=request)


def unreachable(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused", request=request)


def accepting(*ids: str) -> Callable[[httpx.Request], httpx.Response]:
    return lambda request: httpx.Response(202, json={"jobs": [{"id": one, "state": "accepted"} for one in ids]})


def answering(status: int, body: object = None) -> Callable[[httpx.Request], httpx.Response]:
    return lambda request: httpx.Response(status, json=body)


async def posted(
    batch: Batch, *answers: Callable[[httpx.Request], httpx.Response]
) -> tuple[Submitter, list[object], list[dict[str, object]]]:
    """Post a batch to an API that gives these answers; return the submitter, the bodies that it sent, and its journal."""
    left, bodies = list(answers), []

    def answer(request: httpx.Request) -> httpx.Response:
        bodies.append(json.loads(request.content))
        return left.pop(0)(request)

    journal = io.StringIO()
    async with httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://api") as http:
        submitter = Submitter(http, "amqp://nobody/", lambda part: f"ns.{part}", journal)
        await submitter.post(batch)
    assert not left
    return submitter, bodies, [json.loads(line) for line in journal.getvalue().splitlines()]


async def test_a_list_is_accepted_with_its_ids_in_order() -> None:
    submitter, bodies, journal = await posted(Batch(0, 0, Way.LIST, (OK, NOOP)), accepting("i", "j"))

    assert [(one.id, one.job) for one in submitter.accepted] == [("i", OK), ("j", NOOP)]
    assert bodies == [
        [
            {"type": "check-url", "payload": {"url": "http://url-check-targets/ok?a"}},
            {"type": "noop", "payload": {}, "delay": "1500ms"},
        ]
    ]
    assert [line["answer"] for line in journal] == ["accepted"]


CANCELLED = Job(Part.EFFECTS, "effect", {}, cancel=0.0)


@pytest.mark.parametrize(
    ("answer", "taken"), [(answering(202, {}), 1), (answering(409), 0)], ids=["taken", "it had ended"]
)
async def test_a_job_that_is_to_be_cancelled_is_until_that_is_answered(
    monkeypatch: pytest.MonkeyPatch, answer: Callable[[httpx.Request], httpx.Response], taken: int
) -> None:
    monkeypatch.setattr("chaos.submit.LONGEST_PAUSE", 0.0)
    answers, asked = [accepting("i", "j"), broken, answering(503), answer], []

    def next_answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return answers.pop(0)(request)

    async with httpx.AsyncClient(transport=httpx.MockTransport(next_answer), base_url="http://api") as http:
        submitter = Submitter(http, "amqp://nobody/", lambda part: f"ns.{part}", io.StringIO())
        await submitter.post_and_cancel(Batch(0, 0, Way.LIST, (CANCELLED, OK)))

    assert asked == ["/v1/queues/ns.chaos-effects/jobs", *["/v1/jobs/i/cancel"] * 3]
    assert submitter.cancels == taken


async def test_one_job_is_no_list() -> None:
    submitter, bodies, _ = await posted(Batch(0, 0, Way.ONE, (NOOP,)), answering(202, {"id": "i"}))

    assert [one.id for one in submitter.accepted] == ["i"]
    assert bodies == [{"type": "noop", "payload": {}, "delay": "1500ms"}]


@pytest.mark.parametrize(
    "refusal",
    [
        pytest.param(answering(503, {"detail": "The database is away. Nothing was stored."}), id="503"),
        pytest.param(answering(429), id="429"),
        pytest.param(answering(404), id="not known yet"),
        pytest.param(unreachable, id="nobody listens"),
    ],
)
async def test_what_is_refused_is_sent_again_as_it_was(refusal: Callable[[httpx.Request], httpx.Response]) -> None:
    submitter, bodies, journal = await posted(Batch(0, 0, Way.LIST, (OK,)), refusal, accepting("i"))

    assert bodies[0] == bodies[1]
    assert (len(submitter.accepted), submitter.refused, submitter.unknown) == (1, 1, 0)
    assert [line["answer"] for line in journal] == ["refused", "accepted"]


@pytest.mark.parametrize(
    "unsure", [pytest.param(broken, id="broken off"), pytest.param(answering(503, UNSURE), id="503")]
)
async def test_what_is_not_answered_for_is_not_counted_and_others_are_sent(
    unsure: Callable[[httpx.Request], httpx.Response],
) -> None:
    submitter, bodies, journal = await posted(Batch(0, 0, Way.LIST, (OK,)), unsure, accepting("i"))

    assert bodies[1] == [{"type": "check-url", "payload": {"url": "http://url-check-targets/ok?a-r1"}}]
    assert [one.job.path for one in submitter.accepted] == ["/ok?a-r1"]
    assert (submitter.refused, submitter.unknown) == (0, 1)
    assert [line["answer"] for line in journal] == ["unknown", "accepted"]


async def test_an_answer_that_no_fault_explains_ends_the_run() -> None:
    with pytest.raises(NotAccepted, match="answers 422"):
        await posted(Batch(0, 0, Way.LIST, (OK,)), answering(422, {"detail": "no"}))


def test_seed_and_size_come_from_the_environment_and_the_command_line_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAOS_SEED", "7")
    monkeypatch.setenv("CHAOS_JOBS", "50")
    monkeypatch.setenv("CHAOS_FAULTS", "")

    wanted = options(["--jobs", "60"])

    assert (wanted.seed, wanted.size) == (7, Size(60, 36))


def test_one_stretch_of_a_run_can_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAOS_ONLY", "ended")

    assert options([]).size.only is Stretch.ENDED
    assert options(["--only", "long-cuts"]).size.only is Stretch.LONG_CUTS


@pytest.mark.parametrize(
    "wrong", [["--only", "all"], ["--jobs", "0"], ["--faults", "-1"], ["--seed", "x"], ["--jobs", "many"]]
)
def test_a_size_that_cannot_be_is_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        options(wrong)

    assert ended.value.code == 2
    assert wrong[0].removeprefix("--") in capsys.readouterr().err
