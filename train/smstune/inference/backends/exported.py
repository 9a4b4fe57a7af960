"""RUN/onnx: the exported forms of a run and ``export.json``, which says what they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from smstune.config.choices import Precision
from smstune.config.wording import explain
from smstune.errors import UserError
from smstune.files import file_hash
from smstune.inference.decision import Calibration
from smstune.inference.manifest import EXPORT, WEIGHTS, Manifest, mismatch, run_file
from smstune.language import Message
from smstune.results import Result

#: The number formats that a run is exported in, and the file of each.
EXPORTED: dict[Precision, str] = {
    "fp32": "model.onnx",
    "int8": "model_int8.onnx",
    "fp16": "model_fp16.onnx",
}


class ParityRow(Result):
    """Messages of similar length in one batch, and how far their fp32 logits are from torch's."""

    #: Up to how many tokens the messages have, or ``mixed`` lengths.
    tokens: str
    #: The largest number of messages in a batch.
    batch: int
    messages: int
    largest_difference: float


class QualityRow(Result):
    """A score on validation before and after the export."""

    name: str
    original: float
    exported: float
    #: How much worse the score may become.
    budget: float
    #: Whether the score stayed within the budget.
    kept: bool


class ExportGate(Result):
    """The gate that a form passed: ``parity`` in fp32, ``quality`` in fewer bits."""

    parity: tuple[ParityRow, ...] = ()
    quality: tuple[QualityRow, ...] = ()


class Latency(Result):
    """How fast a form answers, from text to probabilities."""

    #: Quantiles over calls with one message.
    p50_ms: float
    p95_ms: float
    p99_ms: float
    #: In larger batches.
    messages_per_second: float


class ExportedFile(BaseModel):
    """One exported form: its hash, what it passed, how fast it was where it was made."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    format: Literal["onnx", "onnx-int8", "onnx-fp16"]
    sha256: str
    bytes: int
    #: Layers left in fp32.
    keep_fp32: list[str]
    gate: ExportGate
    #: By form, with torch's for comparison.
    latency: dict[str, Latency]
    machine: str
    versions: dict[str, str]
    #: The run's calibration with thresholds fitted to this form's own scores; ``None``: the run's.
    calibration: Calibration | None = None

    def belongs_to(self, calibration: Calibration) -> bool:
        """Return whether this form's thresholds were fitted under a run's ``calibration``.

        A form without a calibration uses the run's, but no cascade that was not tested for it.
        """
        if self.calibration is None:
            return calibration.cascade is None
        return _fitting_inputs(self.calibration) == _fitting_inputs(calibration)


class Export(BaseModel):
    """``export.json``: the hash of the exported weights, and a description of each file."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    #: SHA-256 of the ``model.safetensors`` that was exported.
    weights_sha256: str
    files: dict[str, ExportedFile] = {}


def load_export(path: Path, manifest: Manifest) -> Export | None:
    """Read ``RUN/onnx/export.json``; ``None`` where the run was not exported.

    Raises:
        UserError: if the manifest names it but it is missing, or it is of another run, or it cannot
            be read.
    """
    file = run_file(path, manifest, EXPORT)
    if file is None:
        return None
    try:
        export = Export.model_validate_json(file.read_text("utf-8"))
    except ValidationError as error:
        problems = explain(error, Export)
        raise UserError(
            "{file}: expected what `smstune export` wrote: {problems}", file=file, problems=problems
        ) from error
    if export.weights_sha256 != manifest.sha256[WEIGHTS]:
        raise mismatch(path, Message("onnx/export.json is of other weights than the manifest"))
    return export


def _fitting_inputs(calibration: Calibration) -> dict[str, Any]:
    """Return the inputs of threshold fitting.

    These are temperature, linear weight and label biases, the budget and confidence of the cascade,
    and each point's name, labels, budget and confidence.
    """
    points = [
        point.model_dump(include={"name", "labels", "budget", "confidence"})
        for point in calibration.operating_points
    ]
    factors = calibration.model_dump(include={"temperature", "linear_weight", "label_bias"})
    cascade = calibration.cascade and (
        calibration.cascade.max_changed,
        calibration.cascade.confidence,
    )
    return {**factors, "cascade": cascade, "operating_points": points}


def exported_form(path: Path, manifest: Manifest, precision: Precision) -> tuple[Path, Calibration]:
    """Return the exported file of ``precision`` and the calibration to use with it.

    Raises:
        UserError: if there is none, if it is of another run, or if its hash is not the one in the
            manifest and in ``export.json``.
    """
    name, export = EXPORTED[precision], load_export(path, manifest)
    file = run_file(path, manifest, f"onnx/{name}")
    if export is None or name not in export.files or file is None:
        raise UserError(
            "expected onnx/{name} in the run folder {path}, found none: {how_to_export}",
            name=name,
            path=path,
            how_to_export=how_to_export(precision),
        )
    checked = manifest.sha256.get(f"onnx/{name}") or file_hash(file)
    if checked != export.files[name].sha256:
        raise mismatch(
            path,
            Message(
                "{file} is not the file that {manifest} names", file=f"onnx/{name}", manifest=EXPORT
            ),
        )
    return file, export.files[name].calibration or manifest.calibration


def how_to_export(precision: Precision) -> Message:
    """Return the advice on how to export."""
    suffix = "" if precision == "fp32" else f"-{precision}"
    return Message("create it with `smstune export RUN --format onnx{suffix}`", suffix=suffix)
