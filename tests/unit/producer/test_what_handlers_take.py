"""Whatever a handler takes, the front door takes: no schema of a handler refuses more than its reading does.

Pydantic's own JSON Schema did: "5" for an int, a second alias, what a validator turns into the type.
"""

import json
from typing import Any

import hypothesis
import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from payload_types import ANYTHING, TYPES
from pydantic_core import SchemaError

from leveret import Context, Handlers
from leveret.events import HandlerInfo
from leveret.sdk.handlers import BadHandler, BadPayload, Handler
from leveret_producer.problems import Flaw
from leveret_producer.schemas import Schemas
from leveret_producer.store.queues import KnownQueue
from leveret_producer.submission import Submission


def handler_of(annotation: Any) -> Handler:
    def run(ctx: Context, job: Any) -> None: ...

    run.__annotations__["job"] = annotation
    handlers = Handlers()
    handlers.job("t")(run)
    return handlers["t"]


def refusals(handler: Handler, body: str) -> list[Flaw]:
    """What the front door says, from what travels to it."""
    told = msgspec.json.decode(msgspec.json.encode(HandlerInfo(handler.schema())), type=HandlerInfo)
    return Schemas().flaws(
        KnownQueue("q", 5, {"t": told}, "v1"), [Submission("t", msgspec.Raw(body.encode()))], in_list=False
    )


def takes(handler: Handler, body: str) -> bool:
    try:
        handler.read(body.encode())
    except BadPayload:
        return False
    return True


@given(typed=TYPES, data=st.data())
@settings(
    max_examples=500,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.filter_too_much],
)
def test_what_a_handler_takes_is_never_refused(typed: Any, data: st.DataObject) -> None:
    annotation, near = typed
    try:
        handler = handler_of(annotation)
    except (BadHandler, SchemaError):
        hypothesis.reject()  # no type for pydantic
    for _ in range(3):
        body = json.dumps(data.draw(near | ANYTHING))
        if takes(handler, body):
            assert refusals(handler, body) == [], f"{annotation} takes {body}, and its schema is {handler.schema()}"
