"""What a handler says about its retries: `Retry` beforehand, as a policy, `RetryLater` and `Reject` as it runs."""

from datetime import timedelta
from typing import Literal

from leveret.retry import Backoff, Jitter, RetryPolicy


class RetryLater(Exception):
    """Raise it to be run again after this long, not sooner, whatever the policy's back-off and its classes say.

    It ends the attempt, and counts as one: after the last the job is a dead letter, AttemptsExhausted.
    """

    def __init__(self, after: float | timedelta, reason: str = "") -> None:
        """`after` is in seconds or a timedelta; 0 or less is at once."""
        self.after = after if isinstance(after, timedelta) else timedelta(seconds=after)
        self.reason = reason
        super().__init__(reason or f"the handler asked to run again after {self.after}")


class Reject(Exception):
    """Raise it where no attempt could do better: the job is a dead letter at once, `Rejected`, with this reason."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason or "the handler rejected the job and gave no reason")


def Retry(  # noqa: N802 - reads as the value it makes
    max_attempts: int = 5,
    *,
    initial: float = 1.0,
    factor: float = 2.0,
    max: float = 600.0,
    jitter: Literal["full", "none"] = "full",
    retry_on: tuple[type[BaseException], ...] | None = None,
    give_up_on: tuple[type[BaseException], ...] = (),
) -> RetryPolicy:
    """Return a policy: attempt n + 1 starts `initial × factor^(n−1)` seconds, at most `max`, after attempt n failed.

    With `full` jitter the wait is drawn evenly below that. An exception of a class in `give_up_on`, or of none in
    `retry_on` where that is given, is not tried again. Raises ValueError for values that contradict each other.
    """
    backoff = Backoff(timedelta(seconds=initial), factor, timedelta(seconds=max), Jitter(jitter))
    policy = RetryPolicy(max_attempts, backoff, retry_on, give_up_on)
    for one in (*(retry_on or ()), *give_up_on):
        if issubclass(one, RetryLater | Reject):
            raise ValueError(f"{one.__name__} in retry_on or give_up_on has no effect: what it does is its own")
    return policy
