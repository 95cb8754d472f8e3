"""The form for a plain `def`. A driver waits for its COMMIT in a thread of its own, because it can't be told to stop."""

import asyncio
import time
from concurrent.futures import Future
from contextlib import suppress
from typing import Self

from sqlalchemy import Connection, Engine

from leveret import marks
from leveret.daemons import Daemons
from leveret.sdk.commit import ANSWERS_WITHIN, TransactionRefused
from leveret.sdk.context import Context
from leveret.sdk.transactions.steps import COMMITS_WITHIN, Kept, Steps, no_answer


class Transaction(Kept):
    """For `def`: write through `connection`, SQLAlchemy's."""

    connection: Connection

    def __init__(self, engine: Engine, ctx: Context) -> None:
        self._steps, self._engine = Steps(engine, ctx), engine
        self._left: Future[None] | None = None  # a COMMIT that had no good answer, perhaps none yet

    def __enter__(self) -> Self:
        with suppress(RuntimeError):  # there is none in a thread
            asyncio.get_running_loop()
            raise TransactionRefused(
                "this engine would hold up the event loop, and all its jobs: make one with create_async_engine, or the "
                "handler a plain def"
            )
        self._steps.commit.take()
        self.connection = self._engine.connect()
        try:
            if mark := self._steps.enter(self.connection):
                raise self._steps.already_done(mark)
        except BaseException:
            self._let_go()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._steps.finish(self.connection)
                self._steps.commit.begin()
                self._commit()
                if self._steps.prunes:
                    with suppress(Exception):  # the next one will
                        marks.prune(self.connection)
        finally:
            self._let_go()

    def _commit(self) -> None:
        try:
            sent = Daemons().submit(self.connection.commit)
        except BaseException:  # there is no thread to be had, and COMMIT was not sent
            self._steps.end(committed=False)
            raise
        try:
            sent.result(COMMITS_WITHIN)
            return self._steps.end(committed=True)
        except Exception as raised:  # noqa: BLE001 - whatever it is, the database is asked
            problem = raised if sent.done() else no_answer(COMMITS_WITHIN)
        self._left = sent
        self._let_go()  # what is open there would hold the mark
        committed = self._settle()
        self._steps.told(problem, committed=committed)
        if not committed:
            raise problem
        return None

    def _settle(self) -> bool:
        beside = self._steps.beside()
        while True:
            try:
                return Daemons().submit(self._ask, beside).result(ANSWERS_WITHIN)
            except Exception as problem:  # noqa: BLE001 - whatever it is, the next try may tell
                time.sleep(self._steps.pause(problem))

    def _ask(self, beside: Engine) -> bool:
        with beside.connect() as connection:
            return self._steps.asks(connection)

    def _let_go(self) -> None:
        """Roll back what was not committed; give up a connection that had no good answer."""
        if self._left:
            self._left.add_done_callback(self._give_up)  # not before: another thread may be in its driver
            return
        try:
            self.connection.close()
        except Exception:  # noqa: BLE001 - it is of no use any more
            self._give_up()

    def _give_up(self, _: object = None) -> None:
        with suppress(Exception):
            self.connection.invalidate()
            self.connection.close()
