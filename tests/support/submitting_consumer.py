"""What a consumer process runs whose handlers submit follow-ups."""

import os

from follow_up_jobs import handlers_with
from sqlalchemy.ext.asyncio import create_async_engine

handlers = handlers_with(create_async_engine(os.environ["LEVERET_TEST_DATABASE"]))
