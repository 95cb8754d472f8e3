"""The mix of URLs."""

from collections import Counter

from demo.urls import EXPECTED, TARGETS, mix


def test_every_kind_is_there_and_every_url_is_asked_for_once() -> None:
    urls = mix(3000, "run")
    assert len(urls) == 3000
    assert {one.kind for one in urls} == set(EXPECTED)
    assert len({one.url for one in urls}) == 3000


def test_two_runs_have_no_url_in_common_and_one_run_is_always_the_same() -> None:
    assert not {one.url for one in mix(500, "a")} & {one.url for one in mix(500, "b")}
    assert mix(500, "a") == mix(500, "a")


def test_the_slowest_come_first_and_are_few() -> None:
    kinds = [one.kind for one in mix(3000, "run")]
    assert kinds[:12] == ["hanging"] * 12
    assert Counter(kinds)["hanging"] == 12


def test_a_single_job_is_possible() -> None:
    assert len(mix(1, "run")) == 1


def test_only_the_forbidden_leave_the_targets() -> None:
    for one in mix(2000, "run"):
        assert one.url.startswith(f"{TARGETS}/") == (one.kind != "forbidden")
