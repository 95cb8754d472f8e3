"""`python -m leveret.client.outbox relay` sends what an application's outbox holds; `… ddl` prints its table's statements."""

import argparse
import asyncio
import logging
import os
import signal
from importlib.util import find_spec

from leveret.client.errors import NotConfigured
from leveret.client.outbox.relays import Relay, RelayThread
from leveret.client.outbox.statements import DDL

DATABASE = "LEVERET_OUTBOX_DATABASE_URL"


async def _relay(database: str) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    if find_spec("asyncpg"):
        async with Relay(database):
            await stopping.wait()
    else:
        with RelayThread(database):
            await stopping.wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m leveret.client.outbox", description=__doc__)
    parser.add_argument("command", choices=["relay", "ddl"])
    if parser.parse_args().command == "ddl":
        print(DDL)
        return
    database = os.environ.get(DATABASE, "")
    if not database.startswith(("postgresql://", "postgres://")):
        raise SystemExit(f"{DATABASE} must be the URL of the application's database, postgresql://…")
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    try:
        asyncio.run(_relay(database))
    except NotConfigured as problem:
        raise SystemExit(str(problem)) from None


if __name__ == "__main__":
    main()
