"""The cascade in SmsClassifier: who answers which message, and runs that cannot have one."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from doors import TINY_OVERRIDES, change_json, run
from scipy.special import softmax

from smstune.data.prepared import load_split
from smstune.errors import UserError
from smstune.inference.cascade import Cascade, margins
from smstune.inference.classifier import SmsClassifier


@pytest.fixture(scope="module")
def texts(prepared):
    """Return the test messages."""
    return list(load_split(prepared, "test")["text"])


@pytest.fixture
def classifier(joined_run, texts):
    """Return the joined run with a cascade that answers half of the test messages early."""
    plain = SmsClassifier.from_pretrained(joined_run, device="cpu", precision="fp32")
    threshold = float(np.median(margins(plain.linear_scores(texts))))
    cascade = Cascade(max_changed=0.01, confidence=0.95, threshold=threshold, temperature=0.3)
    manifest = plain.run.manifest
    calibration = manifest.calibration.model_copy(update={"cascade": cascade})
    return plain.with_manifest(manifest.model_copy(update={"calibration": calibration}))


def test_the_encoder_reads_only_what_the_linear_model_is_not_sure_of(
    classifier, texts, monkeypatch
):
    linear = classifier.linear_scores(texts)
    early = margins(linear) >= classifier.run.manifest.calibration.cascade.threshold
    read = []
    encoder_logits = classifier.encoder_logits

    def counted(messages, *args):
        read.extend(messages)
        return encoder_logits(messages, *args)

    monkeypatch.setattr(classifier, "encoder_logits", counted)
    probabilities = classifier.predict_proba(texts)
    assert 0 < len(read) < len(texts)
    assert read == [text for text, sure in zip(texts, early, strict=True) if not sure]
    assert np.allclose(probabilities[early], softmax(linear[early] / 0.3, axis=1))
    full = classifier.without_cascade().predict_proba(texts)
    assert np.allclose(probabilities[~early], full[~early])
    assert not np.allclose(probabilities[early], full[early], atol=0.05)


def test_messages_that_are_all_answered_early_need_no_encoder(classifier, texts, monkeypatch):
    surest = [texts[margins(classifier.linear_scores(texts)).argmax()]]
    expected = classifier.predict_proba(surest)
    monkeypatch.setattr(classifier, "_score", None)
    assert (classifier.predict_proba(surest) == expected).all()


def test_a_cascade_without_a_threshold_answers_nothing_early(classifier, texts):
    manifest = classifier.run.manifest
    none = Cascade(max_changed=0.01, confidence=0.95, threshold=None, reason="too small")
    calibration = manifest.calibration.model_copy(update={"cascade": none})
    without = classifier.with_manifest(manifest.model_copy(update={"calibration": calibration}))
    full = classifier.without_cascade().predict_proba(texts)
    assert (without.predict_proba(texts) == full).all()


def test_a_cascade_without_a_linear_model_is_refused(finished_run, tmp_path):
    path = shutil.copytree(finished_run, tmp_path / "run")
    cascade = {"max_changed": 0.01, "confidence": 0.95, "threshold": 1.0}
    change_json(
        path / "manifest.json", lambda manifest: manifest["calibration"].update(cascade=cascade)
    )
    with pytest.raises(UserError, match=r"its cascade needs linear\.safetensors"):
        SmsClassifier.from_pretrained(path)


def test_a_cascade_is_refused_before_a_run_without_a_linear_model_is_trained_or_loaded(
    config_file, finished_run, tmp_path, capsys
):
    output = tmp_path / "run"
    overrides = (*TINY_OVERRIDES, f"training.output_dir={output}", "evaluation.cascade={}")
    assert run("finetune", config_file, *overrides) == 2
    assert "evaluation.cascade needs a linear model" in capsys.readouterr().err.splitlines()[-1]
    assert not output.exists()
    before = (finished_run / "manifest.json").read_bytes()
    assert run("eval", finished_run, "--calibrate", "evaluation.cascade={}") == 2
    assert "evaluation.cascade needs a linear model" in capsys.readouterr().err.splitlines()[-1]
    assert (finished_run / "manifest.json").read_bytes() == before
