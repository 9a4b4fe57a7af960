"""Speed of scoring on the CPU compared with transformers' pipeline, in one run on one machine."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from transformers import pipeline

from smstune.arrays import Ints
from smstune.data.prepared import load_split
from smstune.deploy.batch.score_file import score_file
from smstune.errors import UserError
from smstune.files import temporary_folder
from smstune.inference.backends.exported import EXPORTED, load_export
from smstune.inference.backends.torch_backend import DTYPES
from smstune.inference.backends.torch_devices import multiplies_bf16
from smstune.inference.classifier import SmsClassifier
from smstune.inference.linear import LinearModel
from smstune.inference.manifest import Manifest, load_manifest
from smstune.inference.ngrams import LONGEST
from smstune.inference.run import run_config
from smstune.modeling.fit_linear import fit_linear
from smstune.tables.columns import Columns
from smstune.tables.read import read_rows
from smstune.text.normalize import preprocess

#: Scores a jsonl file of messages with a run; returns the seconds without loading.
ScoringMethod = Callable[[Path, Path], float]

_WARM_UP = 8


@dataclass(frozen=True)
class ScoringSpeed:
    """Speed of one method of scoring.

    ``distinct`` counts the messages that differ after preprocessing; ``ratio`` is the speed divided
    by that of the first method.
    """

    method: str
    messages: int
    distinct: int
    messages_per_second: float
    peak_rss_gib: float
    ratio: float


def benchmark_inference(run: Path, messages_file: Path | None = None) -> list[ScoringSpeed]:
    """Score the same messages by each method in a fresh process, without the time for loading.

    The messages are those of ``messages_file``, by default of the run's test split. The pipeline
    gets them in memory; ``smstune`` works from file to file as ``predict`` does: reading,
    normalising, masking, tokenising, scoring, writing. It scores copies once, which the pipeline
    does not. If there are copies, another row shows its speed on the distinct messages; the
    difference is what copies save. The exported forms for the CPU are measured if the run has them.

    Raises:
        UserError: if there is no message, or the run or its data is missing.
    """
    manifest = load_manifest(run)
    texts = benchmark_messages(manifest, messages_file)
    distinct = list(dict.fromkeys(_preprocessed(manifest, texts)))
    rows: list[ScoringSpeed] = []
    for name, (score, messages) in _methods(run, manifest, texts, distinct).items():
        seconds, peak = _in_a_fresh_process(score, run, messages)
        rate = len(messages) / seconds
        rows.append(
            ScoringSpeed(
                method=name,
                messages=len(messages),
                distinct=len(distinct),
                messages_per_second=rate,
                peak_rss_gib=peak,
                ratio=rate / (rows[0].messages_per_second if rows else rate),
            )
        )
    return rows


def _methods(
    run: Path, manifest: Manifest, texts: Sequence[str], distinct: Sequence[str]
) -> dict[str, tuple[ScoringMethod, Sequence[str]]]:
    """Return each method by its name, with the messages that it gets."""
    # Emulated bf16 is far slower than fp32.
    fast = "bf16" if multiplies_bf16(torch.device("cpu")) else "fp32"
    tuned = partial(_pipeline, dtype=DTYPES[fast], batch_size=32)
    methods: dict[str, tuple[ScoringMethod, Sequence[str]]] = {
        "pipeline, defaults": (_pipeline, texts),
        f"pipeline, batch 32, {fast}": (tuned, texts),
        "the same, sorted by length": (partial(tuned, by_length=True), texts),
    }
    smstune: dict[str, ScoringMethod] = {"smstune torch": partial(_smstune, backend="torch")}
    export = load_export(run, manifest)
    for precision, file in EXPORTED.items():
        if export and file in export.files and precision != "fp16":
            smstune[f"smstune onnx {precision}"] = partial(
                _smstune, backend="onnx", precision=precision
            )
    for name, score in smstune.items():
        methods[name] = (score, texts)
        if len(distinct) < len(texts):
            methods[f"{name}, distinct"] = (score, distinct)
    if (Path(manifest.data.path) / "train.parquet").is_file():
        methods["linear baseline"] = (_linear_baseline, texts)
        methods["linear baseline, scikit-learn"] = (_linear_by_scikit_learn, texts)
    return methods


def benchmark_messages(manifest: Manifest, messages_file: Path | None) -> list[str]:
    """Return the messages of ``messages_file``, by default of the run's test split.

    Raises:
        UserError: if there is no message, or the data is missing.
    """
    if messages_file is None:
        return list(load_split(Path(manifest.data.path), "test")["text"])
    texts = _read(messages_file)
    if not texts:
        raise UserError(f"expected messages in {messages_file}, found none")
    return texts


def _preprocessed(manifest: Manifest, texts: Sequence[str]) -> list[str]:
    return [preprocess(text, mask=manifest.text.mask_pii) for text in texts]


def _in_a_fresh_process(
    score: ScoringMethod, run: Path, texts: Sequence[str]
) -> tuple[float, float]:
    """Return the seconds of a method and the peak memory of its process in GiB."""
    with temporary_folder() as folder:
        source = folder / "messages.jsonl"
        lines = [json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts]
        source.write_text("".join(lines), "utf-8")
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            return pool.submit(_measured, score, run, source).result()


def _measured(score: ScoringMethod, run: Path, source: Path) -> tuple[float, float]:
    seconds = score(run, source)
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
    return _seconds(_fitted_baseline(run, manifest).answers, manifest, source)


def _linear_by_scikit_learn(run: Path, source: Path) -> float:
    """Score as scikit-learn does, by the same model."""
    manifest = load_manifest(run)
    linear = _fitted_baseline(run, manifest)
    vectorizer = TfidfVectorizer(
        analyzer="char", ngram_range=(1, LONGEST), sublinear_tf=True, vocabulary=linear.vocabulary
    )
    vectorizer.idf_ = linear.idf
    weights = linear.weights.astype(np.float64)

    def answers(texts: Sequence[str]) -> Ints:
        scores = vectorizer.transform(texts) @ weights + linear.intercepts
        ids: Ints = scores.argmax(axis=1)
        return ids

    return _seconds(answers, manifest, source)


def _seconds(answers: Callable[[Sequence[str]], Ints], manifest: Manifest, source: Path) -> float:
    """Return the seconds to read, preprocess and answer the messages of a file."""
    answers(_preprocessed(manifest, _read(source)[:_WARM_UP]))
    started = time.perf_counter()
    answers(_preprocessed(manifest, _read(source)))
    return time.perf_counter() - started


def _fitted_baseline(run: Path, manifest: Manifest) -> LinearModel:
    train = load_split(Path(manifest.data.path), "train")
    ids = {name: index for index, name in enumerate(manifest.labels)}
    return fit_linear(
        list(train["text"]),
        np.array([ids[label] for label in train["label"]]),
        len(ids),
        groups=np.array(train["group"]),
        min_campaigns=run_config(run, manifest, "model").model.linear_min_campaigns,
    )
