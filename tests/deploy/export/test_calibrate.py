"""A run is calibrated together with its exported forms: thresholds, cascades, all or nothing."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime.quantization
import pytest
from doors import ROOT, change_json, name_in_manifest, run
from onnx import numpy_helper
from scipy.special import softmax

from smstune.evaluation.labelled import load_prepared
from smstune.evaluation.scores.metrics import expected_calibration_error
from smstune.files import file_hash
from smstune.inference.backends.exported import load_export
from smstune.inference.classifier import SmsClassifier
from smstune.inference.manifest import load_manifest

# The tiny validation split shows little, and chose among two checkpoints.
CASCADE = "evaluation.cascade={max_changed: 0.3, confidence: 0.5}"
POINT = (
    "evaluation.operating_points={stop: {labels: [fraud], max_false_positive_rate: 0.8,"
    " confidence: 0.4}}"
)
CALIBRATE = ("--calibrate", CASCADE, POINT, "evaluation.bootstrap_samples=0")
GENEROUS = [f"export.max_{name}=1" for name in ("macro_f1_loss", "recall_loss", "ece_rise")]


def let_every_form_pass(path):
    """Let the configuration of a run ask nothing of an exported form."""
    config = path / "config.yaml"
    limits = "export: {max_macro_f1_loss: 1, max_recall_loss: 1, max_ece_rise: 1}\n"
    config.write_text(
        re.sub(r"(?m)^export:\n(  .*\n)+", limits, config.read_text("utf-8")), "utf-8"
    )


def forms(path):
    """Return the description of each exported file."""
    return load_export(path, load_manifest(path)).files


@pytest.fixture(scope="module")
def exported(joined_run, tmp_path_factory):
    """Return a joined run with two exported forms, neither of which has a cascade."""
    path = shutil.copytree(joined_run, tmp_path_factory.mktemp("forms") / "run")
    let_every_form_pass(path)
    assert run("export", path, *GENEROUS, "--format", "onnx", "onnx-int8") == 0
    return path


@pytest.fixture(scope="module")
def calibrated(exported, tmp_path_factory):
    """Return the run of ``exported``, given a cascade and an operating point afterwards."""
    path = shutil.copytree(exported, tmp_path_factory.mktemp("calibrated") / "run")
    assert run("eval", path, *CALIBRATE) == 0
    return path


def test_every_form_gets_a_cascade_and_thresholds_of_its_own(calibrated, exported):
    manifest = load_manifest(calibrated)
    for name in ("onnx/export.json", "onnx/report.md"):
        assert manifest.sha256[name] == file_hash(calibrated / name)
    assert forms(exported)["model.onnx"].calibration is None
    assert {path.name for path in calibrated.iterdir()} == {
        path.name for path in exported.iterdir()
    }
    calibrations = [
        manifest.calibration,
        *(file.calibration for file in forms(calibrated).values()),
    ]
    assert len(calibrations) == 3
    for calibration in calibrations:
        assert calibration.cascade.threshold is not None
        assert calibration.cascade.validation.bound <= 0.3
        assert calibration.operating_points[0].threshold is not None
    report = (calibrated / "onnx/report.md").read_text("utf-8")
    assert "answered early" in report


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_form_is_tested_against_its_own_full_answers(calibrated, precision):
    form = SmsClassifier.from_pretrained(
        calibrated, backend="onnx", device="cpu", precision=precision
    )
    validation = load_prepared(form.run.manifest, form.labels, "validation")
    scores = form.run.manifest.calibration.cascade.validation
    linear = form.linear_scores(validation.texts)
    early = form.run.manifest.calibration.is_early(linear)
    assert early.sum() == scores.early_messages > 0
    full, answers = (
        model.answers(model.predict_proba(validation.texts, preprocessed=True))
        for model in (form.without_cascade(), form)
    )
    assert (full != answers).sum() == scores.changed_messages


@pytest.fixture
def one_sided(monkeypatch):
    """Make every form in fewer bits answer one and the same label."""
    quantize = onnxruntime.quantization.quantize_dynamic

    def quantize_and_tilt(source, target, **how):
        quantize(source, target, **how)
        model = onnx.load(target)
        for tensor in model.graph.initializer:
            if tensor.name.endswith("classifier.bias"):
                bias = numpy_helper.to_array(tensor) + 1000 * np.eye(4, dtype=np.float32)[0]
                tensor.CopyFrom(numpy_helper.from_array(bias, tensor.name))
        onnx.save(model, target)

    monkeypatch.setattr(onnxruntime.quantization, "quantize_dynamic", quantize_and_tilt)


def test_a_form_that_fails_has_no_cascade(joined_run, tmp_path, one_sided, capsys):
    path = shutil.copytree(joined_run, tmp_path / "run")
    let_every_form_pass(path)
    assert run("eval", path, *CALIBRATE) == 0
    assert run("export", path, *GENEROUS, "--format", "onnx", "onnx-int8") == 0
    assert "onnx-int8 has no cascade" in capsys.readouterr().err
    fp32, int8 = (forms(path)[name].calibration for name in ("model.onnx", "model_int8.onnx"))
    assert fp32.cascade.threshold is not None
    assert int8.cascade.threshold is None
    assert "of too many campaigns" in int8.cascade.reason
    assert run("eval", path, *CALIBRATE) == 0
    assert "onnx/model_int8.onnx has no cascade" in capsys.readouterr().err
    assert forms(path)["model_int8.onnx"].calibration.cascade.threshold is None


def test_a_form_that_misses_its_gate_keeps_its_calibration_and_is_not_used(
    joined_run, tmp_path, one_sided, capsys
):
    path = shutil.copytree(joined_run, tmp_path / "run")
    assert run("export", path, *GENEROUS, "--format", "onnx-int8") == 0
    before = forms(path)["model_int8.onnx"]
    assert run("eval", path, *CALIBRATE) == 0
    assert "onnx/model_int8.onnx does not pass its quality gate" in capsys.readouterr().err
    assert forms(path)["model_int8.onnx"] == before
    assert SmsClassifier.from_pretrained(path, device="cpu").backend.name == "torch"


def test_a_form_that_cannot_be_tested_has_no_cascade(joined_run, tmp_path):
    path = shutil.copytree(joined_run, tmp_path / "run")
    assert run("eval", path, *CALIBRATE) == 0
    change_json(path / "manifest.json", lambda manifest: manifest["data"].update(path="/nowhere"))
    assert run("export", path, "--format", "onnx") == 0
    cascade = forms(path)["model.onnx"].calibration.cascade
    assert cascade.threshold is None
    assert "to test it on is missing" in cascade.reason


def test_a_form_whose_cascade_was_not_tested_is_not_used(calibrated, tmp_path):
    """As one that an earlier version exported."""
    path = shutil.copytree(calibrated, tmp_path / "run")

    def forget(export):
        for file in export["files"].values():
            file["calibration"] = None

    change_json(path / "onnx/export.json", forget)
    name_in_manifest(path, "onnx/export.json")
    assert SmsClassifier.from_pretrained(path, device="cpu").backend.name == "torch"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("number", range(1, 6))
def test_killed_at_any_renaming_run_and_forms_have_the_old_calibration_or_the_new(
    exported, calibrated, tmp_path, number
):
    path = shutil.copytree(exported, tmp_path / "run")
    shutil.rmtree(path / "eval")
    old, new = (
        (load_manifest(folder).calibration, forms(folder)) for folder in (exported, calibrated)
    )
    child = [sys.executable, ROOT / "tests/killed_child.py", number, path, "eval", path, *CALIBRATE]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'train'}:{ROOT / 'tests'}"}
    done = subprocess.run([str(word) for word in child], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    assert (load_manifest(path).calibration, forms(path)) == (old if number <= 2 else new)
    assert run("eval", path, *CALIBRATE) == 0
    assert (load_manifest(path).calibration, forms(path)) == new


def test_the_report_of_the_evaluation_says_what_the_cascade_does(calibrated):
    metrics = json.loads((calibrated / "eval/test/metrics.json").read_text("utf-8"))
    cascade = metrics["calibration"]["cascade"]
    assert cascade["threshold"] > 0
    assert 0 < metrics["calibration"]["early_share"] <= 1
    report = (calibrated / "eval/test/report.md").read_text("utf-8")
    assert f"margin of at least {cascade['threshold']:g}" in report


def test_reliability_before_calibration_undoes_the_temperature_of_early_answers(calibrated):
    metrics = json.loads((calibrated / "eval/test/metrics.json").read_text("utf-8"))
    classifier = SmsClassifier.from_pretrained(calibrated)
    calibration = classifier.run.manifest.calibration
    test = load_prepared(classifier.run.manifest, classifier.labels, "test")
    logits, linear = classifier.parts(test.texts)
    early = calibration.is_early(linear)
    assert early.any()
    logits = np.where(early[:, None], linear, logits + calibration.linear_weight * linear)
    confidence = softmax(logits, axis=1).max(axis=1)
    expected = expected_calibration_error(confidence, logits.argmax(axis=1) == test.truth)
    assert metrics["calibration"]["before"]["ece"] == pytest.approx(expected, abs=1e-6)
