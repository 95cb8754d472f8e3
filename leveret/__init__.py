"""Leveret: job queues for Kubernetes on RabbitMQ. Write a function, apply a JobQueue."""

from typing import TYPE_CHECKING

from leveret.lazy import attributes

if TYPE_CHECKING:
    from leveret.jobs import DeadLetterInfo
    from leveret.sdk.context import Context
    from leveret.sdk.handlers import Handlers
    from leveret.sdk.retry import Reject, Retry, RetryLater

__all__ = ["Context", "DeadLetterInfo", "Handlers", "Reject", "Retry", "RetryLater"]

# Handlers load pydantic, and an application that only submits jobs needs none of it.
if not TYPE_CHECKING:  # a checker would take any name for one of ours
    __getattr__ = attributes(
        __name__,
        {
            "Context": "leveret.sdk.context",
            "DeadLetterInfo": "leveret.jobs",
            "Handlers": "leveret.sdk.handlers",
            "Reject": "leveret.sdk.retry",
            "Retry": "leveret.sdk.retry",
            "RetryLater": "leveret.sdk.retry",
        },
    )


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
