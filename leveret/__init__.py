"""Leveret: job queues for Kubernetes on RabbitMQ. Write a function, apply a JobQueue."""

from typing import TYPE_CHECKING

from leveret.lazy import attributes

if TYPE_CHECKING:
    from leveret.jobs import DeadLetterInfo
    from leveret.sdk.commit import AlreadyDone, MarksMissing, TransactionRefused
    from leveret.sdk.context import Context
    from leveret.sdk.handlers import Handlers
    from leveret.sdk.retry import Reject, Retry, RetryLater

__all__ = [
    "AlreadyDone",
    "Context",
    "DeadLetterInfo",
    "Handlers",
    "MarksMissing",
    "Reject",
    "Retry",
    "RetryLater",
    "TransactionRefused",
]

# Handlers load pydantic, and an application that only submits jobs needs none of it.
if not TYPE_CHECKING:  # a checker would take any name for one of ours
    __getattr__ = attributes(
        __name__,
        {
            "AlreadyDone": "leveret.sdk.commit",
            "Context": "leveret.sdk.context",
            "DeadLetterInfo": "leveret.jobs",
            "Handlers": "leveret.sdk.handlers",
            "MarksMissing": "leveret.sdk.commit",
            "Reject": "leveret.sdk.retry",
            "Retry": "leveret.sdk.retry",
            "RetryLater": "leveret.sdk.retry",
            "TransactionRefused": "leveret.sdk.commit",
        },
    )


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
