"""What the watch owes after a list."""

from datetime import UTC, datetime, timedelta

from leveret_operator.watch_lag import WatchLag

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(second: float) -> datetime:
    return START + timedelta(seconds=second)


class Story:
    def __init__(self) -> None:
        self.lag = WatchLag()

    def lists(self, second: float, **revisions: int) -> datetime | None:
        self.lag.compare(revisions, self.lag.all_told(), at(second))
        return self.lag.behind_since


def test_what_a_list_holds_is_owed_until_it_is_told() -> None:
    story = Story()
    assert story.lists(0, a=3, b=4) == at(0)
    story.lag.tell("a", 3)
    story.lag.tell("b", 3)  # an older one
    assert story.lag.behind_since == at(0)
    story.lag.tell("b", 5)
    assert story.lag.behind_since is None
    assert story.lists(2, a=3, b=5) is None


def test_an_object_that_changes_all_the_time_is_owed_anew_each_time() -> None:
    story = Story()
    for second in range(0, 600, 2):
        assert story.lists(second, a=second + 1) == at(second)
        story.lag.tell("a", second + 1)


def test_a_watch_that_stands_still_is_behind_since_the_first_list_that_showed_it() -> None:
    story = Story()
    story.lists(0, a=1)
    story.lag.tell("a", 1)
    assert story.lists(60, a=2) == at(60)
    assert story.lists(62, a=3) == at(60)
    assert story.lists(64, a=9, b=1) == at(60)
    story.lag.tell("a", 2)
    assert story.lists(66, a=9, b=1) == at(64)  # b since then; of a something newer is owed since now


def test_what_is_gone_is_not_owed() -> None:
    story = Story()
    story.lists(0, a=1, b=1)
    assert story.lists(2, b=1) == at(0)
    story.lag.tell_gone("b")
    assert story.lag.behind_since is None


def test_what_was_told_since_the_list_was_asked_for_stays_told() -> None:
    lag = WatchLag()
    before = lag.all_told()
    lag.tell("new", 7)
    lag.compare({}, before, at(1))
    assert lag.told("new") == 7
    lag.compare({"new": 7}, lag.all_told(), at(2))
    assert lag.behind_since is None
    lag.compare({}, lag.all_told(), at(3))
    assert lag.told("new") == 0


def test_what_was_told_gone_and_back_since_the_list_was_asked_for_stays_told() -> None:
    lag = WatchLag()
    lag.tell("a", 1)
    before = lag.all_told()
    lag.tell_gone("a")
    lag.tell("a", 3)
    lag.compare({}, before, at(1))
    lag.compare({"a": 3}, lag.all_told(), at(61))
    assert lag.behind_since is None


def test_after_an_hour_without_a_list_the_watch_gets_its_time_anew() -> None:
    story = Story()
    story.lists(0, a=1)
    assert story.lists(3600, a=1) == at(3600)


def test_a_revision_that_is_no_number_is_not_owed() -> None:
    assert Story().lists(0, a=0) is None
