"""Speed of scoring on the CPU compared with transformers' pipeline, in one run on one machine.

Each method imports what it needs itself: the peak memory of int8 must not include torch's.
"""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from smstune.arrays import Ints
from smstune.benchmark.processes import call_in_fresh_process, peak_rss_gib
from smstune.config.choices import BackendChoice, Precision, PrecisionChoice
from smstune.deploy.batch.score_file import score_file
from smstune.errors import UserError
from smstune.files import temporary_folder
from smstune.inference.backends.exported import (
    EXPORTED,
    exported_form,
    how_to_export,
    load_export,
)
from smstune.inference.classifier import SmsClassifier
from smstune.inference.linear import LINEAR, LinearModel
from smstune.inference.manifest import Manifest, load_manifest
from smstune.inference.ngrams import LONGEST
from smstune.inference.run import load_run
from smstune.inference.run_config import run_config
from smstune.tables.options import TableOptions
from smstune.tables.read import read_rows
from smstune.tables.write import OutputTable

#: Scores a jsonl file of messages with a run; returns the seconds without loading.
ScoringMethod = Callable[[Path, Path], float]

_WARM_UP = 8
#: Scoring is repeated until so much time has passed: the linear model needs 20 ms for 500 messages.
_LEAST_SECONDS = 2.0

logger = logging.getLogger(__name__)


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


def benchmark_inference(
    run: Path, messages_file: Path | None = None, messages: int = 500
) -> list[ScoringSpeed]:
    """Score the same messages by each method in a fresh process, without the time for loading.

    They are a fixed random sample of at most ``messages``, from ``messages_file`` or by default
    from the run's test split. The pipeline gets them in memory; ``smstune`` works from file to file
    as ``predict`` does: reading, normalising, masking, tokenising, scoring, writing. It scores
    copies once, which the pipeline does not. If there are copies, another row shows its speed on
    the distinct messages; the difference is what copies save. The exported forms for the CPU are
    measured if the run has them, int8 also with its cascade. What torch computes runs on the GPU
    if there is one.

    Raises:
        UserError: if there is no message, or the run or its data is missing.
    """
    manifest = load_manifest(run)
    texts = fixed_sample(benchmark_messages(manifest, messages_file), messages)
    distinct = list(dict.fromkeys(_preprocessed(manifest, texts)))
    rows: list[ScoringSpeed] = []
    for name, (score, scored) in _methods(run, manifest, texts, distinct).items():
        seconds, peak = _in_a_fresh_process(score, run, scored)
        rate = len(scored) / seconds
        rows.append(
            ScoringSpeed(
                method=name,
                messages=len(scored),
                distinct=len(distinct),
                messages_per_second=rate,
                peak_rss_gib=peak,
                ratio=rate / (rows[0].messages_per_second if rows else rate),
            )
        )
    return rows


def exported_precisions(run: Path, manifest: Manifest) -> list[Precision]:
    """Return the number formats of a run's exported forms that a CPU can compute in."""
    export = load_export(run, manifest)
    files = export.files if export else {}
    return [name for name, file in EXPORTED.items() if file in files and name != "fp16"]


def _methods(
    run: Path, manifest: Manifest, texts: Sequence[str], distinct: Sequence[str]
) -> dict[str, tuple[ScoringMethod, Sequence[str]]]:
    """Return each method by its name, with the messages that it gets."""
    methods: dict[str, tuple[ScoringMethod, Sequence[str]]] = {
        "pipeline, defaults": (_pipeline, texts),
        f"pipeline, tuned: {_fastest()}, batches of 32 by length": (_tuned_pipeline, texts),
    }
    for name, score in _smstune_methods(run, manifest).items():
        methods[name] = (score, texts)
        if len(distinct) < len(texts):
            methods[f"{name}, distinct"] = (score, distinct)
    has_training_data = (Path(manifest.data.path) / "train.parquet").is_file()
    if has_training_data or LINEAR in manifest.sha256:
        methods["linear model"] = (_linear, texts)
        methods["linear model, scikit-learn"] = (_linear_by_scikit_learn, texts)
    return methods


def _smstune_methods(run: Path, manifest: Manifest) -> dict[str, ScoringMethod]:
    methods: dict[str, ScoringMethod] = {"smstune torch": partial(_smstune, backend="torch")}
    precisions = exported_precisions(run, manifest)
    for precision in precisions:
        methods[f"smstune {precision}"] = partial(_smstune, backend="onnx", precision=precision)
    if "int8" not in precisions:
        logger.info("int8 is not measured, the run has none: %s", how_to_export("int8"))
        return methods
    _, calibration = exported_form(run, manifest, "int8")
    cascade = calibration.cascade
    if cascade is None:
        logger.info(
            "int8 has no cascade to measure: add one with "
            "`smstune eval %s --calibrate evaluation.cascade={}`",
            run,
        )
    elif cascade.threshold is None:
        logger.info("int8 has no cascade to measure: %s", cascade.reason)
    else:
        methods["smstune int8, cascade"] = partial(
            _smstune, backend="onnx", precision="int8", cascade=True
        )
    return methods


def benchmark_messages(manifest: Manifest, messages_file: Path | None) -> list[str]:
    """Return the messages of ``messages_file``, by default of the run's test split.

    Raises:
        UserError: if there is no message, or the data is missing.
    """
    if messages_file is None:
        from smstune.data.prepared import load_split

        return list(load_split(Path(manifest.data.path), "test")["text"])
    texts = _read(messages_file)
    if not texts:
        raise UserError(
            "expected messages in {messages_file}, found none", messages_file=messages_file
        )
    return texts


def fixed_sample(texts: Sequence[str], size: int) -> list[str]:
    """Return at most ``size`` of ``texts``, drawn at random but always the same ones.

    The first ones of a file may all be of one label, and so of similar length.
    """
    return random.Random(0).sample(texts, min(size, len(texts)))


def _preprocessed(manifest: Manifest, texts: Sequence[str]) -> list[str]:
    return [manifest.text.preprocess(text) for text in texts]


def _in_a_fresh_process(
    score: ScoringMethod, run: Path, texts: Sequence[str]
) -> tuple[float, float]:
    """Return the seconds of a method and the peak memory of its process in GiB."""
    with temporary_folder() as folder:
        source = folder / "messages.jsonl"
        lines = [json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts]
        source.write_text("".join(lines), "utf-8")
        return call_in_fresh_process(_measured, score, run, source)


def _measured(score: ScoringMethod, run: Path, source: Path) -> tuple[float, float]:
    seconds = score(run, source)
    return seconds, peak_rss_gib()


def _seconds_per_pass(score: Callable[[], object]) -> float:
    """Return the mean time of ``score``, called again until enough time has passed."""
    started = time.perf_counter()
    passes = 0
    while (passed := time.perf_counter() - started) < _LEAST_SECONDS:
        score()
        passes += 1
    return passed / passes


def _read(source: Path) -> list[str]:
    return [row.text or "" for row in read_rows(source, TableOptions(labelled=False))]


def _fastest() -> Precision:
    """Return the faster number format of the pipeline: bf16 emulated is far slower than fp32."""
    from smstune.inference.backends.torch_devices import multiplies_bf16, pick_device

    return "bf16" if multiplies_bf16(pick_device()) else "fp32"


def _pipeline(run: Path, source: Path) -> float:
    return _pipeline_seconds(run, _read(source))


def _tuned_pipeline(run: Path, source: Path) -> float:
    from smstune.inference.backends.torch_backend import DTYPES

    texts = sorted(_read(source), key=len)
    return _pipeline_seconds(run, texts, dtype=DTYPES[_fastest()], batch_size=32)


def _pipeline_seconds(run: Path, texts: list[str], **options: Any) -> float:  # noqa: ANN401
    from transformers import pipeline

    from smstune.inference.backends.torch_devices import hide_loading_bars, pick_device

    hide_loading_bars()
    length = load_manifest(run).max_length
    classify: Any = pipeline("text-classification", model=str(run), device=pick_device(), **options)
    classify(texts[:_WARM_UP], truncation=True, max_length=length)
    return _seconds_per_pass(lambda: classify(texts, truncation=True, max_length=length))


def _smstune(
    run: Path,
    source: Path,
    *,
    backend: BackendChoice,
    precision: PrecisionChoice = "auto",
    cascade: bool = False,
) -> float:
    classifier = SmsClassifier.from_pretrained(
        run,
        device="auto" if backend == "torch" else "cpu",
        backend=backend,
        precision=precision,
    )
    if not cascade:
        classifier = classifier.without_cascade()
    classifier.predict(_read(source)[:_WARM_UP])
    output = source.with_name("labelled.jsonl")
    return _seconds_per_pass(lambda: score_file(classifier, source, OutputTable(output)))


def _linear(run: Path, source: Path) -> float:
    manifest = load_manifest(run)
    return _answering_seconds(_linear_model(run, manifest).answers, manifest, source)


def _linear_by_scikit_learn(run: Path, source: Path) -> float:
    """Score as scikit-learn does, by the same model."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    manifest = load_manifest(run)
    linear = _linear_model(run, manifest)
    vectorizer = TfidfVectorizer(
        analyzer="char", ngram_range=(1, LONGEST), sublinear_tf=True, vocabulary=linear.vocabulary
    )
    vectorizer.idf_ = linear.idf
    weights = linear.weights.astype(np.float64)

    def answers(texts: Sequence[str]) -> Ints:
        scores = vectorizer.transform(texts) @ weights + linear.intercepts
        ids: Ints = scores.argmax(axis=1)
        return ids

    return _answering_seconds(answers, manifest, source)


def _answering_seconds(
    answers: Callable[[Sequence[str]], Ints], manifest: Manifest, source: Path
) -> float:
    """Return the seconds to read, preprocess and answer the messages of a file."""
    answers(_preprocessed(manifest, _read(source)[:_WARM_UP]))
    return _seconds_per_pass(lambda: answers(_preprocessed(manifest, _read(source))))


def _linear_model(run: Path, manifest: Manifest) -> LinearModel:
    """Return the run's linear model, fitted to its training data if it has none."""
    linear = load_run(run, manifest=manifest, weights=False).linear
    if linear is not None:
        return linear
    from smstune.data.prepared import load_split
    from smstune.modeling.fit_linear import fit_linear

    train = load_split(Path(manifest.data.path), "train")
    ids = {name: index for index, name in enumerate(manifest.labels)}
    return fit_linear(
        list(train["text"]),
        np.array([ids[label] for label in train["label"]]),
        len(ids),
        groups=np.array(train["group"]),
        min_campaigns=run_config(run, manifest, "model").model.linear_min_campaigns,
    )
