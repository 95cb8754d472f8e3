"""The page at `/`: what the queues do, drawn by the server from Prometheus, complete without JavaScript."""

from leveret_producer.console.routes import build_router

__all__ = ["build_router"]
