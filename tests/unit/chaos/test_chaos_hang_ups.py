"""Who gave a connection up is what the kernels say, and a cut that one side sits out did not do what it is there for."""

import asyncio
from collections.abc import Sequence

import pytest

from chaos import hang_ups
from chaos.cluster import ClusterProblem, Pod, Socket

NEAR = Pod("consumer", "10.0.0.5", "c", 0, ready=True, going=False)
FAR = Pod("broker", "10.0.0.7", "b", 0, ready=True, going=False)
AT_BROKER = {Socket(5672, NEAR.address, 43210), Socket(5672, "10.0.0.6", 50000)}
AT_CONSUMER = {Socket(43210, "10.96.0.1", 5672), Socket(40000, "10.96.0.2", 8090)}
AGAIN = {Socket(43211, "10.96.0.1", 5672)}
NOBODY: set[Socket] = set()


class Kernels:
    """What the two sides hold at each look; the last is what stays."""

    def __init__(self, broker: Sequence[set[Socket] | None], consumer: Sequence[set[Socket]]) -> None:
        self._looks: dict[str, list[set[Socket] | None]] = {FAR.name: list(broker), NEAR.name: list(consumer)}

    async def established(self, pod: Pod) -> set[Socket]:
        looks = self._looks[pod.name]
        found = looks.pop(0) if len(looks) > 1 else looks[0]
        if found is None:
            raise ClusterProblem("no answer")
        return found


async def watched(kernels: Kernels) -> str:
    ports = await hang_ups.ports_to(kernels, NEAR, FAR)  # type: ignore[arg-type]
    assert ports == {43210}
    return await hang_ups.watch(kernels, NEAR, FAR, ports, 0.02, every=0.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("broker", "consumer"),
    [
        pytest.param([AT_BROKER, AT_BROKER, NOBODY], [AT_CONSUMER, AT_CONSUMER, NOBODY], id="both"),
        pytest.param([AT_BROKER, None, NOBODY], [NOBODY], id="though a look failed"),
        pytest.param([AT_BROKER, NOBODY], [AGAIN], id="and the consumer has a new one"),
        pytest.param([AT_BROKER, {Socket(5672, "10.0.0.6", 43210)}], [NOBODY], id="another pod has the same port"),
    ],
)
async def test_a_cut_in_which_both_sides_give_up_tells_when(
    broker: list[set[Socket] | None], consumer: list[set[Socket]]
) -> None:
    said = await watched(Kernels(broker, consumer))

    assert "broker gave up after 0 s" in said
    assert "consumer gave up after 0 s" in said


@pytest.mark.parametrize(
    ("broker", "consumer", "who"),
    [
        pytest.param([AT_BROKER], [NOBODY], "broker had", id="the broker"),
        pytest.param([AT_BROKER, NOBODY], [AT_CONSUMER], "consumer had", id="the consumer"),
        pytest.param([AT_BROKER, None], [NOBODY], "broker and consumer had", id="nobody knows"),
    ],
)
async def test_a_cut_that_one_side_sits_out_is_a_problem(
    broker: list[set[Socket] | None], consumer: list[set[Socket]], who: str
) -> None:
    with pytest.raises(ClusterProblem, match=f"^{who} not given the connection up"):
        await watched(Kernels(broker, consumer))


async def test_what_was_not_connected_cannot_be_cut_off() -> None:
    with pytest.raises(ClusterProblem, match="nothing to cut"):
        await hang_ups.ports_to(Kernels([AGAIN], [NOBODY]), NEAR, FAR)  # type: ignore[arg-type]


async def test_a_cut_that_is_broken_off_ends_its_watch() -> None:
    watching = asyncio.create_task(hang_ups.watch(Kernels([NOBODY], [NOBODY]), NEAR, FAR, frozenset({1}), 60))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    watching.cancel()

    with pytest.raises(asyncio.CancelledError):
        await watching
