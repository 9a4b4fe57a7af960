"""Speed of scoring on the CPU beside transformers' own pipeline, in one run on one machine."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from transformers import pipeline

from smstune.data.prepared import load_split
from smstune.deploy.batch.score_file import score_file
from smstune.errors import UserError
from smstune.inference.backends.exported import EXPORTED, load_export
from smstune.inference.backends.torch_backend import DTYPES
from smstune.inference.backends.torch_devices import multiplies_bf16
from smstune.inference.classifier import SmsClassifier
from smstune.inference.linear import fit_linear
from smstune.inference.manifest import Manifest, load_manifest
from smstune.tables.columns import Columns
from smstune.tables.read import read_rows
from smstune.text.normalize import preprocess

#: From a run and a jsonl file of messages to the seconds that scoring took, loading not counted.
Way = Callable[[Path, Path], float]

_WARM_UP = 8


def benchmark_inference(run: Path, data: Path | None = None) -> list[dict[str, Any]]:
    """Score the same messages in each way, each in a fresh process, loading not counted.

    The messages are those of ``data``, else of the run's test split. The pipeline gets them in
    memory; ``smstune`` goes from file to file as ``predict`` does: reading, normalising, masking,
    tokenising, scoring, writing. It scores copies once, which the pipeline does not: where there
    are copies, a row more tells its speed on the ``distinct`` messages alone, so that the
    difference of the two rows is what copies are worth. The exported forms for the CPU are measured
    where the run has them. Each row has ``messages``, ``distinct``
    (after preprocessing), ``messages_per_second``, ``ratio`` to the first row and ``peak_rss_gib``.

    Raises:
        UserError: if there is no message, or the run or its data is not there.
    """
    manifest = load_manifest(run)
    texts = benchmark_messages(manifest, data)
    distinct = list(dict.fromkeys(_preprocessed(manifest, texts)))
    ways = _ways(run, manifest, texts, distinct)
    rows: list[dict[str, Any]] = []
    for name, (way, messages) in ways.items():
        seconds, peak = _in_a_fresh_process(way, run, messages)
        rows.append(
            {
                "way": name,
                "messages": len(messages),
                "distinct": len(distinct),
                "messages_per_second": len(messages) / seconds,
                "peak_rss_gib": peak,
            }
        )
    for row in rows:
        row["ratio"] = row["messages_per_second"] / rows[0]["messages_per_second"]
    return rows


def _ways(
    run: Path, manifest: Manifest, texts: Sequence[str], distinct: Sequence[str]
) -> dict[str, tuple[Way, Sequence[str]]]:
    """Return each way by its name, with the messages that it gets."""
    # Emulated, bf16 is far slower than fp32: no tuning.
    fast = "bf16" if multiplies_bf16(torch.device("cpu")) else "fp32"
    tuned = partial(_pipeline, dtype=DTYPES[fast], batch_size=32)
    ways: dict[str, tuple[Way, Sequence[str]]] = {
        "pipeline, defaults": (_pipeline, texts),
        f"pipeline, batch 32, {fast}": (tuned, texts),
        "the same, sorted by length": (partial(tuned, by_length=True), texts),
    }
    ours: dict[str, Way] = {"smstune torch": partial(_smstune, backend="torch")}
    export = load_export(run, manifest)
    for precision, file in EXPORTED.items():
        if export and file in export.files and precision != "fp16":
            ours[f"smstune onnx {precision}"] = partial(
                _smstune, backend="onnx", precision=precision
            )
    for name, ours_way in ours.items():
        ways[name] = (ours_way, texts)
        if len(distinct) < len(texts):
            ways[f"{name}, distinct"] = (ours_way, distinct)
    if (Path(manifest.data["path"]) / "train.parquet").is_file():
        ways["linear baseline"] = (_linear_baseline, texts)
    return ways


def benchmark_messages(manifest: Manifest, data: Path | None) -> list[str]:
    """Return the messages of ``data``, else of the test split that the run was judged on.

    Raises:
        UserError: if there is no message, or the data is not there.
    """
    if data is None:
        return list(load_split(Path(manifest.data["path"]), "test")["text"])
    texts = _read(data)
    if not texts:
        raise UserError(f"expected messages in {data}, found none")
    return texts


def _preprocessed(manifest: Manifest, texts: Sequence[str]) -> list[str]:
    return [preprocess(text, mask=manifest.text.mask_pii) for text in texts]


def _in_a_fresh_process(way: Way, run: Path, texts: Sequence[str]) -> tuple[float, float]:
    """Return the seconds of a way and the peak of its process's memory in GiB."""
    with TemporaryDirectory() as folder:
        source = Path(folder) / "messages.jsonl"
        lines = [json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts]
        source.write_text("".join(lines), "utf-8")
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            return pool.submit(_measured, way, run, source).result()


def _measured(way: Way, run: Path, source: Path) -> tuple[float, float]:
    seconds = way(run, source)
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _read(source: Path) -> list[str]:
    return [row.text or "" for row in read_rows(source, Columns(labelled=False))]


def _pipeline(run: Path, source: Path, *, by_length: bool = False, **options: Any) -> float:  # noqa: ANN401
    length = load_manifest(run).max_length
    classify: Any = pipeline("text-classification", model=str(run), device="cpu", **options)
    texts = _read(source)
    classify(texts[:_WARM_UP], truncation=True, max_length=length)
    started = time.perf_counter()
    if by_length:
        texts = sorted(texts, key=len)
    classify(texts, truncation=True, max_length=length)
    return time.perf_counter() - started


def _smstune(run: Path, source: Path, **options: Any) -> float:  # noqa: ANN401
    classifier = SmsClassifier.from_pretrained(run, device="cpu", **options)
    classifier.predict(_read(source)[:_WARM_UP])
    started = time.perf_counter()
    score_file(classifier, source, source.with_name("labelled.jsonl"))
    return time.perf_counter() - started


def _linear_baseline(run: Path, source: Path) -> float:
    manifest = load_manifest(run)
    train = load_split(Path(manifest.data["path"]), "train")
    ids = {name: index for index, name in enumerate(manifest.labels)}
    truth = np.array([ids[one] for one in train["label"]])
    linear = fit_linear(list(train["text"]), truth, len(ids))
    started = time.perf_counter()
    linear.answers(_preprocessed(manifest, _read(source)))
    return time.perf_counter() - started
