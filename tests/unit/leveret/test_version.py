"""The version that is told is the one that is built, and the oldest is found among whatever heartbeats bring."""

import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leveret.version import NOT_TOLD, VERSION, is_older, oldest

ROOT = Path(__file__).resolve().parents[3]


def test_the_version_is_that_of_the_project() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == VERSION
    assert oldest([VERSION]) == VERSION


NAMING_IMAGES = (
    "charts/leveret/Chart.yaml",
    "chaos/*.py",
    "images/Dockerfile",
    "manifests/**/*.yaml",
    "examples/*/Dockerfile",
    "docs/how-to/*.md",
    "docs/tutorial/*.md",
    "tests/e2e/*.py",
)


def test_whatever_names_the_version_of_a_chart_or_an_image_names_it() -> None:
    texts = [file.read_text() for pattern in NAMING_IMAGES for file in ROOT.glob(pattern)]
    form = r"(?m)(?:^(?:appV|v)ersion: |leveret/\w+:|app.kubernetes.io/version: )\"?([0-9][^\"\s]*)"
    assert {version for text in texts for version in re.findall(form, text)} == {VERSION}


@pytest.mark.parametrize(
    ("told", "found"),
    [
        pytest.param([], None, id="nobody-tells"),
        pytest.param(["0.2.0", "0.10.0", "0.9.1"], "0.2.0", id="by-number-and-not-by-letter"),
        pytest.param(["1.0", "0.9.9"], "0.9.9", id="of-different-length"),
        pytest.param(["0.2.0", None, "0.3.0"], NOT_TOLD, id="one-does-not-tell"),
        pytest.param([None], NOT_TOLD, id="none-tells"),
        pytest.param(["0.3.0rc1", "0.4.0+abc.1", "0.3.1.dev2"], "0.3.0rc1", id="what-follows-the-numbers"),
        pytest.param(["0.2", "0.2.0"], "0.2", id="the-same-age"),
        pytest.param(["0.2.0.1", "0.2.0"], "0.2.0", id="four-numbers"),
        pytest.param(["banana", "", "0.2.0", "v0.1.0", "0", "-1.0", "0.1.0 "], "0.2.0", id="what-is-none"),
        pytest.param(["٠.١.٠", "0.1.\n", "0.1.0\n", "0.1.0\0", "½.1"], None, id="odd-characters"),
        pytest.param(["9" * 5_000 + ".0", "0." * 5_000 + "0", "0.1.0+" + "x" * 1_000_000], None, id="too-long"),
    ],
)
def test_the_oldest(told: list[str | None], found: str | None) -> None:
    assert oldest(told) == found


@given(st.lists(st.none() | st.text(max_size=60) | st.from_regex(r"\d{1,3}(\.\d{1,3}){1,3}", fullmatch=True)))
def test_it_is_one_of_them_whatever_their_order(told: list[str | None]) -> None:
    found = oldest(told)
    assert found is None or found in told or None in told
    assert oldest(reversed(told)) == found


@pytest.mark.parametrize(
    ("version", "older"),
    [("0.1.0", True), ("0.1.9rc1", True), ("0.2", False), ("0.2.0rc1", False), ("0.10.0", False), ("new", False)],
    ids=str,
)
def test_what_is_older(version: str, older: bool) -> None:
    assert is_older(version, "0.2.0") is older
