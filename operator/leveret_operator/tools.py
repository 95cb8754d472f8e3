"""What every turn works with, made once per process."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from leveret_operator.announcements import Announcements
from leveret_operator.broker import BrokerLink
from leveret_operator.bulk import Bulk
from leveret_operator.deployment import Surroundings
from leveret_operator.kubernetes_api import KubernetesApi
from leveret_operator.kubernetes_events import KubernetesEvents
from leveret_operator.metrics import Metrics
from leveret_operator.present_versions import PresentVersions
from leveret_operator.queue_names import AllowedNames
from leveret_operator.registry import Registry
from leveret_operator.rollouts import Rollouts


@dataclass(frozen=True, slots=True)
class Tools:
    """What a turn works with; the same for all JobQueues."""

    api: KubernetesApi
    broker: BrokerLink
    bulk: Bulk
    registry: Registry
    announcements: Announcements
    versions: PresentVersions
    events: KubernetesEvents
    metrics: Metrics
    around: Surroundings
    clock: Callable[[], datetime]
    allowed_names: AllowedNames  # of queues, beside those of the namespace
    rollouts: Rollouts = field(default_factory=Rollouts)
