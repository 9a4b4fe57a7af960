"""Calibrates a run again, together with the forms that were exported from it."""

from __future__ import annotations

import dataclasses
import logging

import torch

from smstune.config.schema import EvaluationConfig, ExportConfig
from smstune.deploy.export.gates import (
    EvaluatedForm,
    compare_quality,
    evaluate_form,
    failures,
    warn_without_cascade,
)
from smstune.deploy.export.staging import exported_before, move_staged, stage
from smstune.evaluation.calibration.fit import fit_run
from smstune.evaluation.evaluated import LabelledSet
from smstune.evaluation.labelled import load_prepared
from smstune.files import scratch_folder
from smstune.inference.backends.exported import EXPORTED, ExportedFile, ExportGate
from smstune.inference.backends.onnx_backend import OnnxBackend
from smstune.inference.backends.torch_backend import TorchBackend
from smstune.inference.classifier import SmsClassifier
from smstune.inference.manifest import Manifest, store_calibration
from smstune.language import Message

logger = logging.getLogger(__name__)


def calibrate_run(
    classifier: SmsClassifier, section: EvaluationConfig, limits: ExportConfig
) -> Manifest:
    """Fit the calibration of a run and of each exported form, store all, return the new manifest.

    The validation split is scored by each form, and its thresholds and cascade are fitted to what
    it answers. A form in fewer bits that no longer passes its quality gate keeps its earlier
    calibration, so it is not used until the run is exported again. Run and forms change together
    or not at all.

    Raises:
        UserError: as ``fit_run``.
    """
    path, manifest = classifier.run.path, classifier.run.manifest
    # A stopped export may have left files that are ready to be moved.
    move_staged(path, manifest)
    calibration = fit_run(classifier, section)
    exported = exported_before(path, manifest)
    if not exported:
        return store_calibration(path, manifest, calibration)
    manifest = manifest.model_copy(update={"calibration": calibration})
    run = dataclasses.replace(classifier.run, manifest=manifest)
    validation = load_prepared(manifest, run.labels, "validation")
    original = SmsClassifier(run, TorchBackend.load(path, torch.device("cpu"), "fp32"))
    quality = evaluate_form(Message("the run"), original, validation, own_thresholds=False)
    files = {}
    for precision, name in EXPORTED.items():
        if name in exported:
            form = SmsClassifier(run, OnnxBackend(path / "onnx" / name, "cpu", precision))
            files[name] = _recalibrated(form, exported[name], validation, quality, limits)
    with scratch_folder(path / "onnx") as scratch:
        (scratch / "onnx").mkdir()
        return stage(path, manifest, scratch, files)


def _recalibrated(
    form: SmsClassifier,
    file: ExportedFile,
    validation: LabelledSet,
    original: EvaluatedForm,
    limits: ExportConfig,
) -> ExportedFile:
    """Return the description of a form with what its own answers to ``validation`` give.

    ``original`` are the scores of the run, ``form`` has the run's new calibration.
    """
    name = f"onnx/{EXPORTED[form.precision]}"
    quality = evaluate_form(
        Message("the {precision} form", precision=form.precision),
        form,
        validation,
        own_thresholds=True,
    )
    gate = file.gate
    if file.format != "onnx":
        rows = compare_quality(
            original,
            quality,
            max_macro_f1_loss=limits.max_macro_f1_loss,
            max_recall_loss=limits.max_recall_loss,
            max_ece_rise=limits.max_ece_rise,
        )
        if problems := failures(rows):
            logger.warning(
                "warning: %s does not pass its quality gate under the new calibration (%s): it "
                "keeps the earlier one, export the run again",
                name,
                problems,
            )
            return file
        gate = ExportGate(quality=tuple(rows))
    warn_without_cascade(name, quality.calibration)
    return file.model_copy(update={"calibration": quality.calibration, "gate": gate})
