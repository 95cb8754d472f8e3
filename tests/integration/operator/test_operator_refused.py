"""A broker that refuses the operator: that it is this, and nothing else, is known."""

from dataclasses import replace

import pytest
from containers import Server, management
from operator_link import linked, until

from leveret.settings import Broker
from leveret_operator.broker import NOT_TRIED, NotDeclared

QUEUE = "leveret.bench"


def user(rabbitmq: Server, broker: Broker, name: str, configure: str) -> Broker:
    """One who may configure only what matches."""
    management(rabbitmq, f"users/{name}", "PUT", {"password": "right", "tags": ""})
    rights = {"configure": configure, "write": ".*", "read": ".*"}
    management(rabbitmq, f"permissions/{broker.vhost}/{name}", "PUT", rights)
    return replace(broker, username=name, password="right")


async def test_an_operator_that_the_broker_refuses_says_so_and_goes_on_when_it_is_let_in(
    rabbitmq: Server, broker: Broker, subtests: pytest.Subtests
) -> None:
    scant, nobody = user(rabbitmq, broker, "scant", "^(?!leveret.jobs)"), replace(broker, username="nobody")
    cases = {
        "wrong-password": replace(broker, password="wrong"),
        "unknown-user": nobody,
        "unknown-virtual-host": replace(broker, vhost="nowhere"),
        "another-virtual-host": replace(scant, vhost="/"),
        "no-right-to-configure": scant,
    }
    for name, bad in cases.items():
        with subtests.test(name):
            now = bad

            async with linked(lambda: now) as link:  # noqa: B023 - read at each try
                assert link.problem == NOT_TRIED
                await until(lambda: link.problem != NOT_TRIED)
                assert link.refused, link.problem
                now = broker
                await until(lambda: link.session is not None)
    async with linked(lambda: replace(broker, port=1)) as link:
        await until(lambda: link.problem != NOT_TRIED)
        assert not link.refused, "away is another thing"
    few = user(rabbitmq, broker, "few", "^(?!leveret.bench)")
    async with linked(lambda: few) as link:
        await until(lambda: link.session is not None)
        with pytest.raises(NotDeclared) as problem:
            await link.declare(QUEUE)
        assert problem.value.refused
