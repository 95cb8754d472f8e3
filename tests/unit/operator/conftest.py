from datetime import timedelta

import pytest

from leveret.retry import RetryPolicy
from leveret.scaling.decide import Policy
from leveret_operator.jobqueue import Consumer, JobQueue


@pytest.fixture
def jobqueue() -> JobQueue:
    return JobQueue(
        namespace="leveret",
        name="url-check",
        uid="11111111-2222",
        generation=3,
        consumer=Consumer("example/shop:1.4", "shop.jobs:handlers", 50),
        retry=RetryPolicy(),
        timeout=timedelta(seconds=30),
        policy=Policy(0, 10, 100, timedelta(seconds=60), timedelta(minutes=2)),
    )
