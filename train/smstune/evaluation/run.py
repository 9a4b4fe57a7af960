"""Evaluate a run folder: every number from SmsClassifier, so from what is deployed."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from scipy.special import softmax

from smstune.config.schema import Config, EvaluationConfig
from smstune.data.splits.contamination import contamination
from smstune.errors import UserError
from smstune.evaluation.calibration.fit import check_section
from smstune.evaluation.calibration.operating_points import observed_points
from smstune.evaluation.evaluated import (
    EvaluatedSet,
    LabelledSet,
    evaluate_set,
    set_name,
    with_answers,
)
from smstune.evaluation.labelled import load_prepared, load_raw
from smstune.evaluation.metrics import CalibrationFacts, Metrics
from smstune.evaluation.mistakes.attribution import explain_errors
from smstune.evaluation.mistakes.mistakes import instructive_answers
from smstune.evaluation.report.report import EvaluatedRun, evaluation_report
from smstune.evaluation.report.training_curves import training_section
from smstune.evaluation.robustness.suite import Robustness, measure_robustness
from smstune.evaluation.scores.bootstrap import bootstrap_scores, intervals
from smstune.evaluation.scores.costs import cost_matrix
from smstune.evaluation.scores.gates import check_gates
from smstune.evaluation.scores.metrics import (
    SmsMetric,
    compute_scores,
    expected_calibration_error,
    reliability,
)
from smstune.evaluation.scores.ranking import measured_groups
from smstune.evaluation.scores.results import (
    Baseline,
    BaselineParents,
    Intervals,
    Reliability,
    Scores,
    Throughput,
)
from smstune.evaluation.scores.slices import slice_scores
from smstune.files import file_hash, file_written_whole, write_json
from smstune.inference.backends.torch_devices import machine_name
from smstune.inference.classifier import SmsClassifier
from smstune.inference.decision import decide
from smstune.inference.labels import LabelMap
from smstune.inference.manifest import Manifest
from smstune.language import Message, reader_language
from smstune.modeling.fit_linear import fit_linear
from smstune.progress import Progress
from smstune.reporting.html import render_html
from smstune.reporting.markdown import render_markdown
from smstune.reporting.titles import report_with_titles
from smstune.tables.options import TableOptions

logger = logging.getLogger(__name__)


def evaluate_run(
    classifier: SmsClassifier,
    config: Config,
    *,
    data: Path | None = None,
    options: TableOptions = TableOptions(),
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
    manifest, labels = classifier.run.manifest, classifier.labels
    check_section(section, labels)
    labelled = _labelled(classifier, section, data, options)
    started = time.perf_counter()
    n_distinct = len(set(labelled.texts))
    stage = Message("scoring {set_name}", set_name=set_name(labelled.name))
    with Progress(stage, n_distinct, Message("distinct messages")) as progress:
        evaluated = evaluate_set(classifier, labelled, progress)
    seconds = time.perf_counter() - started
    scores = Scores.model_validate(
        SmsMetric(keep_in_memory=True).compute(
            predictions=evaluated.probabilities,
            references=evaluated.truth,
            labels=list(labels.names),
            parents=list(labels.parents),
            label_bias=manifest.calibration.label_bias,
            groups=section.groups,
            costs=section.costs,
        )
    )
    train = _train_split(manifest, labels)
    slices = slice_scores(
        evaluated, labels, draws=section.bootstrap_samples, twins=section.hard_twins
    )
    on_request: dict[str, Any] = {}
    if robustness:
        on_request["robustness"] = _robustness(config, classifier, labelled)
    if explain:
        on_request["explanations"] = explain_errors(classifier, evaluated, explain)
    metrics = Metrics(
        **scores.given(),
        split=evaluated.name,
        ci=_intervals(evaluated, labels, section),
        baseline=_baseline(train, labelled, labels, config) if train and section.baseline else None,
        contamination=contamination(labelled.texts, train.texts) if train else None,
        slices=slices,
        operating_points=observed_points(evaluated, manifest.calibration.operating_points, labels),
        calibration=_calibration_facts(evaluated, classifier),
        throughput=_throughput(classifier, len(labelled.texts) / seconds),
        gates=check_gates(section.gates, scores, slices),
        **on_request,
    )
    return _write(metrics, evaluated, classifier)


def _throughput(classifier: SmsClassifier, messages_per_second: float) -> Throughput:
    return Throughput(
        messages_per_second=messages_per_second,
        device=classifier.device,
        machine=machine_name(torch.device(classifier.device)),
        backend=classifier.backend.name,
        precision=classifier.precision,
    )


def _labelled(
    classifier: SmsClassifier, section: EvaluationConfig, data: Path | None, options: TableOptions
) -> LabelledSet:
    manifest, labels = classifier.run.manifest, classifier.labels
    if data is None:
        return load_prepared(manifest, labels, section.split, section.slices)
    return load_raw(data, labels, manifest.text, options=options, slices=section.slices)


def _robustness(config: Config, classifier: SmsClassifier, labelled: LabelledSet) -> Robustness:
    augment = config.data.augment
    trained_on = augment.transforms if augment else ()
    return measure_robustness(classifier, labelled.texts, labelled.truth, trained_on)


def _train_split(manifest: Manifest, labels: LabelMap) -> LabelledSet | None:
    try:
        return load_prepared(manifest, labels, "train")
    except UserError as error:
        logger.warning("warning: no baseline and no contamination: %s", error)
        return None


def _intervals(evaluated: EvaluatedSet, labels: LabelMap, section: EvaluationConfig) -> Intervals:
    if not section.bootstrap_samples:
        return Intervals()
    drawn = bootstrap_scores(
        evaluated,
        labels,
        draws=section.bootstrap_samples,
        ranked=measured_groups(labels, section.groups),
        costs=cost_matrix(section.costs, labels) if section.costs else None,
    )
    return intervals(drawn, evaluated, labels)


def _baseline(
    train: LabelledSet, labelled: LabelledSet, labels: LabelMap, config: Config
) -> Baseline:
    """Score the linear baseline by the same function as the model."""
    linear = fit_linear(
        train.texts,
        train.truth,
        len(labels.names),
        groups=train.groups,
        min_campaigns=config.model.linear_min_campaigns,
    )
    answers = linear.answers(labelled.texts)
    # One-hot probabilities: only scores that depend on the answer alone are reported.
    scores = compute_scores(
        np.eye(len(labels.names))[answers],
        labelled.truth,
        labels,
        groups=config.evaluation.groups,
    )
    optional: dict[str, BaselineParents] = {}
    if scores.coarse is not None:
        optional["coarse"] = BaselineParents(
            accuracy=scores.coarse.accuracy,
            macro_f1=scores.coarse.macro_f1,
            weighted_f1=scores.coarse.weighted_f1,
        )
    return Baseline(
        accuracy=scores.accuracy,
        macro_f1=scores.macro_f1,
        weighted_f1=scores.weighted_f1,
        per_label={name: row.f1 for name, row in scores.per_label.items()},
        group_macro_f1=scores.group_macro_f1,
        **optional,
    )


def _calibration_facts(evaluated: EvaluatedSet, classifier: SmsClassifier) -> CalibrationFacts:
    calibration = classifier.run.manifest.calibration
    early = classifier.answered_early(evaluated.texts)
    temperatures = np.full(len(early), calibration.temperature)
    of_cascade: dict[str, Any] = {}
    if calibration.cascade is not None:
        temperatures[early] = calibration.cascade.temperature
        of_cascade = {"cascade": calibration.cascade, "early_share": float(early.mean())}
    # Undo the temperatures; logits are recovered up to a constant, which softmax ignores. The
    # linear model is still included.
    logits = np.log(evaluated.probabilities.clip(1e-300)) * temperatures[:, None]
    return CalibrationFacts(
        temperature=calibration.temperature,
        linear_weight=calibration.linear_weight,
        label_bias=calibration.label_bias,
        checkpoints_compared=calibration.checkpoints_compared,
        fitted_on=calibration.fitted_on,
        **of_cascade,
        before=_reliability(
            with_answers(evaluated, softmax(logits, axis=1), logits.argmax(axis=1))
        ),
        after=_reliability(evaluated),
    )


def _reliability(evaluated: EvaluatedSet) -> Reliability:
    return Reliability(
        ece=expected_calibration_error(evaluated.confidence, evaluated.right),
        reliability=reliability(evaluated.confidence, evaluated.right),
    )


def _write(metrics: Metrics, evaluated: EvaluatedSet, classifier: SmsClassifier) -> Path:
    manifest, run = classifier.run.manifest, classifier.run.path
    names, probabilities = np.array(classifier.labels.names), evaluated.probabilities
    points = manifest.calibration.operating_points
    decisions = decide(probabilities, points, classifier.labels)
    table = pa.table(
        {
            "text": evaluated.texts,
            "label": names[evaluated.truth],
            "predicted": names[evaluated.answers],
            "score": evaluated.confidence,
            "scores": list(probabilities),
            "decision": pa.array(decisions, pa.string()),
            "group": evaluated.groups,
            "source": evaluated.columns["source"],
        }
    )
    folder = run / "eval" / evaluated.name
    with file_written_whole(folder / "predictions.parquet") as path:
        pq.write_table(table, path)
        # The model card checks with this hash that the scores belong to the predictions.
        metrics = metrics.model_copy(update={"predictions_sha256": file_hash(path)})
    report = evaluation_report(
        metrics,
        EvaluatedRun(
            path=run,
            data=manifest.data.path,
            data_hash=manifest.data.sha256.get(f"{evaluated.name}.parquet"),
            base_model=manifest.base_model["name_or_path"],
        ),
        instructive_answers(evaluated, classifier.labels),
        training_section(run),
    )
    report = report_with_titles(report, classifier.labels.shown_names(reader_language()))
    for name, text in (
        ("report.html", render_html(report)),
        ("report.md", render_markdown(report)),
    ):
        with file_written_whole(folder / name) as path:
            path.write_text(text, "utf-8")
    write_json(folder / "metrics.json", metrics.to_json())
    return folder / "metrics.json"
