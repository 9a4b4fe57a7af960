"""Evaluate a run folder: every number from SmsClassifier, so from what is deployed."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy.special import softmax

from smstune.config.schema import Config, EvaluationConfig
from smstune.data.splits.contamination import contamination
from smstune.errors import UserError
from smstune.evaluation.calibration.fit import check_section
from smstune.evaluation.calibration.operating_points import observed_points
from smstune.evaluation.labelled import Judged, Labelled, load_prepared, load_raw
from smstune.evaluation.mistakes.attribution import explain_errors
from smstune.evaluation.mistakes.mistakes import telling_errors
from smstune.evaluation.report.report import render_report
from smstune.evaluation.report.training_curves import training_section
from smstune.evaluation.robustness.suite import measure_robustness
from smstune.evaluation.scores.bootstrap import bootstrap_scores, intervals
from smstune.evaluation.scores.costs import cost_matrix
from smstune.evaluation.scores.gates import check_gates
from smstune.evaluation.scores.metrics import (
    SmsMetric,
    compute_metrics,
    expected_calibration_error,
    reliability,
)
from smstune.evaluation.scores.ranking import measured_groups
from smstune.evaluation.scores.slices import slice_scores
from smstune.files import file_hash, file_written_whole, write_json
from smstune.inference.backends.torch_devices import machine_name
from smstune.inference.classifier import SmsClassifier
from smstune.inference.decision import decide
from smstune.inference.labels import LabelMap
from smstune.inference.linear import fit_linear
from smstune.inference.manifest import Manifest
from smstune.progress import Progress
from smstune.tables.columns import Columns

logger = logging.getLogger(__name__)


def evaluate_run(
    classifier: SmsClassifier,
    config: Config,
    *,
    data: Path | None = None,
    columns: Columns = Columns(),
    robustness: bool = False,
    explain: int = 0,
) -> Path:
    """Score a run on a split of its prepared data, or on the raw labelled file ``data``.

    ``config`` is the run's configuration, whose section ``evaluation`` says how.

    Writes ``metrics.json``, ``predictions.parquet``, ``report.html`` and ``report.md`` into
    ``RUN/eval/<split or file stem>/`` (the whole file name where the stem is a split's) and returns
    the path of the first. With ``robustness`` the evasion suite is run, too; ``explain`` says how
    many mistakes and how many hits get token attributions.

    Raises:
        UserError: if the run, its data or the labels do not fit.
    """
    section = config.evaluation
    manifest, labels = classifier.artifact.manifest, classifier.labels
    check_section(section, labels)
    labelled = _labelled(classifier, section, data, columns)
    started = time.perf_counter()
    distinct = len(set(labelled.texts))
    with Progress(f"scoring {labelled.name}", distinct, "distinct messages") as progress:
        probabilities = classifier.predict_proba(
            labelled.texts, preprocessed=True, progress=progress
        )
    seconds = time.perf_counter() - started
    predicted = classifier.answers(probabilities)
    judged = Judged(probabilities, predicted, labelled.truth, labelled.groups)
    metrics = SmsMetric(keep_in_memory=True).compute(
        predictions=probabilities,
        references=labelled.truth,
        labels=list(labels.names),
        parents=list(labels.parents),
        label_bias=manifest.calibration.label_bias,
        groups=section.groups,
        costs=section.costs,
    )
    train = _train_split(manifest, labels)
    metrics = {
        "split": labelled.name,
        **metrics,
        "ci": _intervals(judged, labels, section),
        "baseline": _baseline(train, labelled, labels) if train and section.baseline else None,
        "contamination": contamination(labelled.texts, train.texts) if train else None,
        "slices": slice_scores(
            labelled,
            judged,
            labels,
            draws=section.bootstrap_samples,
            twins=section.hard_twins,
        ),
        "operating_points": observed_points(probabilities, labelled, classifier),
        "calibration": _calibration(probabilities, labelled, classifier),
        "throughput": _throughput(classifier, len(labelled.texts) / seconds),
    }
    if robustness:
        metrics["robustness"] = _robustness(config, classifier, labelled)
    if explain:
        metrics["explanations"] = explain_errors(classifier, labelled, judged, explain)
    metrics["gates"] = check_gates(metrics, tuple(section.gates))
    return _write(metrics, labelled, judged, classifier)


def _throughput(classifier: SmsClassifier, messages_per_second: float) -> dict[str, Any]:
    return {
        "messages_per_second": messages_per_second,
        "device": classifier.device.type,
        "machine": machine_name(classifier.device),
        "backend": classifier.backend.name,
        "precision": classifier.precision,
    }


def _labelled(
    classifier: SmsClassifier, section: EvaluationConfig, data: Path | None, columns: Columns
) -> Labelled:
    manifest, labels = classifier.artifact.manifest, classifier.labels
    if data is None:
        return load_prepared(manifest, labels, section.split, section.slices)
    mask = manifest.text.mask_pii
    return load_raw(data, labels, mask=mask, columns=columns, slices=section.slices)


def _robustness(config: Config, classifier: SmsClassifier, labelled: Labelled) -> dict[str, Any]:
    augment = config.data.augment
    trained_on = augment.transforms if augment else ()
    return measure_robustness(classifier, labelled.texts, labelled.truth, trained_on)


def _train_split(manifest: Manifest, labels: LabelMap) -> Labelled | None:
    try:
        return load_prepared(manifest, labels, "train")
    except UserError as error:
        logger.warning("warning: no baseline and no contamination: %s", error)
        return None


def _intervals(judged: Judged, labels: LabelMap, section: EvaluationConfig) -> dict[str, Any]:
    if not section.bootstrap_samples:
        return {}
    drawn = bootstrap_scores(
        judged,
        labels,
        draws=section.bootstrap_samples,
        ranked=measured_groups(labels, section.groups),
        costs=cost_matrix(section.costs, labels) if section.costs else None,
    )
    return intervals(drawn, judged, labels)


def _baseline(train: Labelled, labelled: Labelled, labels: LabelMap) -> dict[str, Any]:
    """Score the linear baseline by the same function as the model."""
    linear = fit_linear(train.texts, train.truth, len(labels.names))
    predicted = linear.answers(labelled.texts)
    # A hard answer as a probability: the scores that need more than the label are left out.
    scores = compute_metrics(np.eye(len(labels.names))[predicted], labelled.truth, labels)
    kept = ("accuracy", "macro_f1", "weighted_f1")
    return {
        **{name: scores[name] for name in kept},
        "per_label": {name: row["f1"] for name, row in scores["per_label"].items()},
        **(
            {"coarse": {name: scores["coarse"][name] for name in kept}}
            if "coarse" in scores
            else {}
        ),
    }


def _calibration(
    probabilities: NDArray[np.float64], labelled: Labelled, classifier: SmsClassifier
) -> dict[str, Any]:
    """Return the calibration in force, and this set's reliability without and with it."""
    calibration = classifier.artifact.manifest.calibration
    # The temperature undone, the linear model kept; the logits' common part does not matter.
    logits = np.log(probabilities.clip(1e-300)) * calibration.temperature
    found: dict[str, Any] = calibration.model_dump(exclude={"operating_points"})
    for name, scores, answers in (
        ("before", softmax(logits, axis=1), logits.argmax(axis=1)),
        ("after", probabilities, classifier.answers(probabilities)),
    ):
        confidence = scores[np.arange(len(answers)), answers]
        right = answers == labelled.truth
        found[name] = {
            "ece": expected_calibration_error(confidence, right),
            "reliability": reliability(confidence, right),
        }
    return found


def _write(
    metrics: dict[str, Any],
    labelled: Labelled,
    judged: Judged,
    classifier: SmsClassifier,
) -> Path:
    run = classifier.artifact.path
    names, (probabilities, answers) = np.array(classifier.labels.names), judged[:2]
    points = classifier.artifact.manifest.calibration.operating_points
    decisions = decide(probabilities, points, classifier.labels)
    table = pa.table(
        {
            "text": labelled.texts,
            "label": names[labelled.truth],
            "predicted": names[answers],
            "score": probabilities[np.arange(len(answers)), answers],
            "scores": list(probabilities),
            "decision": pa.array(decisions, pa.string()),
            "group": labelled.groups,
            "source": labelled.columns["source"],
        }
    )
    manifest = classifier.artifact.manifest
    facts = {
        "path": run,
        "data": manifest.data["path"],
        "data_hash": manifest.data["sha256"].get(f"{labelled.name}.parquet"),
        "base_model": manifest.base_model["name_or_path"],
    }
    folder = run / "eval" / labelled.name
    with file_written_whole(folder / "predictions.parquet") as path:
        pq.write_table(table, path)
        # A model card takes no scores that are not of these predictions.
        metrics = {**metrics, "predictions_sha256": file_hash(path)}
    errors = telling_errors(labelled.texts, judged, classifier.labels)
    pages = render_report(metrics, facts, errors, training_section(run))
    for name, text in zip(("report.html", "report.md"), pages, strict=True):
        with file_written_whole(folder / name) as path:
            path.write_text(text, "utf-8")
    write_json(folder / "metrics.json", metrics)
    return folder / "metrics.json"
