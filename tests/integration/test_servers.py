from containers import Server, management

from leveret.rabbitmq.connection import open_connection
from leveret.settings import Broker


async def test_rabbitmq_is_new_enough_and_keeps_its_ports_over_a_restart(rabbitmq: Server, broker: Broker) -> None:
    overview = management(rabbitmq, "overview")
    assert isinstance(overview, dict)
    assert tuple(map(int, overview["rabbitmq_version"].split(".")[:2])) >= (4, 3)
    rabbitmq.kill()
    rabbitmq.start()
    async with await open_connection(broker, "test"):
        pass
