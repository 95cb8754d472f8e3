"""A consumer that judges by itself after seconds, where the real one waits for a minute, and for ten."""

import asyncio
import os
import sys
from datetime import timedelta

from msgspec.structs import replace

from leveret.settings import Places
from leveret.telemetry.logs import configure_logs
from leveret_consumer.consumer import serve
from leveret_consumer.loading import load_handlers
from leveret_consumer.present_version import Limits
from leveret_consumer.settings import read_settings

if __name__ == "__main__":
    configure_logs("json")
    limits = Limits(
        timedelta(seconds=float(os.environ["LEVERET_SILENCE"])),
        timedelta(seconds=float(os.environ["LEVERET_ROUND_TRIPS"])),
    )
    settings = replace(read_settings(os.environ), judges_after=limits)
    sys.exit(asyncio.run(serve(settings, load_handlers(settings.handlers, settings.timeout), Places())))
