"""The handlers of the JobQueue `mailer`: one type, `send-email`."""

import asyncio
from uuid import UUID
from weakref import WeakKeyDictionary

from pydantic import BaseModel

from examples.mailer.backends import Backends
from examples.mailer.sending import Mailer, Sent
from examples.mailer.settings import Settings
from examples.mailer.store import Store
from leveret import Context, Handlers

handlers = Handlers()

_mailers: WeakKeyDictionary[asyncio.AbstractEventLoop, Mailer] = WeakKeyDictionary()


class SendEmail(BaseModel):
    id: UUID


@handlers.job("send-email")
async def send_email(ctx: Context, job: SendEmail) -> Sent:
    """Send a mail that the front has stored, unless it is sent already."""
    return await _of_this_loop().run(ctx, job.id)


def _of_this_loop() -> Mailer:
    loop = asyncio.get_running_loop()
    if loop not in _mailers:
        settings = Settings.of()
        _mailers[loop] = Mailer(Store(connections=4), settings, Backends(settings.backends))
    return _mailers[loop]
