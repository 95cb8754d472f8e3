"""Leveret: job queues for Kubernetes on RabbitMQ. Write a function, apply a JobQueue."""

from leveret.sdk.context import Context
from leveret.sdk.handlers import Handlers
from leveret.sdk.retry import Reject, Retry, RetryLater

__all__ = ["Context", "Handlers", "Reject", "Retry", "RetryLater"]
