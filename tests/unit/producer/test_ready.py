"""What a producer says of itself while the broker can't make some of Leveret's queues."""

from leveret_producer.health import BrokerListener, Health


def test_what_the_broker_can_not_make_is_said_once_and_leaves_it_ready() -> None:
    health = Health(migrated=True)
    relay, recorder = (BrokerListener(health, name) for name in ("relay", "recorder"))
    for one in (relay, recorder):
        one.connected()
    relay.lacks({"leveret.delay.0": "no level 0"})
    recorder.lacks({"leveret.delay.0": "no level 0", "leveret.control": "no cancels"})
    assert (health.report(None).ok, health.report(None).says) == (True, "serving; no level 0; no cancels")
    for one in (relay, recorder):
        one.lacks({})
    assert health.report(None).says == "serving"
