"""Request and reply over AMQP: call a job's handler and have its result.

    async with await Rpc.connect(ConnectionConfig.from_folder("/etc/shop/broker")) as rpc:
        reply = await rpc.call("leveret.shop", "price", {"article": 7}, timeout=5)

See docs/how-to/rpc.md for the three reply styles and the errors.
"""

from leveret.client.rpc.caller import Rpc
from leveret.client.rpc.config import ConnectionConfig
from leveret.client.rpc.errors import (
    CallError,
    Cancelled,
    Closed,
    Dead,
    DeadlineExceeded,
    Disconnected,
    Published,
    QueueGone,
    QueueTaken,
    Refused,
    UnreadableReply,
)
from leveret.client.rpc.messages import Reply
from leveret.client.rpc.session import Style
from leveret.settings import BadSetting, MissingSetting, Tls

__all__ = [
    "BadSetting",
    "CallError",
    "Cancelled",
    "Closed",
    "ConnectionConfig",
    "Dead",
    "DeadlineExceeded",
    "Disconnected",
    "MissingSetting",
    "Published",
    "QueueGone",
    "QueueTaken",
    "Refused",
    "Reply",
    "Rpc",
    "Style",
    "Tls",
    "UnreadableReply",
]
