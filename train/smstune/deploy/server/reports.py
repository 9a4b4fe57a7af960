"""Takes reports: the route's models, the second key, and the thread that learns."""

from __future__ import annotations

import dataclasses
import hmac
from collections.abc import Callable, Sequence

from pydantic import BaseModel, ConfigDict, Field

from smstune.config.schema import ServeConfig
from smstune.deploy.server.batcher import Job, Lane
from smstune.deploy.server.metrics import Metrics
from smstune.deploy.server.responses import RefusedError
from smstune.inference.labels import LabelMap
from smstune.inference.memory.entries import FalseAlarms
from smstune.inference.memory.reports import Outcome, Report, build_report
from smstune.language import Message, translated

#: The header that carries the key for reports whose action is allow.
ALLOW_KEY_HEADER = "X-Allow-Key"


@dataclasses.dataclass(frozen=True)
class ReportDoor:
    """What takes reports: the key that they need, the one to allow, and what learns from them."""

    key: str
    allow_key: str | None
    teach: Callable[[Sequence[Report]], list[Outcome]]


class ReportedMessage(BaseModel):
    """A message and its label; what else a row of a file of reports may have."""

    model_config = ConfigDict(extra="forbid")

    text: str
    label: str
    action: str | None = Field(None, description="allow, block, or null to replace the label only.")
    reason: str | None = Field(None, max_length=1000)
    until: str | None = Field(None, description="The report counts until then.")
    reporter: str | None = Field(None, max_length=100)


class ReportRequest(BaseModel):
    """Reports, which are learned in their order."""

    model_config = ConfigDict(extra="forbid")

    reports: list[ReportedMessage]


class LearnedReport(BaseModel):
    """What became of a report; ``campaign`` is the id of its campaign, null if it was refused."""

    campaign: int | None
    refusal: str | None
    false_alarms: FalseAlarms | None


class LearnedReports(BaseModel):
    """What became of each report, in the order of the request."""

    reports: list[LearnedReport]


class ReportDesk:
    """Learns from reports in a thread of its own; those that wait go into one generation.

    All methods must be called from the event loop of the server.
    """

    def __init__(
        self, door: ReportDoor, labels: LabelMap, section: ServeConfig, metrics: Metrics
    ) -> None:
        self._door = door
        self._labels = labels
        self._metrics = metrics
        self.lane: Lane[Report, list[tuple[Outcome, list[int]]]] = Lane(
            self._learned,
            batch_messages=section.queue_messages,
            patience=0.0,
            max_messages=section.queue_messages,
            max_wait=section.max_wait_seconds,
        )

    async def learn(
        self, messages: Sequence[ReportedMessage], allow_key: str, language: str
    ) -> list[LearnedReport]:
        """Return what became of each report, once it is written.

        Raises:
            RefusedError: 422 on a report that cannot be used, 403 on one that allows without the
                second key, 503 if too many wait. Then none of them is learned.
        """
        reports = [self._report(number, message) for number, message in enumerate(messages)]
        if any(report.action == "allow" for report in reports) and not self._may_allow(allow_key):
            raise RefusedError(
                403,
                Message("the key for reports that allow"),
                Message("none or another one"),
                Message("send it as {header}: KEY", header=ALLOW_KEY_HEADER),
            )
        answers: dict[int, LearnedReport] = {}
        for outcome, positions in await self.lane.submit(reports, len(reports)):
            refusal = outcome.refusal and translated(outcome.refusal, language)
            for position in positions:
                answers[position] = LearnedReport(
                    campaign=None if refusal else outcome.entry.id,
                    refusal=refusal,
                    false_alarms=outcome.entry.false_alarms,
                )
        return [answers[position] for position in range(len(reports))]

    def _report(self, number: int, message: ReportedMessage) -> Report:
        try:
            report = build_report(message.text, message.model_dump(), self._labels)
        except ValueError as error:
            raise RefusedError(
                422,
                Message("reports that can be learned"),
                Message(
                    "{problem} (report {number}, counted from 0)", problem=error, number=number
                ),
                Message("correct it: nothing was learned"),
            ) from error
        return dataclasses.replace(report, reporter=message.reporter)

    def _may_allow(self, allow_key: str) -> bool:
        # Starlette decodes headers as latin-1.
        key = (self._door.allow_key or "").encode()
        return bool(key) and hmac.compare_digest(allow_key.encode("latin-1"), key)

    def _learned(
        self, batch: Sequence[Job[Report, list[tuple[Outcome, list[int]]]]]
    ) -> list[list[tuple[Outcome, list[int]]]]:
        """Return for each job its outcomes, each with the positions of its reports in the job."""
        reports = [report for job in batch for report in job.items]
        outcomes = self._door.teach(reports)
        answers: list[list[tuple[Outcome, list[int]]]] = []
        first = 0
        for job in batch:
            last = first + len(job.items)
            positions = [
                [position - first for position in outcome.reports if first <= position < last]
                for outcome in outcomes
            ]
            answers.append([pair for pair in zip(outcomes, positions, strict=True) if pair[1]])
            first = last
        for outcome in outcomes:
            state = "refused" if outcome.refusal else "learned"
            self._metrics.reports.labels(state).inc(len(outcome.reports))
        return answers
