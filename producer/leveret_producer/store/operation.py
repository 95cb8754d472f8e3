"""What is asked for of many jobs: which they are, and what is done to each chunk of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True)
class Search:
    """The conditions of a query for jobs, and their values."""

    conditions: str
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Did:
    """How many jobs a chunk changed, and how many of each queue the database has ended by that."""

    jobs: int
    ended: Mapping[str, int] = field(default_factory=dict)


class Selection(Protocol):
    @property
    def ids(self) -> Sequence[UUID] | None: ...


class Action(Protocol):
    """One kind of operation. A producer of a version that does not know it must not claim it: `goes_on_as` is its state."""

    @property
    def newest_by(self) -> str:
        """The column by which its jobs are found, the newest first."""

    @property
    def goes_on_as(self) -> str: ...
    @property
    def is_swept(self) -> bool: ...

    def searches(self, queue: str, selection: Any) -> Sequence[Search]:
        """Return what to look for, each job by one of them only."""

    async def settled(self, connection: AsyncConnection, id: UUID, queue: str, selection: Any, found: int) -> None:
        """Store what more it takes, with the chunks and before any of them is done."""

    async def do(
        self, connection: AsyncConnection, operation: UUID, ids: Sequence[UUID], generations: Sequence[int]
    ) -> Did:
        """Do a chunk: ids in order, each with its generation."""
