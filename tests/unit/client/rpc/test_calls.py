"""The table of calls: whatever happens in whatever order, each call has one end and its own answer."""

from hypothesis import given
from hypothesis import strategies as st

from leveret.client.rpc.calls import Calls
from leveret.client.rpc.errors import Published

KEYS = st.sampled_from("abcdef")
EVENTS = st.one_of(
    st.tuples(st.sampled_from(["answered", "end", "sending", "confirmed"]), KEYS),
    st.tuples(st.sampled_from(["lose", "end_all"]), st.just("")),
    st.tuples(st.just("answered"), st.sampled_from(["", "unknown"])),
)


@given(st.lists(EVENTS, max_size=30))
def test_each_call_ends_once_by_what_was_its_own(events: list[tuple[str, str]]) -> None:
    calls: Calls[str] = Calls()
    for key in "abcdef":
        calls.begin(key, key)
    waiting, published, orphans = set("abcdef"), dict.fromkeys("abcdef", Published.NO), 0
    for event, key in events:
        expected, ended = {key} & waiting, []
        match event:
            case "answered":
                ended = [call] if (call := calls.answered(key)) else []
                orphans += not expected
            case "end":
                ended = [call] if (call := calls.end(key)) else []
            case "lose":
                expected, ended = {one for one in waiting if published[one] is not Published.NO}, calls.lose()
            case "end_all":
                expected, ended = set(waiting), calls.end_all()
            case _:
                expected = set()
                published[key] = Published.CONFIRMED if event == "confirmed" else Published.UNKNOWN
                calls.note(key, published[key])
        assert sorted(call.waiter for call in ended) == sorted(expected)
        assert all(call.published is published[call.waiter] for call in ended)
        waiting -= expected
    assert (set(calls.waiters()), len(calls), calls.orphans) == (waiting, len(waiting), orphans)


def test_an_answer_without_a_correlation_id_is_nobodys() -> None:
    calls: Calls[str] = Calls()
    calls.begin("a", "a")
    assert calls.answered(None) is None
    assert (len(calls), calls.orphans) == (1, 1)
