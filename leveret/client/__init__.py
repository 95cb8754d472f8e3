"""For applications that submit jobs and look at them. `leveret[client]` brings all that it needs: httpx and msgspec.

What belongs to one way of asking (HTTP here, AMQP in `leveret.client.rpc`) is loaded with that way alone.
"""

from typing import TYPE_CHECKING

from leveret.lazy import attributes

if TYPE_CHECKING:
    from leveret.client.asynchronous import AsyncClient
    from leveret.client.blocking import Client
    from leveret.client.decide import Patience
    from leveret.client.errors import (
        Closed,
        InvalidRequest,
        KeyReused,
        LeveretError,
        NotAuthenticated,
        NotConfigured,
        NotUnderstood,
        Problem,
        QueueFull,
        Refused,
        TimedOut,
        Unavailable,
        UnknownJob,
        UnknownQueue,
        Unsendable,
    )
    from leveret.client.values import BegunCancel, Job, JobError, JobResult, NewJob, Submitted
    from leveret.jobs import State

_ERRORS = (
    "Closed", "InvalidRequest", "KeyReused", "LeveretError", "NotAuthenticated", "NotConfigured", "NotUnderstood", "Problem",
    "QueueFull", "Refused", "TimedOut", "Unavailable", "UnknownJob", "UnknownQueue", "Unsendable",
)  # fmt: skip
_VALUES = ("BegunCancel", "Job", "JobError", "JobResult", "NewJob", "Submitted")

__all__ = [
    "AsyncClient", "BegunCancel", "Client", "Closed", "InvalidRequest", "Job", "JobError", "JobResult", "KeyReused",
    "LeveretError", "NewJob", "NotAuthenticated", "NotConfigured", "NotUnderstood", "Patience", "Problem", "QueueFull", "Refused",
    "State", "Submitted", "TimedOut", "Unavailable", "UnknownJob", "UnknownQueue", "Unsendable",
]  # fmt: skip

if not TYPE_CHECKING:  # a checker would take any name for one of ours
    __getattr__ = attributes(
        __name__,
        {
            "AsyncClient": "leveret.client.asynchronous",
            "Client": "leveret.client.blocking",
            "Patience": "leveret.client.decide",
            "State": "leveret.jobs",
            **dict.fromkeys(_ERRORS, "leveret.client.errors"),
            **dict.fromkeys(_VALUES, "leveret.client.values"),
        },
    )


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
