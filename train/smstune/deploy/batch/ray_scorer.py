"""The same scoring over a Ray cluster, by Ray Data."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smstune.deploy.batch.scored_parts import Answers
from smstune.errors import UserError, how_to_install
from smstune.inference.classifier import SmsClassifier
from smstune.tables.columns import Columns
from smstune.tables.read import STANDARD, read_rows

#: Bytes of text that travel together: some thousand messages.
_BLOCK = 1 << 20

Batch = dict[str, NDArray[Any]]


@contextmanager
def ray_scorer(
    classifier: SmsClassifier,
    source: Path,
    text_column: str,
    workers: int,
    rows_at_once: int,
    done: int,
) -> Iterator[RayScorer]:
    """Give a scorer whose answers come from at most ``workers`` actors of a Ray cluster.

    One task of the cluster reads ``source`` from row ``done`` on, so the nodes must reach the file
    and the run folder under these paths. Messages go out and answers come back in order; Ray starts
    again what dies. ``RAY_ADDRESS`` names the cluster; without it, it is this machine.

    Raises:
        UserError: if Ray is not installed, or the messages come from standard input.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise UserError(
            f"expected the package ray for --engine ray, found none: {how_to_install('ray')}"
        ) from error
    if source == STANDARD:
        raise UserError("expected a file with --engine ray, found standard input")
    started = not ray.is_initialized()
    ray.init(ignore_reinit_error=True, log_to_driver=False, logging_level="WARNING")
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.target_max_block_size = _BLOCK
    context.enable_progress_bars = False
    where = {"path": str(source.resolve()), "column": text_column, "done": done}
    run = str(classifier.artifact.path.resolve())
    options = {
        "backend": classifier.backend.name,
        "device": classifier.device.type,
        "precision": classifier.precision,
    }
    answers = (
        ray.data.from_items([where])
        .map_batches(_read, num_cpus=0)
        .map_batches(
            _Actor,
            fn_constructor_args=(run, options),
            batch_size=rows_at_once,
            batch_format="numpy",
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=workers),
            num_gpus=1 if classifier.device.type == "cuda" else 0,
        )
    )
    batches = iter(answers.iter_batches(batch_size=rows_at_once, batch_format="numpy"))
    try:
        yield RayScorer(batches)
    finally:
        batches.close()
        if started:
            ray.shutdown()


class RayScorer:
    """Takes the answers as they come: each call must be for the rows that follow."""

    def __init__(self, batches: Iterator[Batch]) -> None:
        self._batches = batches

    def score(self, texts: Sequence[str]) -> Answers:
        """Return the answers to the next rows of the file, which are ``texts``."""
        probabilities = next(self._batches)["probabilities"]
        if len(probabilities) != len(texts):
            raise RuntimeError(f"{len(probabilities)} answers to {len(texts)} messages")
        return Answers(np.zeros((0, 16), np.uint8), np.asarray(probabilities, np.float64))

    def remember(self, answers: Answers) -> None:
        """Nothing: copies are found within the rows that an actor scores at once."""


def _read(where: Batch) -> Iterator[Batch]:
    columns = Columns(text=str(where["column"][0]), labelled=False)
    records = read_rows(Path(str(where["path"][0])), columns)
    rows = itertools.islice(records, int(where["done"][0]), None)
    # Arrow takes no halves of surrogate pairs, which the normaliser drops.
    while texts := [
        (row.text or "").encode("utf-8", "ignore").decode() for row in itertools.islice(rows, 1024)
    ]:
        yield {"text": np.array(texts, dtype=object)}


class _Actor:
    def __init__(self, run: str, options: dict[str, Any]) -> None:
        self._classifier = SmsClassifier.from_pretrained(run, **options)

    def __call__(self, batch: Batch) -> Batch:
        return {"probabilities": self._classifier.predict_proba(batch["text"].tolist())}
