"""Scores each distinct message once, in this process or in several."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from hashlib import blake2b
from multiprocessing import get_context, parent_process
from typing import Protocol

import numpy as np

from smstune.arrays import Floats
from smstune.config.choices import BackendChoice, Precision
from smstune.deploy.batch.scored_parts import Answers
from smstune.errors import UserError
from smstune.inference.backends.threads import available_threads
from smstune.inference.classifier import SmsClassifier

#: From batches of preprocessed messages to the probabilities of each batch, in the same order.
Classify = Callable[[Sequence[list[str]]], Iterable[Floats]]

#: Distinct messages whose answers are remembered for later copies: about 100 MB.
_REMEMBERED = 200_000
#: Distinct messages that a worker takes at once. A single process takes all of a chunk, because the
#: more messages are sorted by length, the less padding (FBS: 4 % of the tokens instead of 7 %).
_WORKER_MESSAGES = 512


class Scorer(Protocol):
    """Answers messages, some thousand rows at a time."""

    def score(self, texts: Sequence[str]) -> Answers:
        """Return the answers to raw ``texts``, in their order."""

    def remember(self, answers: Answers) -> None:
        """Remember the answers to the next rows, from ``score`` or from a file."""


class DistinctScorer:
    """Scores a message once, however often it recurs among the last ones seen.

    Messages are the same if they are equal after ``preprocess``. What is remembered depends only on
    the rows, so that a resumed run gives the same answers as an uninterrupted one.
    """

    def __init__(self, classifier: SmsClassifier, classify: Classify, batch_size: int) -> None:
        self._classifier = classifier
        self._classify = classify
        self._batch_size = batch_size
        self._remembered: OrderedDict[bytes, Floats] = OrderedDict()

    def score(self, texts: Sequence[str]) -> Answers:
        """Return the answers to raw ``texts``, in their order."""
        raw = list(dict.fromkeys(texts))
        clean = dict(zip(raw, self._classifier.preprocess(raw), strict=True))
        keys = {text: _key(message) for text, message in clean.items()}
        new = {key: clean[text] for text, key in keys.items() if key not in self._remembered}
        fresh = self._score_new(new)
        order = [keys[text] for text in texts]
        rows = [fresh[key] if key in fresh else self._remembered[key] for key in order]
        return Answers(np.array([list(key) for key in order], np.uint8), np.array(rows))

    def remember(self, answers: Answers) -> None:
        """Remember the answers to the next rows; forget those of messages unseen for longest."""
        for key, row in zip(answers.keys, answers.probabilities, strict=True):
            self._remembered[key.tobytes()] = row.copy()
            self._remembered.move_to_end(key.tobytes())
        while len(self._remembered) > _REMEMBERED:
            self._remembered.popitem(last=False)

    def _score_new(self, new: dict[bytes, str]) -> dict[bytes, Floats]:
        # Longest first: a batch then holds messages of similar length, and the last one is short.
        order = sorted(new, key=lambda key: -len(new[key]))
        starts = range(0, len(order), self._batch_size)
        batches = [order[start : start + self._batch_size] for start in starts]
        scored = self._classify([[new[key] for key in batch] for batch in batches])
        return {
            key: row
            for batch, probabilities in zip(batches, scored, strict=True)
            for key, row in zip(batch, probabilities, strict=True)
        }


def _key(message: str) -> bytes:
    # Cryptographic, so that nobody can craft a fraud with the key of a harmless message.
    return blake2b(message.encode(), digest_size=16).digest()


@contextmanager
def local_scorer(classifier: SmsClassifier, workers: int) -> Iterator[Scorer]:
    """Give a scorer that computes in this process, or in ``workers`` processes if more than one.

    Raises:
        UserError: if there are several and the device is not the CPU, or if one dies.
    """
    if workers == 1:
        predict = _classifier(classifier)
        yield DistinctScorer(classifier, lambda batches: map(predict, batches), sys.maxsize)
        return
    if classifier.device != "cpu":
        raise UserError(
            "several --workers only help on a CPU: use --device cpu or remove --workers"
        )
    pool = ProcessPoolExecutor(
        workers,
        mp_context=get_context("spawn"),
        initializer=_start_worker,
        initargs=(
            str(classifier.run.path),
            classifier.backend.name,
            classifier.precision,
            max(1, available_threads() // workers),
        ),
    )

    def classify(batches: Sequence[list[str]]) -> Iterator[Floats]:
        try:
            yield from pool.map(_classify_in_worker, batches)
        except BrokenProcessPool as error:
            raise UserError(
                "a worker process died, perhaps for lack of memory: run the same command again to "
                "resume, if need be with fewer than {workers} --workers",
                workers=workers,
            ) from error

    try:
        yield DistinctScorer(classifier, classify, _WORKER_MESSAGES)
    finally:
        pool.shutdown(cancel_futures=True)


def _classifier(classifier: SmsClassifier) -> Callable[[list[str]], Floats]:
    return lambda texts: classifier.predict_proba(texts, preprocessed=True)


#: How a worker process classifies.
_classify_here: Callable[[list[str]], Floats]


def _start_worker(run: str, backend: BackendChoice, precision: Precision, threads: int) -> None:
    global _classify_here
    # Ctrl-C reaches all processes at once; the parent ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Read by onnxruntime's backend and by torch, which is imported after this.
    for variable in ("OMP_NUM_THREADS", "RAYON_NUM_THREADS"):
        os.environ[variable] = str(threads)
    _classify_here = _classifier(
        SmsClassifier.from_pretrained(run, backend=backend, device="cpu", precision=precision)
    )


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _classify_in_worker(texts: list[str]) -> Floats:
    return _classify_here(texts)
