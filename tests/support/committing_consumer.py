"""What a consumer process with transactions runs: the handlers of `transaction_jobs`, by the driver that its URL names."""

import os

from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import create_async_engine
from transaction_jobs import handlers_with

_make = create_engine if os.environ["LEVERET_TEST_FORM"] == "psycopg" else create_async_engine
handlers = handlers_with(_make(os.environ["LEVERET_TEST_DATABASE"]))
