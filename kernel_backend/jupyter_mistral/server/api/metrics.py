"""`GET /mistral/v1/metrics`: metrics for Prometheus. The standalone host has no other; a Jupyter server also has its own /metrics."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST

from ..http.handler import Route, Table
from ..observe.metrics import Metrics


def table(metrics: Metrics) -> Table:
    return [(r"/mistral/v1/metrics", MetricsRoute, {"metrics": metrics})]


class MetricsRoute(Route):
    def initialize(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def get(self) -> None:
        text = await self._metrics.text()
        self.set_header("Content-Type", CONTENT_TYPE_LATEST)
        self.set_header("Cache-Control", "no-store")
        self.finish(text)
