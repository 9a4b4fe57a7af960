"""Each distinct message scored once: in this process, or shared among several."""

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
from smstune.inference.classifier import SmsClassifier

#: From preprocessed messages, a piece at a time, to their probabilities in that order.
Classify = Callable[[Sequence[list[str]]], Iterable[Floats]]

#: Distinct messages whose answers are kept for copies to come: some 100 MB.
_REMEMBERED = 200_000
#: Distinct messages that a worker takes at once. One process takes all there are: the more it sorts
#: by length, the less it pads (FBS: 4 % of its tokens, against 7 % in such pieces).
_PIECE = 512


class Scorer(Protocol):
    """What answers messages, some thousand rows at a time."""

    def score(self, texts: Sequence[str]) -> Answers:
        """Return the answers to raw ``texts``, in their order."""

    def remember(self, answers: Answers) -> None:
        """Take note of the answers to the next rows, from ``score`` or from a file."""


class DistinctScorer:
    """Scores a message once however often it comes, as long as it is among the last ones seen.

    Messages are the same if they are after ``preprocess``. What is remembered follows from the rows
    alone, so that a run that is gone on with knows what it would have known.
    """

    def __init__(self, classifier: SmsClassifier, classify: Classify, piece: int) -> None:
        self._classifier = classifier
        self._classify = classify
        self._piece = piece
        self._known: OrderedDict[bytes, Floats] = OrderedDict()

    def score(self, texts: Sequence[str]) -> Answers:
        """Return the answers to raw ``texts``, in their order."""
        raw = list(dict.fromkeys(texts))
        clean = dict(zip(raw, self._classifier.preprocess(raw), strict=True))
        keys = {text: _key(message) for text, message in clean.items()}
        new = {key: clean[text] for text, key in keys.items() if key not in self._known}
        fresh = self._score_new(new)
        order = [keys[text] for text in texts]
        rows = [fresh[key] if key in fresh else self._known[key] for key in order]
        return Answers(np.array([list(key) for key in order], np.uint8), np.array(rows))

    def remember(self, answers: Answers) -> None:
        """Take note of the answers to the next rows; the longest unseen are forgotten."""
        for key, row in zip(answers.keys, answers.probabilities, strict=True):
            self._known[key.tobytes()] = row.copy()
            self._known.move_to_end(key.tobytes())
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)

    def _score_new(self, new: dict[bytes, str]) -> dict[bytes, Floats]:
        # Longest first: a piece holds messages of one length, and the last to finish is short.
        order = sorted(new, key=lambda key: -len(new[key]))
        starts = range(0, len(order), self._piece)
        pieces = [order[start : start + self._piece] for start in starts]
        scored = self._classify([[new[key] for key in piece] for piece in pieces])
        return {
            key: row
            for piece, probabilities in zip(pieces, scored, strict=True)
            for key, row in zip(piece, probabilities, strict=True)
        }


def _key(message: str) -> bytes:
    # Cryptographic: nobody may write a fraud that has the key of a harmless message.
    return blake2b(message.encode(), digest_size=16).digest()


@contextmanager
def local_scorer(classifier: SmsClassifier, workers: int) -> Iterator[Scorer]:
    """Give a scorer that computes here, or in ``workers`` processes if there are several.

    Raises:
        UserError: if there are several and the device is no CPU, or if one dies.
    """
    if workers == 1:
        here = _classifier(classifier)
        yield DistinctScorer(classifier, lambda pieces: map(here, pieces), sys.maxsize)
        return
    if classifier.device.type != "cpu":
        raise UserError("expected --workers with --device cpu, found a GPU: one process fills it")
    import torch

    pool = ProcessPoolExecutor(
        workers,
        mp_context=get_context("spawn"),
        initializer=_start_worker,
        initargs=(
            str(classifier.artifact.path),
            classifier.backend.name,
            classifier.precision,
            max(1, torch.get_num_threads() // workers),
        ),
    )

    def classify(pieces: Sequence[list[str]]) -> Iterator[Floats]:
        try:
            yield from pool.map(_classify_in_worker, pieces)
        except BrokenProcessPool as error:
            raise UserError(
                f"expected {workers} worker processes to live, found one dead (memory?): the same "
                "command goes on where it was, with fewer --workers if need be"
            ) from error

    try:
        yield DistinctScorer(classifier, classify, _PIECE)
    finally:
        pool.shutdown(cancel_futures=True)


def _classifier(classifier: SmsClassifier) -> Callable[[list[str]], Floats]:
    return lambda piece: classifier.predict_proba(piece, preprocessed=True)


#: Of a worker process: how it classifies.
_classify_here: Callable[[list[str]], Floats]


def _start_worker(run: str, backend: BackendChoice, precision: Precision, threads: int) -> None:
    import torch

    global _classify_here
    # Ctrl-C reaches the whole group of processes: the first one ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    os.environ["RAYON_NUM_THREADS"] = str(threads)
    _classify_here = _classifier(
        SmsClassifier.from_pretrained(run, backend=backend, device="cpu", precision=precision)
    )


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _classify_in_worker(piece: list[str]) -> Floats:
    return _classify_here(piece)
