"""Celery in one process; a slot is a thread: its gevent pool took clearly more processor time."""

from functools import partial

from celery import Celery

from bench.peers import QUEUE
from bench.peers.adapters import THREADS, URL, in_threads, run

app = Celery("peers", broker=URL)
app.conf.update(
    task_default_queue=QUEUE,
    task_default_queue_type="quorum",
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    broker_transport_options={"confirm_publish": True},
    broker_pool_limit=THREADS,
    worker_enable_remote_control=False,
)
publish = partial(in_threads, app.task(run, name="job").delay)
