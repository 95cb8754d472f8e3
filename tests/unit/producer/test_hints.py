"""Stories of what a producer tells the operator, with a clock that is moved."""

from datetime import UTC, datetime, timedelta

from leveret.signals import Hint
from leveret_producer.outbox.hints import HintBook

T0 = datetime(2026, 5, 1, tzinfo=UTC)
Q = "leveret.q"


def _at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def _told(hints: list[Hint]) -> list[tuple[str, int, int]]:
    return [(hint.queue, hint.committed, hint.unconfirmed) for hint in hints]


def test_a_burst_is_told_at_once_and_then_every_second_until_it_is_confirmed() -> None:
    book = HintBook("pod")
    assert book.due(_at(0)) == []
    book.committed(Q, 5_000)
    book.unconfirmed({Q: 5_000})
    assert _told(book.due(_at(0))) == [(Q, 5_000, 5_000)]
    book.unconfirmed({Q: 3_000})
    assert book.due(_at(0.9)) == []
    assert _told(book.due(_at(1.0))) == [(Q, 5_000, 3_000)]
    book.unconfirmed({})
    assert book.due(_at(1.5)) == []
    assert _told(book.due(_at(2.0))) == [(Q, 5_000, 0)]  # a last one
    assert book.due(_at(60)) == []


def test_commits_within_a_second_are_told_together() -> None:
    book = HintBook("pod")
    book.committed(Q, 1)
    assert _told(book.due(_at(0))) == [(Q, 1, 0)]
    book.committed(Q, 1)
    assert book.due(_at(0.2)) == []
    book.committed(Q, 1)
    assert book.due(_at(0.99)) == []
    assert _told(book.due(_at(1.0))) == [(Q, 3, 0)]
    book.committed(Q, 1)
    assert _told(book.due(_at(7))) == [(Q, 4, 0)]  # at once: the last one is old


def test_each_queue_has_its_own_second() -> None:
    book = HintBook("pod")
    book.committed("a", 1)
    assert _told(book.due(_at(0))) == [("a", 1, 0)]
    book.committed("b", 1)
    assert _told(book.due(_at(0.1))) == [("b", 1, 0)]


def test_the_oldest_is_told_when_it_comes_and_goes_and_every_five_seconds() -> None:
    book = HintBook("pod")
    book.oldest_waiting({Q: None, "other": None})
    assert book.due(_at(0)) == []
    book.oldest_waiting({Q: _at(-30)})
    [hint] = book.due(_at(0))
    assert (hint.queue, hint.oldest_waiting_since) == (Q, _at(-30))
    book.oldest_waiting({Q: _at(-20)})
    assert book.due(_at(4.9)) == []
    [hint] = book.due(_at(5))
    assert hint.oldest_waiting_since == _at(-20)
    book.oldest_waiting({})
    [hint] = book.due(_at(6))
    assert hint.oldest_waiting_since is None
    assert book.due(_at(60)) == []


def test_what_was_told_on_a_connection_that_is_gone_is_told_again() -> None:
    book = HintBook("pod")
    book.committed(Q, 2)
    assert len(book.due(_at(0))) == 1
    book.say_again()
    assert _told(book.due(_at(1))) == [(Q, 2, 0)]


def test_a_queue_that_is_not_known_any_more_is_forgotten_once_its_last_is_said() -> None:
    """None was ever forgotten, and each commit looked at all of them."""
    book = HintBook("pod")
    book.committed(Q, 2)
    book.unconfirmed({Q: 2})
    book.oldest_waiting({Q: _at(-1)})
    assert len(book.due(_at(0))) == 1
    book.oldest_waiting({})  # removed, with jobs on their way
    assert _told(book.due(_at(1))) == [(Q, 2, 2)]
    book.unconfirmed({})
    assert _told(book.due(_at(2))) == [(Q, 2, 0)]
    book.oldest_waiting({})
    book.say_again()
    assert book.due(_at(60)) == []
    book.committed(Q, 1)
    assert _told(book.due(_at(61))) == [(Q, 1, 0)]


def test_a_commit_concerns_its_own_queue_however_many_there_are() -> None:
    book = HintBook("pod")
    for number in range(1_000):
        book.committed(f"q{number}", 1)
    book.oldest_waiting({f"q{number}": _at(-1) for number in range(1_000)})
    assert len(book.due(_at(0))) == 1_000
    for turn in range(100):
        book.committed("q1", 1)
        assert book.due(_at(turn / 1_000)) == []
    assert [hint.queue for hint in book.due(_at(1))] == ["q1"]
    assert len(book.due(_at(5))) == 999
    assert len(book.due(_at(6))) == 1
    assert book.due(_at(9.9)) == []
