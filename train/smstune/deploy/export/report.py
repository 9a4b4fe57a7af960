"""How fast the exported forms are, and the page that says what was exported."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from markupsafe import Markup

from smstune.inference.backends.exported import Export, ExportedFile
from smstune.inference.classifier import SmsClassifier
from smstune.inference.decision import Calibration
from smstune.reporting.format import show
from smstune.reporting.html import Section, table
from smstune.reporting.markdown import render_markdown

_SINGLE = 200
_BATCH = 32
_BATCHES = 8


def measure_latency(
    forms: Mapping[str, SmsClassifier], texts: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Return how fast each form answers, from text to probabilities, the forms taking turns.

    ``p50_ms``, ``p95_ms`` and ``p99_ms`` of 200 calls with one message, ``messages_per_second`` of
    8 calls with 32, in the order of ``texts``. Messages are used again where there are fewer.
    """
    single = list(islice(cycle(texts), _SINGLE))
    some = list(islice(cycle(texts), _BATCH * _BATCHES))
    batches = [some[start : start + _BATCH] for start in range(0, len(some), _BATCH)]
    for classifier in forms.values():
        classifier.predict_proba(batches[0])
    one: dict[str, list[float]] = {name: [] for name in forms}
    many: dict[str, list[float]] = {name: [] for name in forms}
    for calls, seconds in (([[text] for text in single], one), (batches, many)):
        for call in calls:
            for name, classifier in forms.items():
                started = time.perf_counter()
                classifier.predict_proba(call)
                seconds[name].append(time.perf_counter() - started)
    found = {}
    for name in forms:
        p50, p95, p99 = (1000 * np.quantile(one[name], [0.5, 0.95, 0.99])).tolist()
        speed = len(some) / sum(many[name])
        found[name] = {"p50_ms": p50, "p95_ms": p95, "p99_ms": p99, "messages_per_second": speed}
    return found


def render_export(run: Path, export: Export) -> str:
    """Return ``report.md`` of an export: of each file its gate and its speed."""
    sections = [section for name, file in export.files.items() for section in _sections(name, file)]
    summary = (
        f"Exported from weights with SHA-256 {export.weights_sha256}. Numbers and hashes: "
        "export.json."
    )
    return render_markdown(f"ONNX forms of {run}", summary, sections)


def _sections(name: str, file: ExportedFile) -> list[Section]:
    kept = f" In fp32 stayed: {', '.join(file.keep_fp32)}." if file.keep_fp32 else ""
    facts = f"Format {file.format}, {file.bytes / 1e6:.1f} MB, SHA-256 {file.sha256}.{kept}"
    half = (
        " The gate computed on a CPU, where fp16 is stored and the products are fp32; the speed "
        "below says nothing of a GPU, which this form is for."
    )
    speed = [
        [form, *(f"{row[key]:.1f}" for key in ("p50_ms", "p95_ms", "p99_ms")),
         f"{row['messages_per_second']:,.0f}"]
        for form, row in file.latency.items()
    ]  # fmt: skip
    tables = [_gate_table(file), *([_point_table(file.calibration)] if file.calibration else [])]
    head = ["", "p50, ms", "p95, ms", "p99, ms", f"messages/s at {_BATCH}"]
    return [
        Section(name, facts + (half if file.format == "onnx-fp16" else ""), tables),
        Section(f"Speed of {name}", f"{file.machine}; text to answer.", [table(head, speed)]),
    ]


def _point_table(calibration: Calibration) -> Markup:
    head = ["operating point", "budget", "threshold of this form", "its bound on validation"]
    rows = [
        [
            point.name,
            ", ".join(f"{kind} {value:g}" for kind, value in point.budget.items()),
            show(point.threshold),
            show(point.validation.get("false_positive_bound")),
        ]
        for point in calibration.operating_points
    ]
    return table(head, rows)


def _gate_table(file: ExportedFile) -> Markup:
    if "parity" in file.gate:
        rows = [
            [row["tokens"], row["batch"], row["messages"], f"{row['largest_difference']:.1e}"]
            for row in file.gate["parity"]
        ]
        return table(["tokens", "batch", "messages", "largest difference of a logit"], rows)
    rows = [
        [row["name"], *(f"{row[key]:.4f}" for key in ("original", "exported", "budget"))]
        for row in file.gate["quality"]
    ]
    return table(["validation", "the run, fp32", "this form", "budget of the loss"], rows)
