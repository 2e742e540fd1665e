"""One cache of this VM with all that belongs to it alone: its uuid, its state, its counters."""

import uuid
from dataclasses import replace

from shoal_agent.announce import Announcer
from shoal_agent.cache import Cache
from shoal_agent.gauge import Gauge
from shoal_agent.watch import Seen, Watch
from shoal_common.heartbeat import Metrics


class Instance:
    """The uuid lasts as long as the agent runs and follows the cache when it returns at another port."""

    def __init__(self, watch: Watch, gauge: Gauge) -> None:
        self.uuid = uuid.uuid4().hex
        self.watch = watch
        self.announcer = Announcer()
        self._gauge = gauge

    @property
    def seen(self) -> Seen:
        """The cache as last tested, and its state; may be read from any thread."""
        return self.watch.seen

    @property
    def cache(self) -> Cache:
        """The cache as last tested."""
        return self.watch.seen.cache

    @property
    def metrics(self) -> Metrics:
        """What its counters said of the last interval."""
        metrics = self._gauge.metrics
        return metrics if metrics.cpu_share is None else replace(metrics, cpu_cores=self.cache.cores)
