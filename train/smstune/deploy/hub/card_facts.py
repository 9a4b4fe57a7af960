"""What a model card says of a run: measured numbers and terms, gathered from the run folder."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from smstune import __version__
from smstune.data.prepared import provenance
from smstune.errors import UserError
from smstune.evaluation.report.report import headline_rows
from smstune.evaluation.scores.metrics import headline
from smstune.files import file_hash
from smstune.inference.backends.exported import EXPORTED, Export, load_export
from smstune.inference.decision import Calibration
from smstune.inference.fetch import is_repo_id
from smstune.inference.manifest import Manifest
from smstune.text.normalize import preprocess

#: Evaluations of the splits that prepare wrote; any other is of a set of one's own.
SPLITS = ("test", "validation")
#: A message as it arrives, invented, and so written in the card's code.
RAW_EXAMPLE = "【云禾银行】您的账户存在异常，请登录 http://yh-app.example/k2p 核实"
#: The sample's label that stands for a parent of its own (configs/labels/sample.yaml).
_OF_PARENT = {
    "normal": "bank_alert",
    "marketing": "retail",
    "fraud": "bank_phishing",
    "illegal": "gambling",
}
#: Labels with fewer test messages than this have hardly a number.
RARE = 20
_WORST_SLICES = 8
#: Slices of fewer messages say little.
_LEAST_SLICE = 10


def load_evaluations(run: Path, labels: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return ``metrics.json`` of every evaluation of a run, by its name.

    Raises:
        UserError: if one is not of the predictions that lie beside it.
    """
    evaluations = {}
    for path in sorted((run / "eval").glob("*/metrics.json")):
        name = path.parent.name
        evaluations[name] = json.loads(path.read_text("utf-8"))
        _require_predictions(run, name, evaluations[name], labels)
    return evaluations


def _require_predictions(
    run: Path, name: str, metrics: Mapping[str, Any], labels: Sequence[str]
) -> None:
    """Refuse an evaluation whose scores are not those of the predictions beside it."""
    path = run / "eval" / name / "predictions.parquet"
    bound = path.is_file() and metrics.get("predictions_sha256") == file_hash(path)
    if bound:
        table, ids = pq.read_table(path), {label: index for index, label in enumerate(labels)}
        truth, predicted = (
            np.array([ids[label] for label in table[column].to_pylist()])
            for column in ("label", "predicted")
        )
        scores = headline(truth, predicted)
        bound = all(math.isclose(metrics[key], scores[key], abs_tol=1e-9) for key in scores)
    if not bound:
        again = "" if name == "test" else f" --split {name}" if name in SPLITS else " --data FILE"
        raise _incomplete(
            "an evaluation with the predictions that its scores are of",
            f"eval/{name}/metrics.json without them or with others",
            f"smstune eval {run}{again}",
        )


def require_evaluation(
    run: Path,
    manifest: Manifest,
    evaluations: Mapping[str, Mapping[str, Any]],
    export: Export | None,
) -> None:
    """Refuse a run whose card would be incomplete.

    Raises:
        UserError: if the test split was not evaluated, or under another calibration, or without
            intervals, baseline or contamination; if the split is random and no set of one's own
            was evaluated. It names the command to run.
    """
    command = f"smstune eval {run}"
    if "test" not in evaluations:
        raise _incomplete("an evaluation of the test split", "none", command)
    metrics = evaluations["test"]
    calibration = _in_force(manifest, metrics, export).model_dump()
    points = [
        {key: value for key, value in point.items() if key != "observed"}
        for point in metrics["operating_points"]
    ]
    if points != calibration.pop("operating_points") or any(
        metrics["calibration"][key] != value for key, value in calibration.items()
    ):
        raise _incomplete("an evaluation of this calibration", "one of another", command)
    for key, what in (
        ("ci", "intervals: evaluation.bootstrap_samples=1000"),
        ("baseline", "the linear baseline: evaluation.baseline=true"),
        ("contamination", "the contamination: it takes the prepared data"),
    ):
        if not metrics[key]:
            name, _, mend = what.partition(": ")
            mend = f"{command} {mend}" if "=" in mend else f"{command} ({mend})"
            raise _incomplete(f"{name} in eval/test/metrics.json", "none", mend)
    if manifest.data["split"]["method"] == "random" and not set(evaluations) - set(SPLITS):
        raise _incomplete(
            "more than an evaluation under a random split, where near-copies of test messages "
            "were trained on",
            "no other",
            "smstune prepare ... --split group and train again, or evaluate messages "
            f"from elsewhere: {command} --data FILE",
        )


def _in_force(manifest: Manifest, metrics: Mapping[str, Any], export: Export | None) -> Calibration:
    """Return the calibration of what was evaluated: of the run, or of an exported form."""
    computed_by = metrics["throughput"]
    if export is None or computed_by["backend"] != "onnx":
        return manifest.calibration
    form = export.files.get(EXPORTED[computed_by["precision"]])
    return (form and form.calibration) or manifest.calibration


def card_facts(run: Path, manifest: Manifest, name: str) -> dict[str, Any]:
    """Return everything that the templates of the card fill in, in no language.

    ``name`` is the repository's id or the folder's name. ``manifest`` is the published one, whose
    data carries its terms.

    Raises:
        UserError: if the card would be incomplete.
    """
    evaluations = load_evaluations(run, manifest.labels)
    export = load_export(run, manifest)
    require_evaluation(run, manifest, evaluations, export)
    metrics = evaluations.pop("test")
    baseline = metrics["baseline"]["macro_f1"]
    low, high = metrics["ci"]["macro_f1"]
    return {
        "name": name,
        "on_hub": is_repo_id(name),
        "version": __version__,
        "manifest": manifest,
        "data": manifest.data,
        "metrics": metrics,
        "beats_baseline": "yes" if low > baseline else "no" if high < baseline else "not shown",
        "headline": headline_rows(metrics),
        "labels": label_rows(manifest, metrics),
        "rare": [key for key, row in metrics["per_label"].items() if row["support"] < RARE],
        "rare_below": RARE,
        "other_evaluations": evaluations,
        "slices": [row for row in metrics["slices"] if row["n"] >= _LEAST_SLICE][:_WORST_SLICES],
        "evasion": evasion_rows(metrics.get("robustness")),
        "onnx_file": onnx_file(export),
        "exported": exported_speed(export),
        "raw_example": RAW_EXAMPLE,
        "read_example": preprocess(RAW_EXAMPLE, mask=manifest.text.mask_pii),
    }


def published_data(manifest: Manifest) -> dict[str, Any]:
    """Return what the published manifest says of the data: its terms, and no local path.

    A run of an earlier version names no terms; they are those of the prepared folder, where it
    still lies unchanged. Without it ``sources`` and ``terms`` stay out: nobody knows.
    """
    data = dict(manifest.data)
    prepared = Path(data["path"]) / "manifest.json"
    if "terms" not in data and prepared.is_file():
        found = json.loads(prepared.read_text("utf-8"))
        data |= provenance(found) if found["sha256"] == data["sha256"] else {}
    return {**data, "path": Path(data["path"]).name}


def unclear_terms(data: Mapping[str, Any]) -> list[str]:
    """Return what stands against passing the model on: a line a set, none where all is clear."""
    if "terms" not in data:
        return ["where the data come from is not known"]
    known = {terms["name"] for terms in data["terms"]}
    words = {"no": "no commercial use", "unclear": "whether it may be used is unclear"}
    return [
        f"{terms['name']}: {words[terms['commercial_use']]}. {terms['licence']}"
        for terms in data["terms"]
        if terms["commercial_use"] != "allowed"
    ] + [
        f"{source}: a file of your own, whose terms only you know"
        for source in data["sources"]
        if source not in known
    ]


def label_rows(manifest: Manifest, metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return each label with its parent, scores, interval, baseline and an example.

    The example is a message of the bundled sample, as the model reads it; ``None`` where no label
    or parent of the sample bears the label's name.
    """
    bounds = metrics["ci"].get("per_label", {})
    return [
        {
            "name": name,
            "parent": parent,
            "example": sample_example(name),
            "ci": bounds.get(name, {}).get("f1"),
            "baseline": metrics["baseline"]["per_label"].get(name),
            **metrics["per_label"][name],
        }
        for name, parent in zip(manifest.labels, manifest.parents, strict=True)
    ]


def sample_example(label: str) -> str | None:
    """Return the bundled sample's first message of a label, masked; the name alone decides.

    A parent before a colon (``AD:Retail``) and capitals do not count. A parent of the sample's
    labels, such as ``fraud``, has a message of one of them.
    """
    name = label.rpartition(":")[2].lower()
    return _sample().get(_OF_PARENT.get(name, name))


@cache
def _sample() -> dict[str, str]:
    path = files("smstune.data.sample") / "messages.csv"
    found: dict[str, str] = {}
    with path.open("r", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            if row["label"] not in found:
                found[row["label"]] = preprocess(row["text"], mask=True)
    return found


def evasion_rows(suite: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the evasion suite by transform: macro-F1 at each strength, normaliser on, and off.

    ``recall`` is there where labels are named fraud or illegal.
    """
    if suite is None:
        return None
    strengths = sorted({row["strength"] for row in suite["rows"]})
    by_name: dict[str, dict[float, Mapping[str, Any]]] = {}
    for row in suite["rows"]:
        by_name.setdefault(row["transform"], {})[row["strength"]] = row
    return {
        "n": suite["n"],
        "clean": suite["clean"],
        "strengths": strengths,
        "rows": [
            {
                "transform": name,
                "trained_on": cells[strengths[-1]]["trained_on"],
                "macro_f1": [cells[strength]["on"]["macro_f1"] for strength in strengths],
                "recall": [cells[strength]["on"]["recall"] for strength in strengths],
                "off": cells[strengths[-1]]["off"]["macro_f1"],
            }
            for name, cells in by_name.items()
        ],
    }


def onnx_file(export: Export | None) -> str | None:
    """Return the graph that the card's code loads, the fp32 one first; ``None`` without export."""
    return f"onnx/{min(export.files, key=len)}" if export and export.files else None


def exported_speed(export: Export | None) -> list[dict[str, Any]]:
    """Return ``form, machine`` and what ``measure_latency`` found, a row for each form."""
    files = export.files.values() if export else ()
    # Forms exported by one command were measured in one run, so each file has the rows of all.
    rows = {
        form: {"form": form, "machine": file.machine, **row}
        for file in files
        for form, row in file.latency.items()
    }
    return list(rows.values())


def _incomplete(expected: str, found: str, command: str) -> UserError:
    return UserError(f"expected {expected} for the model card, found {found}: {command}")
