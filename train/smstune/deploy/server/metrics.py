"""The server's Prometheus metrics; no label contains any part of a message."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from smstune import __version__
from smstune.inference.classifier import Prediction, SmsClassifier
from smstune.inference.decision import Decision
from smstune.inference.manifest import WEIGHTS
from smstune.inference.memory.entries import ACTIONS

#: Narrow near 1, where most answers of a trained model are.
_SCORE_BUCKETS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999, 1.0)


class Metrics:
    """Metrics of one server, in their own registry, so that several can run in one process.

    ``classifier`` is the model that it answers with. Its labels and the decisions are the only
    values of ``smstune_labels`` and ``smstune_decisions``: their number does not grow with traffic.
    """

    def __init__(self, classifier: SmsClassifier) -> None:
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
        self._add_answers(classifier.labels.names)
        self._add_memory(classifier)
        self._add_model(classifier)

    def count_answers(self, predictions: Sequence[Prediction]) -> None:
        """Count the labels, decisions and scores of classified messages."""
        for prediction in predictions:
            self.labels.labels(prediction.label).inc()
            self.scores.observe(prediction.score)
            # None where the run has no operating point.
            if prediction.decision is not None:
                self.decisions.labels(prediction.decision).inc()
            if prediction.campaign is not None:
                self.campaigns.labels(prediction.campaign.action or "label").inc()

    def _add_answers(self, labels: Sequence[str]) -> None:
        self.labels = Counter(
            "smstune_labels", "Messages by answered label.", ["label"], registry=self.registry
        )
        self.decisions = Counter(
            "smstune_decisions", "Messages by decision.", ["decision"], registry=self.registry
        )
        self.scores = Histogram(
            "smstune_score",
            "Probability of the answered label.",
            buckets=_SCORE_BUCKETS,
            registry=self.registry,
        )
        # At 0 from the start, so that a rate over the first answer is right.
        for label in labels:
            self.labels.labels(label)
        for decision in get_args(Decision):
            self.decisions.labels(decision)

    def _add_memory(self, classifier: SmsClassifier) -> None:
        self.campaigns = Counter(
            "smstune_known_campaigns",
            "Messages of a remembered campaign, by what that does.",
            ["action"],
            registry=self.registry,
        )
        self.reports = Counter(
            "smstune_reports", "Reports taken.", ["outcome"], registry=self.registry
        )
        for action in ACTIONS:
            self.campaigns.labels(action or "label")
        for outcome in ("learned", "refused"):
            self.reports.labels(outcome)
        remembered = Gauge(
            "smstune_memory_messages", "Messages that are remembered.", registry=self.registry
        )
        remembered.set_function(
            lambda: classifier.memory.generation.index.n_messages if classifier.memory else 0
        )

    def _add_model(self, classifier: SmsClassifier) -> None:
        run = classifier.run
        model_info = Gauge(
            "smstune_model_info",
            "Always 1; the labels say which model answers.",
            ["run", "weights", "backend", "precision", "version"],
            registry=self.registry,
        )
        model_info.labels(
            run=run.path.name,
            weights=run.manifest.sha256[WEIGHTS][:12],
            backend=classifier.backend.name,
            precision=classifier.precision,
            version=__version__,
        ).set(1)
