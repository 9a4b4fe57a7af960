"""Gathers requests into batches: bounded queues, and one thread for each model."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Generic, TypeVar

from smstune.config.schema import ServeConfig
from smstune.deploy.server.metrics import Metrics
from smstune.deploy.server.responses import RefusedError, busy, failed
from smstune.errors import UserError
from smstune.evaluation.mistakes.attribution import STEPS, Explanation, explain
from smstune.inference.classifier import Prediction, SmsClassifier
from smstune.inference.manifest import WEIGHTS
from smstune.language import Message

logger = logging.getLogger(__name__)

_SHORT = "您好"
#: A message of typical length, to measure the speed before the first request.
_TYPICAL = "【某某商城】尊敬的会员，本周末全场商品五折起，数量有限，详情请到店咨询，回T退订"
#: Factor by which each new batch reduces the older ones' weight in the measured speed.
_SPEED_MEMORY = 0.8


Item = TypeVar("Item")
Answer = TypeVar("Answer")


@dataclass(eq=False)
class Job(Generic[Item, Answer]):
    """A request that waits: what it asks about, which counts as ``size``, and its answer."""

    items: Sequence[Item]
    size: int
    future: asyncio.Future[Answer]
    since: float = field(default_factory=time.monotonic)

    def end(self, answer: Answer | RefusedError) -> None:
        """Give the answer, unless the client has gone."""
        if self.future.done():
            return
        if isinstance(answer, RefusedError):
            self.future.set_exception(answer)
        else:
            self.future.set_result(answer)


class Lane(Generic[Item, Answer]):
    """One thread and the queue of jobs for it, which it scores in batches.

    A batch has jobs of up to ``batch_messages`` messages in total, or a single larger job; the
    first job waits up to ``patience`` seconds for others. ``score`` returns the answer to each job
    of a batch. A job is refused if more than ``max_messages`` would wait or be scored, or if the
    jobs before it are expected, at the current speed, to take longer than ``max_wait`` seconds.
    """

    def __init__(
        self,
        score: Callable[[Sequence[Job[Item, Answer]]], list[Answer]],
        *,
        batch_messages: int,
        patience: float,
        max_messages: int,
        max_wait: float,
    ) -> None:
        self.thread = ThreadPoolExecutor(1)
        #: Messages accepted and not yet answered.
        self.messages = 0
        self.unanswered: set[Job[Item, Answer]] = set()
        self._waiting: deque[Job[Item, Answer]] = deque()
        self._arrived = asyncio.Event()
        self._score = score
        self._batch_messages = batch_messages
        self._patience = patience
        self._max_messages = max_messages
        self._max_wait = max_wait
        # Decaying sums over the batches.
        self._scoring_seconds = 0.0
        self._scored_messages = 0.0

    def warm(self, score: Callable[[str], object], size: int) -> None:
        """Measure the speed of ``score``, which counts as ``size`` messages, on its second call."""
        self.thread.submit(score, _SHORT).result()
        started = time.monotonic()
        self.thread.submit(score, _TYPICAL).result()
        self._note_speed(time.monotonic() - started, size)

    async def submit(self, items: Sequence[Item], size: int) -> Answer:
        """Return the answer to ``items``, which count as ``size`` messages.

        Raises:
            RefusedError: 503 if the queue is full or the expected wait too long.
        """
        self._admit(size)
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        job = Job(items, size, future)
        self.messages += size
        self.unanswered.add(job)
        self._waiting.append(job)
        self._arrived.set()
        try:
            return await job.future
        finally:
            # Also when the client has disconnected, to make room at once.
            self.messages -= size
            self.unanswered.discard(job)
            if job in self._waiting:
                self._waiting.remove(job)

    def _admit(self, size: int) -> None:
        pace = self._scoring_seconds / self._scored_messages if self._scored_messages else 0.0
        wait = self.messages * pace
        expected = actual = None
        if self.messages + size > self._max_messages:
            expected = Message("a queue of at most {limit} messages", limit=self._max_messages)
            actual = Message(
                "{n_waiting} waiting and {n_new} in this request",
                n_waiting=self.messages,
                n_new=size,
            )
        elif wait > self._max_wait:
            expected = Message("a wait of at most {limit:g} s", limit=self._max_wait)
            actual = Message(
                "{wait:.1f} s for the {n_waiting} messages before it",
                wait=wait,
                n_waiting=self.messages,
            )
        if expected and actual:
            seconds = min(60, max(1, math.ceil(wait)))
            raise busy(expected, actual, seconds)

    async def work(self) -> None:
        """Answer jobs in order of arrival until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            while not self._waiting:
                self._arrived.clear()
                await self._arrived.wait()
            if sum(job.size for job in self._waiting) < self._batch_messages:
                waited = time.monotonic() - self._waiting[0].since
                await asyncio.sleep(max(0.0, self._patience - waited))
            batch = self._take()
            if not batch:
                continue
            started = time.monotonic()
            answers: Sequence[Answer | RefusedError]
            try:
                answers = await loop.run_in_executor(self.thread, self._score, batch)
            except Exception:
                logger.exception("no answer to %d requests", len(batch))
                answers = [failed() for _ in batch]
            self._note_speed(time.monotonic() - started, sum(job.size for job in batch))
            for job, answer in zip(batch, answers, strict=True):
                job.end(answer)

    def refuse_all(self) -> None:
        """Refuse every unanswered job, because the server stops."""
        for job in self.unanswered:
            job.end(_stopping())

    def _note_speed(self, seconds: float, messages: int) -> None:
        self._scoring_seconds = _SPEED_MEMORY * self._scoring_seconds + seconds
        self._scored_messages = _SPEED_MEMORY * self._scored_messages + messages

    def _take(self) -> list[Job[Item, Answer]]:
        batch: list[Job[Item, Answer]] = []
        size = 0
        while self._waiting and (not batch or size + self._waiting[0].size <= self._batch_messages):
            batch.append(self._waiting.popleft())
            size += batch[-1].size
        return batch


#: A lane, whatever it answers.
AnyLane = Lane[Any, Any]


class Batcher:
    """Classifies and explains messages, each kind of request in order of arrival.

    An explanation takes as long as classifying many messages. Explanations therefore have their own
    queue, thread and model (fp32 on the CPU): neither kind waits behind the other or fills its
    queue. All methods except ``warm`` must be called from one event loop.
    """

    def __init__(self, classifier: SmsClassifier, section: ServeConfig, metrics: Metrics) -> None:
        self.stopping = False
        self._classifier = classifier
        path = classifier.run.path
        self._exact: SmsClassifier | None = None
        # An exported form can answer without these, but explanations need gradients.
        if (path / WEIGHTS).is_file() and find_spec("captum"):
            # Not in_fp32, which may return the same object: each thread has a model of its own.
            self._exact = SmsClassifier.from_pretrained(
                path, backend="torch", device="cpu", precision="fp32"
            )
        self._metrics = metrics
        metrics.queued.set_function(lambda: self.messages)
        self._classifying = Lane(
            self._classified,
            batch_messages=section.batch_messages,
            patience=section.batch_wait_ms / 1000,
            max_messages=section.queue_messages,
            max_wait=section.max_wait_seconds,
        )
        self._explaining = Lane(
            self._explained,
            batch_messages=1,
            patience=0.0,
            max_messages=section.queue_messages,
            max_wait=section.max_wait_seconds,
        )
        self._lanes: list[AnyLane] = [self._classifying, self._explaining]
        self._workers: list[asyncio.Task[None]] = []

    def add_lane(self, lane: AnyLane) -> None:
        """Start and stop another lane with the two; its requests count with theirs."""
        self._lanes.append(lane)

    @property
    def messages(self) -> int:
        """Messages accepted and not yet answered; an explanation counts as 64."""
        return sum(lane.messages for lane in self._lanes)

    def shown_names(self, language: str) -> dict[str, str]:
        """Return the run's labels by name, each with its title in ``language`` if it has one."""
        return self._classifier.labels.shown_names(language)

    @property
    def explains(self) -> bool:
        """Whether answers can be explained: the run has its weights, and torch is installed."""
        return self._exact is not None

    @property
    def ready(self) -> bool:
        """Whether messages are accepted."""
        alive = bool(self._workers) and not any(worker.done() for worker in self._workers)
        return alive and not self.stopping

    def warm(self) -> None:
        """Classify and explain a message, so that no request has to wait for initialisation.

        Raises:
            UserError: if the model gives no finite scores.
        """
        self._classifying.warm(lambda text: self._classifier.predict([text]), 1)
        exact = self._exact
        if exact is not None:
            self._explaining.warm(lambda text: explain(exact, text), STEPS)

    def start(self) -> None:
        """Start answering."""
        self._workers = [asyncio.create_task(lane.work()) for lane in self._lanes]

    async def close(self) -> None:
        """Refuse all unanswered requests and stop."""
        self.stopping = True
        for lane in self._lanes:
            lane.refuse_all()
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        for lane in self._lanes:
            lane.thread.shutdown(wait=False, cancel_futures=True)

    async def classify(self, texts: Sequence[str]) -> list[Prediction]:
        """Return the prediction of each text.

        Raises:
            RefusedError: 503 if the queue is full or the server is stopping, 500 if the model
                fails.
        """
        self.require_ready()
        return await self._classifying.submit(texts, len(texts))

    async def explain(self, text: str) -> Explanation:
        """Return the explanation of the answer for ``text``.

        Raises:
            RefusedError: as ``classify``, and 501 if torch or the run's weights are missing.
        """
        if find_spec("captum") is None:
            raise RefusedError(
                501,
                Message("the packages torch and captum"),
                Message("neither"),
                Message("install smstune[train]"),
            )
        if self._exact is None:
            raise RefusedError(
                501,
                Message("{file} in the run folder", file=WEIGHTS),
                Message("only an exported ONNX file"),
                Message("serve the whole run folder"),
            )
        self.require_ready()
        return await self._explaining.submit([text], STEPS)

    def require_ready(self) -> None:
        """Refuse a request while the server does not accept any.

        Raises:
            RefusedError: 503.
        """
        if not self.ready:
            raise _stopping()

    def _classified(self, batch: Sequence[Job[str, list[Prediction]]]) -> list[list[Prediction]]:
        texts = [text for job in batch for text in job.items]
        self._metrics.batches.observe(len(texts))
        self._metrics.messages.inc(len(texts))
        try:
            self._classifier.refresh_memory()
        except UserError as error:
            # The generation that was opened before still answers.
            logger.warning("warning: %s", error)
        predictions = self._classifier.predict(texts)
        self._metrics.count_answers(predictions)
        answers = iter(predictions)
        return [[next(answers) for _ in job.items] for job in batch]

    def _explained(self, batch: Sequence[Job[str, Explanation]]) -> list[Explanation]:
        # ``explain`` accepts no request without the weights.
        return [explain(self._exact, job.items[0]) for job in batch if self._exact is not None]


def _stopping() -> RefusedError:
    return busy(Message("a server that accepts requests"), Message("a server that is stopping"), 1)
