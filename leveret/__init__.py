"""Leveret: job queues for Kubernetes on RabbitMQ. Write a function, apply a JobQueue."""

from leveret.jobs import DeadLetterInfo
from leveret.sdk.context import Context
from leveret.sdk.handlers import Handlers
from leveret.sdk.retry import Reject, Retry, RetryLater

__all__ = ["Context", "DeadLetterInfo", "Handlers", "Reject", "Retry", "RetryLater"]
