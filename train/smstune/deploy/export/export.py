"""Exports a run to ONNX: written, compared with the run, timed, then moved into its folder."""

from __future__ import annotations

import csv
import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Literal

import torch

from smstune.config.choices import Precision
from smstune.config.schema import ExportConfig
from smstune.deploy.export.files import blocks, convert, within, write_graph
from smstune.deploy.export.gates import (
    EvaluatedForm,
    check_parity,
    compare_quality,
    evaluate_form,
    failures,
    layers_to_keep,
    warn_without_cascade,
)
from smstune.deploy.export.report import measure_latency
from smstune.deploy.export.staging import exported_before, move_staged, stage
from smstune.errors import GateError, UserError
from smstune.evaluation.evaluated import LabelledSet
from smstune.evaluation.labelled import load_prepared
from smstune.files import file_hash, scratch_folder
from smstune.inference.backends.exported import (
    EXPORTED,
    ExportedFile,
    ExportGate,
    Latency,
    QualityRow,
)
from smstune.inference.backends.onnx_backend import OnnxBackend
from smstune.inference.backends.torch_backend import TorchBackend
from smstune.inference.backends.torch_devices import machine_name, pick_precision
from smstune.inference.cascade import Cascade
from smstune.inference.classifier import SmsClassifier
from smstune.inference.decision import Calibration
from smstune.inference.manifest import EXPORT, EXPORT_REPORT, load_manifest
from smstune.language import Message

Format = Literal["onnx", "onnx-int8", "onnx-fp16"]
FORMATS: dict[Format, Precision] = {"onnx": "fp32", "onnx-int8": "int8", "onnx-fp16": "fp16"}
#: By the names they are imported by: onnxruntime may come from the package onnxruntime-gpu.
_PACKAGES = ("onnx", "onnxruntime", "onnxscript", "torch", "transformers")
_CPU = torch.device("cpu")

logger = logging.getLogger(__name__)


def export_run(run: Path, formats: Sequence[Format], section: ExportConfig) -> list[Path]:
    """Write ``RUN/onnx/``: the onnx file of each format, ``export.json`` and ``report.md``.

    Either all of ``formats`` are added to the run and its manifest, or none; formats exported
    earlier stay. Everything is computed on the CPU, where an fp16 form has its weights rounded as
    on a GPU but multiplies in fp32. Returns the paths of the onnx files.

    Raises:
        UserError: if a package is missing, the run does not match its data, the model lacks a layer
            of ``keep_fp32``, or a file that no export wrote is in the way.
        GateError: if a form differs too much from the run, with the numbers, and for int8 and fp16
            with layers that would make it pass if kept in fp32.
    """
    _require_own_files(run, [f"onnx/{EXPORTED[FORMATS[name]]}" for name in formats])
    original = SmsClassifier.from_pretrained(run, backend="torch", device="cpu", precision="fp32")
    # A stopped export may have left files that are ready to be moved, or incomplete ones.
    move_staged(run, original.run.manifest)
    with scratch_folder(run / "onnx") as scratch:
        (scratch / "onnx").mkdir()
        with _temporary_files_in(scratch):
            exporter = _Exporter(original, scratch / "onnx", section)
            exported = {
                EXPORTED[FORMATS[name]]: exporter.export(name) for name in dict.fromkeys(formats)
            }
            logger.info("measuring speed, with torch for comparison")
            update = {"latency": exporter.latency()}
        new = {name: file.model_copy(update=update) for name, file in exported.items()}
        for path in (scratch / "onnx").iterdir():
            if path.name not in new:
                path.unlink()
        manifest = original.run.manifest
        stage(run, manifest, scratch, {**exported_before(run, manifest), **new})
    return [run / "onnx" / name for name in new]


def _require_own_files(run: Path, names: Sequence[str]) -> None:
    """Check that an export replaces only what an export wrote, and no model of another program.

    Raises:
        UserError: if a file of these names, of the description or of the report is another's.
    """
    named_hashes = load_manifest(run).sha256
    if EXPORT not in named_hashes and (run / EXPORT).exists():
        # Earlier versions did not list the exported forms in the manifest.
        return
    for name in [*names, EXPORT, EXPORT_REPORT]:
        if name not in named_hashes and (run / name).exists():
            raise UserError(
                "{path} was not written by smstune export, which would replace it: move it out of "
                "the folder",
                path=run / name,
            )


@contextmanager
def _temporary_files_in(folder: Path) -> Iterator[None]:
    """Let libraries write temporary files to ``folder``, which the next start removes."""
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before


class _Exporter:
    """Writes the exported forms of a run into a scratch folder and compares them with the run."""

    def __init__(self, original: SmsClassifier, scratch: Path, section: ExportConfig) -> None:
        self.original = original
        self.scratch = scratch
        self.section = section
        self.graph = scratch / EXPORTED["fp32"]
        self.forms: dict[str, SmsClassifier] = {}
        logger.info("writing the graph")
        # These layers stay in fp32 in every form.
        self.fixed = write_graph(original.model, self.graph)
        self.layers = blocks(self.graph)
        logger.info("comparing the graph with the run")
        self.parity = check_parity(original, self._load(self.graph, "fp32"), self.texts)

    def export(self, format_: Format) -> ExportedFile:
        """Write one form, check it, and return its description without the speed."""
        precision, keep = FORMATS[format_], self._kept()
        file = self.scratch / EXPORTED[precision]
        if precision == "fp32":
            gate = ExportGate(parity=tuple(self.parity))
            keep = []
            calibration = self._own_calibration(file)
        else:
            rows, calibration = self._pass_quality(file, precision, keep)
            gate = ExportGate(quality=tuple(rows))
        form = self._load(file, precision)
        if calibration is not None:
            warn_without_cascade(format_, calibration)
            manifest = form.run.manifest.model_copy(update={"calibration": calibration})
            form = form.with_manifest(manifest)
        self.forms[f"onnx {precision}"] = form
        return ExportedFile(
            format=format_,
            sha256=file_hash(file),
            bytes=file.stat().st_size,
            keep_fp32=keep,
            gate=gate,
            latency={},
            machine=machine_name(_CPU),
            versions={name: import_module(name).__version__ for name in _PACKAGES},
            calibration=calibration,
        )

    def latency(self) -> dict[str, Latency]:
        """Return the speed of the exported forms and of torch, measured together."""
        run, best = self.original.run, pick_precision(_CPU)
        torch_forms = {"torch fp32": self.original}
        if best != "fp32":
            backend = TorchBackend.load(run.path, _CPU, best)
            torch_forms[f"torch {best}"] = SmsClassifier(run, backend)
        return measure_latency({**torch_forms, **self.forms}, self.texts)

    @cached_property
    def validation(self) -> LabelledSet:
        """The validation split of the run's own data."""
        return load_prepared(self.original.run.manifest, self.original.labels, "validation")

    @cached_property
    def texts(self) -> list[str]:
        """Messages to compute with: the validation split or else the bundled sample."""
        try:
            return self.validation.texts
        except UserError as error:
            logger.warning("warning: parity and speed on the bundled sample: %s", error)
        with files("smstune.data.sample").joinpath("messages.csv").open(encoding="utf-8") as rows:
            return self.original.preprocess([row["text"] for row in csv.DictReader(rows)])

    @cached_property
    def quality(self) -> EvaluatedForm:
        """The scores of the run itself."""
        return evaluate_form(
            Message("the run"), self.original, self.validation, own_thresholds=False
        )

    def _kept(self) -> list[str]:
        keep = sorted({*self.section.keep_fp32})
        unknown = [name for name in keep if not any(within(layer, [name]) for layer in self.layers)]
        if unknown:
            raise UserError(
                "export.keep_fp32: expected layers of the model ({layers}), found {unknown}",
                layers=", ".join(self.layers),
                unknown=", ".join(unknown),
            )
        return keep

    def _pass_quality(
        self, file: Path, precision: Precision, keep: list[str]
    ) -> tuple[list[QualityRow], Calibration]:
        quality = self._quality(file, precision, keep)
        rows = self._compare(quality)
        if not failures(rows):
            return rows, quality.calibration
        logger.info("the %s form does not pass: looking for layers to keep in fp32", precision)
        trial = self.scratch / "trial.onnx"
        candidates = [layer for layer in self.layers if not within(layer, [*keep, *self.fixed])]
        sufficient = layers_to_keep(
            candidates,
            lambda layers: self._quality(trial, precision, [*keep, *layers]),
            self.quality,
            lambda quality: not failures(self._compare(quality)),
        )
        raise GateError(
            "quality gate of {precision}: {failures}. It passes with these layers in fp32: "
            "--keep-fp32 {layers}. Nothing was exported",
            precision=precision,
            failures=failures(rows),
            layers=" ".join([*keep, *sufficient]),
        )

    def _compare(self, quality: EvaluatedForm) -> list[QualityRow]:
        return compare_quality(
            self.quality,
            quality,
            max_macro_f1_loss=self.section.max_macro_f1_loss,
            max_recall_loss=self.section.max_recall_loss,
            max_ece_rise=self.section.max_ece_rise,
        )

    def _quality(self, file: Path, precision: Precision, keep: list[str]) -> EvaluatedForm:
        logger.info("writing the %s form", precision)
        convert(self.graph, file, precision, [*keep, *self.fixed])
        form = self._load(file, precision)
        return evaluate_form(
            Message("the {precision} form", precision=precision),
            form,
            self.validation,
            own_thresholds=True,
        )

    def _own_calibration(self, file: Path) -> Calibration | None:
        """Return the calibration of the fp32 form, ``None`` if it is the run's."""
        calibration = self.original.run.manifest.calibration
        points, cascade = calibration.operating_points, calibration.cascade
        if cascade is None and not any(point.threshold is not None for point in points):
            return None
        try:
            validation = self.validation
        except UserError:
            # ``texts`` has already warned of it.
            if cascade is None:
                return None
            untested = Cascade(
                max_changed=cascade.max_changed,
                confidence=cascade.confidence,
                threshold=None,
                reason="the validation split to test it on is missing",
            )
            return calibration.model_copy(update={"cascade": untested})
        form = self._load(file, "fp32")
        return evaluate_form(
            Message("the {precision} form", precision="fp32"), form, validation, own_thresholds=True
        ).calibration

    def _load(self, file: Path, precision: Precision) -> SmsClassifier:
        return SmsClassifier(self.original.run, OnnxBackend(file, "cpu", precision))
