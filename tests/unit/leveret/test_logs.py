import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from leveret.telemetry.logs import configure_logs, log_form


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


def test_a_line_is_json_with_the_values_as_fields_and_a_librarys_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("json")
    structlog.get_logger("leveret.test").info("scaled", queue="a.b", after=3)
    logging.getLogger("some.library").warning("hm %s", "so", extra={"job": "17"})
    ours, theirs = map(json.loads, capsys.readouterr().err.splitlines())
    assert (ours["event"], ours["queue"], ours["after"], ours["level"]) == ("scaled", "a.b", 3, "info")
    assert (theirs["event"], theirs["job"], theirs["logger"]) == ("hm so", "17", "some.library")


def test_what_is_below_the_level_is_not_even_made(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("text")

    class Costly:
        def __str__(self) -> str:
            raise AssertionError("was made")

    structlog.get_logger("leveret.test").debug("tick", value=Costly())
    assert capsys.readouterr().err == ""


def test_a_traceback_shows_no_local_variables(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("text")

    def connects(password: str) -> None:
        raise ValueError("no")

    try:
        connects("".join(["hu", "sh"]))
    except ValueError:
        structlog.get_logger("leveret.test").exception("failed")
    said = capsys.readouterr().err
    assert "ValueError: no" in said
    assert "hush" not in said


def test_a_form_that_is_none_is_refused() -> None:
    assert (log_form(None), log_form("text"), log_form("json")) == ("text", "text", "json")
    with pytest.raises(ValueError, match="must be json or text"):
        log_form("xml")
