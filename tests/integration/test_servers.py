from containers import Server, makes_queues, management

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


def test_a_rabbitmq_that_makes_no_queues_is_known_and_made_anew(rabbitmq: Server) -> None:
    assert makes_queues(rabbitmq)
    supervisor = "rabbit_sup, rabbit_fifo_dlx_sup"
    rabbitmq.run("rabbitmqctl", "eval", f"supervisor:terminate_child({supervisor}).")
    assert not makes_queues(rabbitmq)
    rabbitmq.run("rabbitmqctl", "eval", f"supervisor:restart_child({supervisor}).")
    assert makes_queues(rabbitmq)
    rabbitmq.kill()
    assert not makes_queues(rabbitmq)
    rabbitmq.remove()
    rabbitmq.create()
    assert makes_queues(rabbitmq)
    assert "Server startup complete" in rabbitmq.said(1_000)
