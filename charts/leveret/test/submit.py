"""What `helm test` runs: one job, from the API through the database and the broker to a consumer that starts for it, and back."""

import os
import sys
import time
from uuid import uuid4

from leveret.client import Client, LeveretError, Patience, UnknownQueue
from leveret.client.values import JobResult

WITHIN = (
    270.0  # s: all parts may have been installed a moment ago; helm waits for 5 minutes, unless it is told otherwise
)


def run(queue: str, said: str, within: float = WITHIN) -> JobResult:
    """Submit one job and return it once it has ended; raise LeveretError after `within` seconds."""
    end = time.monotonic() + within
    with Client(patience=Patience(timeout=within, attempts=10_000)) as client:
        while True:
            try:
                job = client.submit(queue, "echo", said)
                break
            except UnknownQueue:  # producers hear of a new JobQueue within seconds
                if time.monotonic() > end:
                    raise
                time.sleep(1)
        print(f"job {job.id} is stored", flush=True)
        return client.wait(job.id, max(1.0, end - time.monotonic()))


def main() -> str | None:
    """Return what went wrong, None if nothing did."""
    said = str(uuid4())
    try:
        job = run(os.environ["LEVERET_QUEUE"], said)
    except LeveretError as problem:
        return f"no job went there and back: {problem}"
    if (job.state, job.result) != ("succeeded", said):
        return f"job {job.id} ended as {job.state} with {job.result!r}, and {said!r} was sent: {job.error}"
    print(f"job {job.id} succeeded, and its result is what was sent")
    return None


if __name__ == "__main__":
    sys.exit(main())
