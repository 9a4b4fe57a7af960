"""Scores a file on a Ray cluster, with Ray Data."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smstune.config.choices import BackendChoice, DeviceChoice, PrecisionChoice
from smstune.deploy.batch.scored_parts import Answers
from smstune.errors import UserError
from smstune.inference.classifier import SmsClassifier
from smstune.ray_cluster import ray_cluster, require_ray
from smstune.tables.options import TableOptions
from smstune.tables.read import STANDARD, read_rows

#: Bytes of text in a block that Ray sends to an actor: some thousand messages.
_BLOCK = 1 << 20

Batch = dict[str, NDArray[Any]]


@contextmanager
def ray_scorer(
    classifier: SmsClassifier,
    source: Path,
    options: TableOptions,
    workers: int,
    rows_at_once: int,
    done: int,
) -> Iterator[RayScorer]:
    """Give a scorer whose answers come from at most ``workers`` actors of a Ray cluster.

    One task of the cluster reads ``source`` from row ``done`` on, so the nodes must reach the file
    and the run folder under these paths. Answers come back in the order of the rows; Ray restarts
    actors that die. ``RAY_ADDRESS`` names the cluster; the default is this machine.

    Raises:
        UserError: if Ray is not installed, or the messages come from standard input.
    """
    require_ray()
    if source == STANDARD:
        raise UserError(
            "--engine ray cannot read standard input: give a file, or use --engine local"
        )
    with ray_cluster():
        import ray.data

        context = ray.data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.target_max_block_size = _BLOCK
        context.enable_progress_bars = False
        task = {"path": str(source.resolve()), "options": json.dumps(asdict(options)), "done": done}
        run = str(classifier.run.path.resolve())
        answers = (
            ray.data.from_items([task])
            .map_batches(_read, num_cpus=0)
            .map_batches(
                _Actor,
                fn_constructor_args=(
                    run,
                    classifier.backend.name,
                    classifier.device,
                    classifier.precision,
                ),
                batch_size=rows_at_once,
                batch_format="numpy",
                compute=ray.data.ActorPoolStrategy(min_size=1, max_size=workers),
                num_gpus=1 if classifier.device == "cuda" else 0,
            )
        )
        batches = iter(answers.iter_batches(batch_size=rows_at_once, batch_format="numpy"))
        try:
            yield RayScorer(batches)
        finally:
            batches.close()


class RayScorer:
    """Returns the answers in the order of the rows; each call must be for the next rows."""

    def __init__(self, batches: Iterator[Batch]) -> None:
        self._batches = batches

    def score(self, texts: Sequence[str]) -> Answers:
        """Return the answers to ``texts``, which must be the next rows of the file."""
        probabilities = next(self._batches)["probabilities"]
        if len(probabilities) != len(texts):
            raise RuntimeError(f"{len(probabilities)} answers to {len(texts)} messages")
        return Answers(np.zeros((0, 16), np.uint8), np.asarray(probabilities, np.float64))

    def remember(self, answers: Answers) -> None:
        """Do nothing: an actor recognises copies only within the rows that it scores at once."""


def _read(task: Batch) -> Iterator[Batch]:
    options = TableOptions(**json.loads(str(task["options"][0])))
    records = read_rows(Path(str(task["path"][0])), options)
    rows = itertools.islice(records, int(task["done"][0]), None)
    # Arrow rejects lone surrogates; the normaliser drops them anyway.
    while texts := [
        (row.text or "").encode("utf-8", "ignore").decode() for row in itertools.islice(rows, 1024)
    ]:
        yield {"text": np.array(texts, dtype=object)}


class _Actor:
    def __init__(
        self, run: str, backend: BackendChoice, device: DeviceChoice, precision: PrecisionChoice
    ) -> None:
        self._classifier = SmsClassifier.from_pretrained(
            run, backend=backend, device=device, precision=precision
        )

    def __call__(self, batch: Batch) -> Batch:
        return {"probabilities": self._classifier.predict_proba(batch["text"].tolist())}
