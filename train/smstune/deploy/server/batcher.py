"""Requests gathered into batches: bounded queues, and threads that own the models."""

from __future__ import annotations

import asyncio
import functools
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
from smstune.deploy.server.responses import RefusedError, busy, failed
from smstune.evaluation.mistakes.attribution import STEPS, Explanation, explain
from smstune.inference.classifier import Prediction, SmsClassifier
from smstune.inference.manifest import WEIGHTS

logger = logging.getLogger(__name__)

_SHORT = "您好"
#: As long as most messages, to measure the speed before the first request.
_TYPICAL = "【某某商城】尊敬的会员，本周末全场商品五折起，数量有限，详情请到店咨询，回T退订"
#: What is left of a batch's weight in the measured speed after the next batch.
_SPEED_MEMORY = 0.8


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
    for others for ``patience`` seconds. ``score`` gives the answer to each job of a batch. A job is
    refused where more than ``room`` messages would wait or be scored, or where those before it are
    expected to take longer than ``max_wait`` seconds at the speed measured last.
    """

    def __init__(
        self,
        score: Callable[[Sequence[_Job]], list[Any]],
        *,
        most: int,
        patience: float,
        room: int,
        max_wait: float,
    ) -> None:
        self.thread = ThreadPoolExecutor(1)
        #: Messages taken and not yet answered.
        self.messages = 0
        self.unanswered: set[_Job] = set()
        self._waiting: deque[_Job] = deque()
        self._arrived = asyncio.Event()
        self._score = score
        self._most = most
        self._patience = patience
        self._room = room
        self._max_wait = max_wait
        #: Of the last batches, older ones counted less.
        self._scoring_seconds = 0.0
        self._scored_messages = 0.0

    def warm(self, score: Callable[[str], object], size: int) -> None:
        """Take the speed of ``score``, which counts as ``size`` messages, from its second call."""
        self.thread.submit(score, _SHORT).result()
        started = time.monotonic()
        self.thread.submit(score, _TYPICAL).result()
        self._note_speed(time.monotonic() - started, size)

    async def submit(self, texts: Sequence[str], size: int) -> Any:  # noqa: ANN401
        """Return the answer to ``texts``, which count as ``size`` messages.

        Raises:
            RefusedError: 503 if it would not fit or would wait for too long.
        """
        self._admit(size)
        job = _Job(texts, size, asyncio.get_running_loop().create_future())
        self.messages += size
        self.unanswered.add(job)
        self._waiting.append(job)
        self._arrived.set()
        try:
            return await job.future
        finally:
            # Also where the client has gone: its place is free at once.
            self.messages -= size
            self.unanswered.discard(job)
            if job in self._waiting:
                self._waiting.remove(job)

    def _admit(self, size: int) -> None:
        pace = self._scoring_seconds / self._scored_messages if self._scored_messages else 0.0
        wait = self.messages * pace
        expected = ""
        if self.messages + size > self._room:
            expected = f"room for the request in a queue of {self._room} messages"
        elif wait > self._max_wait:
            expected = f"a wait of at most {self._max_wait:g} s"
        if expected:
            seconds = min(60, max(1, math.ceil(wait)))
            raise busy(expected, f"{self.messages} messages before it", seconds)

    async def work(self) -> None:
        """Answer jobs in their order, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            while not self._waiting:
                self._arrived.clear()
                await self._arrived.wait()
            if sum(job.size for job in self._waiting) < self._most:
                waited = time.monotonic() - self._waiting[0].since
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
            self._note_speed(time.monotonic() - started, sum(job.size for job in batch))
            for job, answer in zip(batch, answers, strict=True):
                job.end(answer)

    def _note_speed(self, seconds: float, messages: int) -> None:
        self._scoring_seconds = _SPEED_MEMORY * self._scoring_seconds + seconds
        self._scored_messages = _SPEED_MEMORY * self._scored_messages + messages

    def _take(self) -> list[_Job]:
        batch: list[_Job] = []
        size = 0
        while self._waiting and (not batch or size + self._waiting[0].size <= self._most):
            batch.append(self._waiting.popleft())
            size += batch[-1].size
        return batch


class Batcher:
    """Scores what ``classify`` and ``explain`` are given, each in order of arrival.

    An explanation takes as long as many messages, so explanations have a queue, a thread and a
    model of their own (fp32 on the CPU): neither kind of request waits behind the other or takes
    its room. All methods but ``warm`` are of one event loop.
    """

    def __init__(self, classifier: SmsClassifier, section: ServeConfig, metrics: Metrics) -> None:
        self.stopping = False
        self._classifier = classifier
        path = classifier.artifact.path
        self._exact: SmsClassifier | None = None
        # An exported form answers without these weights, but has no gradients to explain by.
        if (path / WEIGHTS).is_file():
            # Not in_fp32, which may be the same object: a tokenizer is not made for two threads.
            self._exact = SmsClassifier.from_pretrained(
                path, backend="torch", device="cpu", precision="fp32"
            )
        self._metrics = metrics
        metrics.queued.set_function(lambda: self.messages)
        lane = functools.partial(
            _Lane, room=section.queue_messages, max_wait=section.max_wait_seconds
        )
        patience = section.batch_wait_ms / 1000
        self._scoring = lane(self._classified, most=section.batch_messages, patience=patience)
        self._explaining = lane(self._explained, most=1, patience=0.0)
        self._lanes = (self._scoring, self._explaining)
        self._workers: list[asyncio.Task[None]] = []

    @property
    def messages(self) -> int:
        """How many messages were taken and are not yet answered; an explanation counts as 64."""
        return sum(lane.messages for lane in self._lanes)

    @property
    def ready(self) -> bool:
        """Whether messages are taken."""
        alive = bool(self._workers) and not any(worker.done() for worker in self._workers)
        return alive and not self.stopping

    def warm(self) -> None:
        """Score and explain, so that the first request does not pay for what is done once.

        Raises:
            UserError: if the model gives no finite scores.
        """
        self._scoring.warm(lambda text: self._classifier.predict([text]), 1)
        if self._exact is not None:
            self._explaining.warm(functools.partial(explain, self._exact), STEPS)

    def start(self) -> None:
        """Begin to work."""
        self._workers = [asyncio.create_task(lane.work()) for lane in self._lanes]

    async def close(self) -> None:
        """Refuse what is not answered yet, and end."""
        self.stopping = True
        for lane in self._lanes:
            for job in lane.unanswered:
                job.end(_stopping())
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        for lane in self._lanes:
            lane.thread.shutdown(wait=False, cancel_futures=True)

    async def classify(self, texts: Sequence[str]) -> list[Prediction]:
        """Return the prediction of each text.

        Raises:
            RefusedError: 503 if too many wait or the server stops, 500 if the model fails.
        """
        answers: list[Prediction] = await self._submit(self._scoring, texts, len(texts))
        return answers

    async def explain(self, text: str) -> Explanation:
        """Return what the answer for ``text`` rests on; raises as ``classify`` does.

        Raises:
            RefusedError: also 501 if the run folder has no weights to explain by.
        """
        if self._exact is None:
            found = "a run that holds its exported form alone"
            raise RefusedError(501, f"a run with {WEIGHTS}", found, "serve the whole run folder")
        answer: Explanation = await self._submit(self._explaining, [text], STEPS)
        return answer

    async def _submit(self, lane: _Lane, texts: Sequence[str], size: int) -> Any:  # noqa: ANN401
        if not self.ready:
            raise _stopping()
        return await lane.submit(texts, size)

    def _classified(self, batch: Sequence[_Job]) -> list[Any]:
        texts = [text for job in batch for text in job.texts]
        self._metrics.batches.observe(len(texts))
        self._metrics.messages.inc(len(texts))
        answers = iter(self._classifier.predict(texts))
        return [[next(answers) for _ in job.texts] for job in batch]

    def _explained(self, batch: Sequence[_Job]) -> list[Any]:
        # Without the weights no explanation is taken.
        return [explain(self._exact, job.texts[0]) for job in batch if self._exact is not None]


def _stopping() -> RefusedError:
    return busy("a server that takes requests", "a server that is stopping", 1)
