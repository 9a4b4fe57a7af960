"""How fast the exported forms are, and the report on what was exported."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path

import numpy as np

from smstune.inference.backends.exported import Export, ExportedFile, Latency
from smstune.inference.cascade import Cascade
from smstune.inference.classifier import SmsClassifier
from smstune.inference.decision import Calibration
from smstune.language import Message
from smstune.progress import progress
from smstune.reporting.document import Report, Section, Table, Text
from smstune.reporting.format import share_text, show

_SINGLE = 200
_BATCH = 32
_BATCHES = 8
#: A stage of timing ends after so long,
_SECONDS = 60
#: but not before this part of its calls.
_LEAST_CALLS = 10


def measure_latency(forms: Mapping[str, SmsClassifier], texts: Sequence[str]) -> dict[str, Latency]:
    """Return how fast each form answers, the forms taking turns.

    200 calls with one message and 8 with 32, in the order of ``texts``, which are repeated if there
    are fewer; on a slow machine as many as fit into a minute, but at least 20 and 1.
    """
    single = list(islice(cycle(texts), _SINGLE))
    batched = list(islice(cycle(texts), _BATCH * _BATCHES))
    batches = [batched[start : start + _BATCH] for start in range(0, len(batched), _BATCH)]
    for classifier in forms.values():
        classifier.predict_proba(batches[0])
    stage = Message("timing single messages")
    single_seconds = _time_calls(stage, forms, [[text] for text in single])
    batch_seconds = _time_calls(Message("timing batches of {batch}", batch=_BATCH), forms, batches)
    latency = {}
    for name in forms:
        p50, p95, p99 = (1000 * np.quantile(single_seconds[name], [0.5, 0.95, 0.99])).tolist()
        rate = _BATCH * len(batch_seconds[name]) / sum(batch_seconds[name])
        latency[name] = Latency(p50_ms=p50, p95_ms=p95, p99_ms=p99, messages_per_second=rate)
    return latency


def _time_calls(
    stage: str, forms: Mapping[str, SmsClassifier], calls: Sequence[Sequence[str]]
) -> dict[str, list[float]]:
    """Return the seconds that each form takes for each call, by the form's name."""
    seconds: dict[str, list[float]] = {name: [] for name in forms}
    end = time.monotonic() + _SECONDS
    for number, texts in enumerate(progress(calls, stage, len(calls), Message("calls"))):
        if number >= len(calls) // _LEAST_CALLS and time.monotonic() > end:
            break
        for name, classifier in forms.items():
            started = time.perf_counter()
            classifier.predict_proba(texts)
            seconds[name].append(time.perf_counter() - started)
    return seconds


def export_report(run: Path, export: Export) -> Report:
    """Return the content of ``report.md``: the gate and the speed of each exported file."""
    opening = [
        Message("The run was exported as {names}.", names=", ".join(export.files)),
        Message(
            "Each file passed its gate: in fp32 the logits equal torch's to 1e-4, in fewer bits "
            "the scores on validation stay within their budgets."
        ),
        *_fastest(export),
        Message(
            "The exported weights have SHA-256 {sha256}; export.json has all numbers and hashes.",
            sha256=export.weights_sha256,
        ),
    ]
    sections = [_section(name, file) for name, file in export.files.items()]
    title = Message("ONNX forms of {run}", run=run.name)
    return Report(title, opening, None, [*sections, *_speed_sections(export)])


def _fastest(export: Export) -> list[str]:
    """Return the sentence on the fastest form, if any was timed."""
    latency = {
        form: measured for file in export.files.values() for form, measured in file.latency.items()
    }
    if not latency:
        return []
    form = min(latency, key=lambda name: latency[name].p50_ms)
    return [
        Message(
            "The fastest answer to one message takes {ms:.1f} ms (median) with {form}.",
            ms=latency[form].p50_ms,
            form=form,
        )
    ]


def _section(name: str, file: ExportedFile) -> Section:
    facts = [
        Message(
            "Format {format}, {size:.1f} MB, SHA-256 {sha256}.",
            format=file.format,
            size=file.bytes / 1e6,
            sha256=file.sha256,
        )
    ]
    if file.keep_fp32:
        facts.append(
            Message("These layers stayed in fp32: {layers}.", layers=", ".join(file.keep_fp32))
        )
    if file.format == "onnx-fp16":
        facts.append(
            Message(
                "The gate and the speed were measured on a CPU, which stores fp16 and multiplies "
                "in fp32: they do not show how fast this file is on a GPU, for which it is made."
            )
        )
    if file.calibration and file.calibration.cascade:
        facts.append(_cascade_fact(file.calibration.cascade))
    tables = [_gate_table(file)]
    if file.calibration and file.calibration.operating_points:
        tables.append(_point_table(file.calibration))
    return Section(name, facts[0], [*map(Text, facts[1:]), *tables])


def _cascade_fact(cascade: Cascade) -> Message:
    if cascade.threshold is None or cascade.validation is None:
        return Message("This form has no cascade: {reason}.", reason=cascade.reason)
    scores = cascade.validation
    return Message(
        "Cascade: messages with a linear margin of at least {threshold:g}, {early} of validation, "
        "are answered early by the linear model alone. This changes an answer in {changed} of the "
        "campaigns, upper bound {bound}.",
        threshold=cascade.threshold,
        early=share_text(scores.early_share),
        changed=share_text(scores.changed_share),
        bound=share_text(scores.bound),
    )


def _speed_sections(export: Export) -> list[Section]:
    """Return a section for the files that were timed together."""
    sections = {}
    for file in export.files.values():
        names = [name for name, other in export.files.items() if other.latency == file.latency]
        title = Message("Speed of {names}", names=", ".join(names))
        notes = [Message("On {machine}, from text to answer.", machine=file.machine)]
        if file.calibration and file.calibration.cascade:
            notes.append(Message("Messages that the cascade answers early are included."))
        sections[title] = Section(
            title, notes[0], [*map(Text, notes[1:]), _speed_table(file.latency)]
        )
    return list(sections.values())


def _speed_table(latency: Mapping[str, Latency]) -> Table:
    rows = [
        [
            form,
            *(f"{ms:.1f}" for ms in (measured.p50_ms, measured.p95_ms, measured.p99_ms)),
            f"{measured.messages_per_second:,.0f}",
        ]
        for form, measured in latency.items()
    ]
    speed = Message("messages/s at {batch}", batch=_BATCH)
    return Table(["", "p50, ms", "p95, ms", "p99, ms", speed], rows)


def _point_table(calibration: Calibration) -> Table:
    head = [
        Message("operating point"),
        Message("budget"),
        Message("threshold of this form"),
        Message("its bound on validation"),
    ]
    rows = [
        [
            point.name,
            ", ".join(f"{kind} {limit:g}" for kind, limit in point.budget.items()),
            show(point.threshold),
            show(point.on_validation and point.on_validation.false_positive_bound),
        ]
        for point in calibration.operating_points
    ]
    return Table(head, rows)


def _gate_table(file: ExportedFile) -> Table:
    if file.gate.parity:
        rows = [
            [row.tokens, row.batch, row.messages, f"{row.largest_difference:.1e}"]
            for row in file.gate.parity
        ]
        head = [
            Message("tokens"),
            Message("batch"),
            Message("number of messages"),
            Message("largest difference of a logit"),
        ]
        return Table(head, rows)
    rows = [
        [row.name, *(f"{score:.4f}" for score in (row.original, row.exported, row.budget))]
        for row in file.gate.quality
    ]
    head = [
        Message("score on validation"),
        Message("the run, fp32"),
        Message("this form"),
        Message("budget of the loss"),
    ]
    return Table(head, rows)
