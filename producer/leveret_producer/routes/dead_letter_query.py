"""The query of a list of dead letters: filters, and where the page begins."""

from starlette.datastructures import QueryParams

from leveret.jobs import DeadReason
from leveret_producer.dead_letters.selection import DeadLetterFilter
from leveret_producer.problems import Flaw
from leveret_producer.routes.listing import read_part, refused
from leveret_producer.store.dead_letters import WantedDeadLetters

_NAMES = ("reason", "type", "before", "limit")


def read_query(queue: str, query: QueryParams) -> WantedDeadLetters:
    """Raise Refused for what can't be meant, unknown parameters too."""
    part, flaws = read_part(query, _NAMES)
    if (reason := query.get("reason")) is not None and reason not in list(DeadReason):
        flaws.append(Flaw("/reason", f"must be one of {', '.join(DeadReason)}"))
    if flaws:
        raise refused(flaws)
    wanted = DeadLetterFilter(None if reason is None else DeadReason(reason), query.get("type"))
    return WantedDeadLetters(queue, wanted, part.behind, part.limit)
