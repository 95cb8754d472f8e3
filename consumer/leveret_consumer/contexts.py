"""The `Context` of an attempt, made in the consumer's process or in a handler's own, and the fields of a job's log lines."""

import logging
from datetime import datetime

from leveret.jobs import Envelope
from leveret.sdk.context import Context, JobLog, ReportProgress

_log = logging.getLogger("leveret.handler")


def log_fields(job: Envelope) -> dict[str, str | int]:
    """Return what each log line on a job carries."""
    return {"job": str(job.id), "queue": job.queue, "type": job.type, "attempt": job.attempt}


def context_of(
    job: Envelope, max_attempts: int, deadline: datetime, report_progress: ReportProgress, **fields: str | int
) -> Context:
    """Return what a handler is given; its log lines carry `fields`, too."""
    return Context(
        job_id=job.id,
        queue=job.queue,
        type=job.type,
        attempt=job.attempt,
        generation=job.generation,
        max_attempts=max_attempts,
        delivery=job.delivery,
        deadline=deadline,
        dead_letter=job.dead_letter,
        log=JobLog(_log, {**log_fields(job), **fields}),
        report_progress=report_progress,
    )
