"""Requests gathered into batches: a bounded queue, and threads that own the models."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from smstune.config.schema import ServeConfig
from smstune.deploy.server.metrics import Metrics
from smstune.deploy.server.responses import RefusedError, failed
from smstune.evaluation.mistakes.attribution import STEPS, Explanation, explain
from smstune.inference.classifier import Prediction, SmsClassifier

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class _Job:
    texts: Sequence[str]
    size: int
    future: asyncio.Future[Any]
    since: float = field(default_factory=time.monotonic)

    def end(self, answer: Any) -> None:  # noqa: ANN401
        if self.future.done():
            return
        if isinstance(answer, RefusedError):
            self.future.set_exception(answer)
        else:
            self.future.set_result(answer)


class _Lane:
    """One thread, the jobs that wait for it, and how they are gathered.

    A batch holds jobs of up to ``most`` messages together, or one that is larger; the first waits
    for others for ``patience`` seconds. ``score`` gives the answer to each job of a batch.
    """

    def __init__(
        self, score: Callable[[Sequence[_Job]], list[Any]], most: int, patience: float
    ) -> None:
        self.jobs: deque[_Job] = deque()
        self.arrived = asyncio.Event()
        self.thread = ThreadPoolExecutor(1)
        #: Seconds that the last batch took for each of its messages.
        self.pace = 0.0
        self._score = score
        self._most = most
        self._patience = patience

    async def work(self) -> None:
        """Answer jobs in their order, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            while not self.jobs:
                self.arrived.clear()
                await self.arrived.wait()
            if sum(job.size for job in self.jobs) < self._most:
                waited = time.monotonic() - self.jobs[0].since
                await asyncio.sleep(max(0.0, self._patience - waited))
            batch = self._take()
            if not batch:
                continue
            started = time.monotonic()
            try:
                answers = await loop.run_in_executor(self.thread, self._score, batch)
            except Exception:
                logger.exception("no answer to %d requests", len(batch))
                answers = [failed() for _ in batch]
            self.pace = (time.monotonic() - started) / sum(job.size for job in batch)
            for job, answer in zip(batch, answers, strict=True):
                job.end(answer)

    def _take(self) -> list[_Job]:
        batch: list[_Job] = []
        size = 0
        while self.jobs and (not batch or size + self.jobs[0].size <= self._most):
            batch.append(self.jobs.popleft())
            size += batch[-1].size
        return batch


class Batcher:
    """Scores what ``classify`` and ``explain`` are given, each in order of arrival.

    An explanation takes as long as many messages, so it has a thread and a model of its own
    (fp32 on the CPU) and nobody waits behind it. All methods but ``warm`` are of one event loop.
    ``held`` is the number of messages taken and not yet answered, an explanation counted as 64.
    """

    def __init__(self, classifier: SmsClassifier, section: ServeConfig, metrics: Metrics) -> None:
        self.held = 0
        self.stopping = False
        self._classifier = classifier
        path = classifier.artifact.path
        # Not in_fp32, which may be the same object: a tokenizer is not made for two threads.
        self._exact = SmsClassifier.from_pretrained(
            path, backend="torch", device="cpu", precision="fp32"
        )
        self._room = section.queue_messages
        self._metrics = metrics
        metrics.queued.set_function(lambda: self.held)
        self._unanswered: set[_Job] = set()
        patience = section.batch_wait_ms / 1000
        self._scoring = _Lane(self._classified, section.batch_messages, patience)
        self._explaining = _Lane(self._explained, 1, 0.0)
        self._workers: list[asyncio.Task[None]] = []

    @property
    def ready(self) -> bool:
        """Whether messages are taken."""
        alive = bool(self._workers) and not any(worker.done() for worker in self._workers)
        return alive and not self.stopping

    def warm(self) -> None:
        """Score and explain one message, so that the first request does not pay for it.

        Raises:
            UserError: if the model gives no finite scores.
        """
        self._scoring.thread.submit(self._classifier.predict, ["您好"]).result()
        self._explaining.thread.submit(explain, self._exact, "您好").result()

    def start(self) -> None:
        """Begin to work."""
        lanes = (self._scoring, self._explaining)
        self._workers = [asyncio.create_task(lane.work()) for lane in lanes]

    async def close(self) -> None:
        """Refuse what is not answered yet, and end."""
        self.stopping = True
        for job in self._unanswered:
            job.end(self._refusal("a server that is stopping", 1))
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        for lane in (self._scoring, self._explaining):
            lane.thread.shutdown(wait=False, cancel_futures=True)

    async def classify(self, texts: Sequence[str]) -> list[Prediction]:
        """Return the prediction of each text.

        Raises:
            RefusedError: 503 if the queue is full or the server stops, 500 if the model fails.
        """
        answers: list[Prediction] = await self._submit(self._scoring, texts, len(texts))
        return answers

    async def explain(self, text: str) -> Explanation:
        """Return what the answer for ``text`` rests on; raises as ``classify`` does."""
        answer: Explanation = await self._submit(self._explaining, [text], STEPS)
        return answer

    async def _submit(self, lane: _Lane, texts: Sequence[str], size: int) -> Any:  # noqa: ANN401
        if not self.ready:
            raise self._refusal("a server that is stopping", 1)
        if self.held + size > self._room:
            seconds = min(60, max(1, math.ceil(self.held * lane.pace)))
            raise self._refusal(f"{self.held} before it", seconds)
        job = _Job(texts, size, asyncio.get_running_loop().create_future())
        self.held += size
        self._unanswered.add(job)
        lane.jobs.append(job)
        lane.arrived.set()
        try:
            return await job.future
        finally:
            # Also where the client has gone: its place is free at once.
            self.held -= size
            self._unanswered.discard(job)
            if job in lane.jobs:
                lane.jobs.remove(job)

    def _refusal(self, found: str, seconds: int) -> RefusedError:
        expected = f"room for the request in a queue of {self._room} messages"
        what = f"try again in {seconds} s"
        return RefusedError(503, expected, found, what, {"Retry-After": str(seconds)})

    def _classified(self, batch: Sequence[_Job]) -> list[Any]:
        texts = [text for job in batch for text in job.texts]
        self._metrics.batches.observe(len(texts))
        self._metrics.messages.inc(len(texts))
        answers = iter(self._classifier.predict(texts))
        return [[next(answers) for _ in job.texts] for job in batch]

    def _explained(self, batch: Sequence[_Job]) -> list[Any]:
        return [explain(self._exact, job.texts[0]) for job in batch]
