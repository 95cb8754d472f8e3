from datetime import timedelta

import pytest

from leveret.durations import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        pytest.param("250ms", 0.25, id="milliseconds"),
        pytest.param("30s", 30, id="seconds"),
        pytest.param("1.5s", 1.5, id="a-decimal"),
        pytest.param("10m", 600, id="minutes"),
        pytest.param("2h", 7200, id="hours"),
        pytest.param("0s", 0, id="zero"),
    ],
)
def test_a_duration_is_a_number_and_a_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "5", "s", "-1s", "1d", "1h30m", "1 s", "1e3s", "٣s" + "x"])
def test_anything_else_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration: write a number and one of"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["30", "1.5", " 7 "])
def test_a_number_without_a_unit_is_told_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match=rf"such as {text.strip()}s for seconds$"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["250ms", "1500ms", "30s", "90s", "10m", "2h", "0s"])
def test_what_was_parsed_is_written_as_it_was(text: str) -> None:
    assert format_duration(parse_duration(text)) == text
