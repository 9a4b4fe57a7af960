"""Evaluate a run folder: every number from SmsClassifier, so from what is deployed."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from train.command import UserError, file_written_whole
from train.config import EvaluationConfig, TransformName
from train.data.checksum import file_hash
from train.data.dedup import campaign_groups
from train.data.labels import LabelMap
from train.data.prepare import load_split
from train.data.sources import DEFAULT_COLUMNS, Columns, parse_input
from train.data.split import SPLITS, contamination
from train.data.text import preprocess
from train.evaluation.baseline import fit_baseline, predict_baseline
from train.evaluation.compare import bootstrap_intervals
from train.evaluation.metrics import SmsMetric, compute_metrics
from train.evaluation.report import render_report
from train.evaluation.robustness import measure_robustness
from train.evaluation.slices import slice_scores
from train.modeling.artifact import Manifest
from train.modeling.classifier import SmsClassifier
from train.runtime import DeviceChoice

logger = logging.getLogger(__name__)


class Labelled(NamedTuple):
    """A labelled set: preprocessed texts, label ids, campaigns, sources."""

    name: str
    texts: list[str]
    truth: NDArray[np.int64]
    groups: NDArray[np.int64]
    sources: list[str]


def evaluate_run(
    run: Path,
    section: EvaluationConfig,
    *,
    data: Path | None = None,
    device: DeviceChoice = "auto",
    columns: Columns = DEFAULT_COLUMNS,
    robustness: bool = False,
    trained_on: Sequence[TransformName] = (),
) -> Path:
    """Score a run on a split of its prepared data, or on the raw labelled file ``data``.

    Writes ``metrics.json``, ``predictions.parquet`` and ``report.html`` into
    ``RUN/eval/<split or file stem>/`` (the whole file name where the stem is a split's) and returns
    the path of the first. With ``robustness`` the evasion suite is run, too; ``trained_on`` names
    the transforms that the run was trained on.

    Raises:
        UserError: if the run, its data or the labels do not fit.
    """
    classifier = SmsClassifier.from_pretrained(run, device=device)
    manifest, labels = classifier.artifact.manifest, classifier.labels
    if data is None:
        labelled = _prepared(manifest, labels, section.split)
    else:
        labelled = _raw(data, columns, labels, mask=manifest.text.mask_pii)
    started = time.perf_counter()
    probabilities = classifier.predict_proba(labelled.texts)
    seconds = time.perf_counter() - started
    predicted = probabilities.argmax(axis=1)
    metrics = SmsMetric(keep_in_memory=True).compute(
        predictions=probabilities,
        references=labelled.truth,
        labels=list(labels.names),
        parents=list(labels.parents),
    )
    train = _train_split(manifest, labels)
    metrics = {
        "split": labelled.name,
        **metrics,
        "ci": _intervals(labelled, predicted, len(labels.names), section.bootstrap_samples),
        "baseline": _baseline(train, labelled, labels) if train and section.baseline else None,
        "contamination": contamination(labelled.texts, train.texts) if train else None,
        "slices": slice_scores(labelled.truth, predicted, "source", labelled.sources),
        "throughput": {
            "messages_per_second": len(labelled.texts) / seconds,
            "device": classifier.device.type,
            "precision": classifier.precision,
        },
    }
    if robustness:
        metrics["robustness"] = measure_robustness(
            classifier, labelled.texts, labelled.truth, trained_on
        )
    return _write(run, metrics, labelled, probabilities, classifier)


def _prepared(manifest: Manifest, labels: LabelMap, split: str) -> Labelled:
    """Load a split of the data that the run was trained on, and none other."""
    folder = Path(manifest.data["path"])
    table = load_split(folder, split)
    if file_hash(folder / f"{split}.parquet") != manifest.data["sha256"][f"{split}.parquet"]:
        raise UserError(
            f"expected the data that the run was trained on, found another {split}.parquet in "
            f"{folder}: restore it, train again, or give labelled messages with --data"
        )
    truth = _label_ids(table["label"], labels, f"{folder}/{split}.parquet")
    return Labelled(split, list(table["text"]), truth, np.array(table["group"]), table["source"])


def _raw(path: Path, columns: Columns, labels: LabelMap, *, mask: bool) -> Labelled:
    """Read a raw labelled file the way ``prepare`` does, keeping every row."""
    source = parse_input(str(path))
    rows = list(source.reader(source.path, columns))
    bad = [row for row in rows if row.problem or not row.text or not row.label]
    if bad or not rows:
        found = f"line {bad[0].line}: {bad[0].problem or 'no text or no label'}" if bad else "none"
        raise UserError(
            f"expected labelled messages in {path}, found {found}: mend it, or prepare the file, "
            "which sets such rows aside"
        )
    texts = [preprocess(row.text or "", mask=mask) for row in rows]
    truth = _label_ids([row.label or "" for row in rows], labels, str(path))
    # A file called test.csv must not take the place of the test split's evaluation.
    name = path.name if path.stem in SPLITS else path.stem
    return Labelled(name, texts, truth, campaign_groups(texts), [source.source] * len(rows))


def _label_ids(names: Sequence[str], labels: LabelMap, where: str) -> NDArray[np.int64]:
    unknown = sorted(set(names) - set(labels.names))
    if unknown:
        raise UserError(
            f"expected labels of the run ({', '.join(labels.names)}), found {', '.join(unknown)} "
            f"in {where}: train had none of them"
        )
    return np.array([labels.label2id[name] for name in names], dtype=np.int64)


def _train_split(manifest: Manifest, labels: LabelMap) -> Labelled | None:
    try:
        return _prepared(manifest, labels, "train")
    except UserError as error:
        logger.warning("warning: no baseline and no contamination: %s", error)
        return None


def _intervals(
    labelled: Labelled, predicted: NDArray[np.int64], size: int, draws: int
) -> dict[str, list[float]]:
    if not draws:
        return {}
    return bootstrap_intervals(labelled.truth, predicted, labelled.groups, size, draws=draws)


def _baseline(train: Labelled, labelled: Labelled, labels: LabelMap) -> dict[str, Any]:
    """Score the linear baseline by the same function as the model."""
    baseline = fit_baseline(train.texts, train.truth)
    predicted = predict_baseline(baseline, labelled.texts)
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


def _write(
    run: Path,
    metrics: dict[str, Any],
    labelled: Labelled,
    probabilities: NDArray[np.float64],
    classifier: SmsClassifier,
) -> Path:
    names = np.array(classifier.labels.names)
    table = pa.table(
        {
            "text": labelled.texts,
            "label": names[labelled.truth],
            "predicted": names[probabilities.argmax(axis=1)],
            "score": probabilities.max(axis=1),
            "scores": list(probabilities),
            "group": labelled.groups,
            "source": labelled.sources,
        }
    )
    manifest = classifier.artifact.manifest
    facts = {
        "path": run,
        "data": manifest.data["path"],
        "base_model": manifest.base_model["name_or_path"],
    }
    folder = run / "eval" / labelled.name
    with file_written_whole(folder / "predictions.parquet") as path:
        pq.write_table(table, path)
    with file_written_whole(folder / "report.html") as path:
        path.write_text(render_report(metrics, facts), "utf-8")
    with file_written_whole(folder / "metrics.json") as path:
        path.write_text(
            json.dumps(metrics, ensure_ascii=False, indent=2, allow_nan=False) + "\n", "utf-8"
        )
    return folder / "metrics.json"
