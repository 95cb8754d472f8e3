"""Properties hold on a busy machine, too: how long an example takes says nothing of it."""

import pytest
from hypothesis import HealthCheck, settings
from plain_writes import writes

settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


@pytest.fixture(autouse=True)
def plain_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretended channels publish in a plain way; real ones as they do."""
    monkeypatch.setattr("leveret.rabbitmq.publisher.ConfirmedWrites", writes)
