"""`python -m leveret_operator`: puts the parts together and runs them."""

# A pod that is stopped while Python is importing must end: as process 1 of a container it has only the signals that it has
# a handler for, and nothing runs yet. What runs later puts its own handler here.
import os
import signal

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))

import asyncio
import contextlib
import secrets
import sys
import uuid
from dataclasses import replace

import aiohttp
from prometheus_client import CollectorRegistry

from leveret.settings import MissingSetting
from leveret.telemetry.logs import configure_logs
from leveret.telemetry.probes import LoopBeat, ProbeServer
from leveret_operator.announcements import Announcements
from leveret_operator.broker import BrokerLink
from leveret_operator.broker_statistics import BrokerStatistics
from leveret_operator.bulk import Bulk
from leveret_operator.clock import SteadyClock
from leveret_operator.credentials import Credentials
from leveret_operator.deployment import Surroundings
from leveret_operator.kubernetes_api import KubernetesApi
from leveret_operator.kubernetes_events import KubernetesEvents
from leveret_operator.leadership import Leadership
from leveret_operator.lease import Candidate
from leveret_operator.loop import CentralLoop
from leveret_operator.metrics import Metrics
from leveret_operator.present_versions import PresentVersions
from leveret_operator.program import Parts, run
from leveret_operator.registry import Registry
from leveret_operator.settings import Settings, read_settings
from leveret_operator.tools import Tools
from leveret_operator.watch import Watch


def main() -> int:
    try:
        settings = read_settings(os.environ)
    except (MissingSetting, ValueError) as problem:
        print(f"leveret_operator: {problem}", file=sys.stderr)
        return 2
    configure_logs(settings.log)
    return asyncio.run(operate(settings))


async def operate(settings: Settings) -> int:
    """Run until SIGTERM or SIGINT; return the exit status."""
    registry = CollectorRegistry()
    metrics, clock, beat, loop = Metrics(registry), SteadyClock(), LoopBeat(), CentralLoop()
    pod = f"{settings.pod}_"
    who = Candidate(f"{pod}{uuid.uuid4().hex[:12]}", pod if settings.first_in_pod else None)
    leadership = Leadership(who, settings.namespace, clock)
    async with contextlib.AsyncExitStack() as stack:
        api = await KubernetesApi.connect(settings.namespace, metrics.wrote_kubernetes, leadership.may_write_for)
        stack.push_async_callback(api.close)
        own = Credentials(api, settings.places.folder, settings.own_secrets, secrets.token_hex)
        settings = replace(settings, places=replace(settings.places, read=own.keys))
        http = await stack.enter_async_context(aiohttp.ClientSession())
        objects = Registry(loop.wake)
        watch = Watch(api, objects, namespace=settings.namespace, pod=settings.pod, clock=clock)
        probes = ProbeServer(
            registry,
            beat=beat,
            readiness=lambda: leadership.readiness() or watch.readiness(),
            port=settings.probe_port,
        )
        probes.start()
        stack.callback(probes.close)
        announcements, versions = Announcements(settings.namespace), PresentVersions()
        broker = BrokerLink(
            announcements,
            versions,
            heard=loop.hear,
            changed=loop.wake_all,
            clock=clock,
            asked=metrics.asked_broker,
            held=leadership.held,
        )
        statistics = BrokerStatistics(
            http,
            metrics_port=settings.metrics_port,
            management_port=settings.management_port,
            clock=clock,
            asked=metrics.asked_broker,
        )
        bulk = Bulk(statistics, settings.places.broker, clock)
        tools = Tools(
            api=api,
            broker=broker,
            bulk=bulk,
            registry=objects,
            announcements=announcements,
            versions=versions,
            events=KubernetesEvents(api, settings.pod),
            metrics=metrics,
            around=Surroundings(
                settings.broker_secret,
                settings.consumer_pull_policy,
                settings.log,
                settings.consumer_pull_secrets,
                settings.consumer_resources,
                settings.installation_secret,
            ),
            clock=clock,
            allowed_names=settings.allowed_names,
        )
        return await run(Parts(settings, own, tools, watch, loop, leadership, beat))


if __name__ == "__main__":
    sys.exit(main())
