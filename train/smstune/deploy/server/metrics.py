"""The server's Prometheus metrics; no label contains any part of a message."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector


class Metrics:
    """Metrics of one server, in their own registry, so that several can run in one process."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        # The memory and processor time of this process.
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "smstune_requests", "Requests answered.", ["path", "status"], registry=registry
        )
        self.seconds = Histogram(
            "smstune_request_seconds", "Time to the answer.", ["path"], registry=registry
        )
        self.rejected = Counter(
            "smstune_rejected", "Requests refused.", ["reason"], registry=registry
        )
        self.messages = Counter("smstune_messages", "Messages classified.", registry=registry)
        self.batches = Histogram(
            "smstune_batch_messages",
            "Messages classified together.",
            buckets=[2**power for power in range(9)],
            registry=registry,
        )
        self.queued = Gauge(
            "smstune_queue_messages",
            "Messages waiting or being scored; an explanation counts as 64.",
            registry=registry,
        )
