"""How far the recorder is behind, as Prometheus sees it, with a clock that is moved."""

from datetime import UTC, datetime, timedelta

from leveret_producer.metrics import LagGauge

NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)


class Scene:
    def __init__(self) -> None:
        self.now = NOON
        self.gauge = LagGauge("lag_seconds", "Lag", lambda: self.now)

    def shown(self, *, after: float = 0) -> float | None:
        self.now += timedelta(seconds=after)
        values = [sample.value for family in self.gauge.collect() for sample in family.samples]
        return values[0] if values else None


def test_what_waits_grows_older_with_each_look() -> None:
    scene = Scene()
    assert scene.shown() is None, "nobody has said anything yet"
    scene.gauge.nothing_waits()
    assert scene.shown(after=60) == 0
    scene.gauge.waits(scene.now - timedelta(seconds=2))
    assert [scene.shown(after=0), scene.shown(after=10), scene.shown(after=10)] == [2, 12, 22]
    scene.gauge.done()
    assert scene.shown(after=5) == 22, "what the last one waited"
    scene.gauge.nothing_waits()
    assert scene.shown() == 0


def test_it_is_not_known_once_the_connection_has_ended_though_something_waits() -> None:
    scene = Scene()
    scene.gauge.waits(NOON)
    scene.gauge.not_known()
    assert scene.shown(after=1) is None


def test_an_event_from_the_future_is_no_negative_lag() -> None:
    scene = Scene()
    scene.gauge.waits(NOON + timedelta(hours=1))
    assert scene.shown() == 0
