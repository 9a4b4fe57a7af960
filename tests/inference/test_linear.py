"""The linear model, alone and joined to an encoder: the same scores wherever they are computed."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from doors import name_in_manifest, run
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from smstune.data.prepared import load_split
from smstune.errors import UserError
from smstune.inference.classifier import SmsClassifier
from smstune.inference.linear import ABSENT, LinearModel, fit_linear
from smstune.inference.run import load_run

TEXTS = [
    "贷款 低息 来电",
    "贷款 秒批 来电",
    "新房 开盘 特惠",
    "新房 特惠 到访",
    "ABC 退订",
    "abc 退订 回T",
]
LABELS = np.array([0, 0, 1, 1, 2, 2])


@pytest.fixture(scope="module")
def fitted():
    return fit_linear(TEXTS, LABELS, 3)


@pytest.mark.parametrize("labels", [LABELS, LABELS // 2], ids=["three", "two"])
def test_scores_are_those_of_sklearn_s_pipeline(labels):
    reference = make_pipeline(
        TfidfVectorizer(analyzer="char", ngram_range=(1, 4), min_df=2, sublinear_tf=True),
        LinearSVC(random_state=0),
    ).fit(TEXTS, labels)
    new = [*TEXTS, "贷款特惠", "", "陌生"]
    found = fit_linear(TEXTS, labels, int(labels.max()) + 1)
    expected = reference.decision_function(new)
    if expected.ndim == 1:
        expected = np.stack([-expected, expected], axis=1)
    assert found.scores(new) == pytest.approx(expected, abs=1e-6)
    assert found.answers(new).tolist() == reference.predict(new).tolist()


def test_a_label_without_messages_is_never_answered():
    scores = fit_linear(TEXTS, LABELS * 2, 5).scores(TEXTS)
    assert (scores[:, [1, 3]] == ABSENT).all()
    assert scores.argmax(axis=1).tolist() == (LABELS * 2).tolist()


def test_it_is_read_as_it_was_written_and_damage_is_told(fitted, tmp_path):
    file = tmp_path / "linear.safetensors"
    fitted.save(file)
    assert np.array_equal(LinearModel.load(file).scores(TEXTS), fitted.scores(TEXTS))
    # Data alone, and no n-gram that one message alone holds.
    assert "秒" not in LinearModel.load(file).vectorizer.get_feature_names_out()
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(UserError, match="is not a linear model"):
        LinearModel.load(file)


@given(st.text("贷款新房ABCabc 退订\t \n回T秒İΣ", max_size=30))
def test_what_characters_add_makes_up_the_score(fitted, text):
    direction = np.array([1.0, -0.5, 2.0])
    added = fitted.character_scores(text, direction)
    assert added.shape == (len(text),)
    whole = (fitted.scores([text])[0] - fitted.intercepts) @ direction
    assert added.sum() == pytest.approx(whole, abs=1e-5)


def test_a_run_answers_with_both_joined_by_its_manifest(joined_run, prepared):
    texts = load_split(prepared, "test")["text"][:8]
    run = load_run(joined_run)
    calibration = run.manifest.calibration
    assert calibration.linear_weight > 0
    before, after = calibration.fitted_on.before, calibration.fitted_on.after
    assert after.nll < before.nll
    report = (joined_run / "eval/test/report.html").read_text("utf-8")
    assert f"added {calibration.linear_weight:.2f} times" in report
    model = AutoModelForSequenceClassification.from_pretrained(joined_run).eval()
    tokenizer = AutoTokenizer.from_pretrained(joined_run)
    batch = tokenizer(texts, padding=True, truncation=True, max_length=64, return_tensors="pt")
    logits = model(**batch).logits.detach().double().numpy()
    joined = logits + calibration.linear_weight * run.linear.scores(texts)
    classifier = SmsClassifier.from_pretrained(joined_run, precision="fp32")
    found = classifier.predict_proba(texts)
    assert found == pytest.approx(softmax(joined / calibration.temperature, axis=1), abs=1e-5)
    assert not np.allclose(found, softmax(logits / calibration.temperature, axis=1), atol=0.05)


def test_the_linear_model_is_the_baseline_of_its_run(joined_run, prepared):
    train, test = load_split(prepared, "train"), load_split(prepared, "test")
    run = load_run(joined_run)
    truth = np.array([run.labels.label2id[label] for label in train["label"]])
    again = fit_linear(list(train["text"]), truth, len(run.labels.names))
    assert np.array_equal(again.scores(test["text"]), run.linear.scores(test["text"]))


def test_calibrating_again_starts_from_the_encoder_alone(joined_run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(joined_run, copy)
    assert run("eval", copy, "--calibrate", "evaluation.bootstrap_samples=0") == 0
    again, first = (load_run(each).manifest.calibration for each in (copy, joined_run))
    assert again.linear_weight == pytest.approx(first.linear_weight, rel=1e-6)
    assert again.fitted_on.before == first.fitted_on.before


def test_a_linear_model_that_is_missing_or_another_is_refused(
    joined_run, messages, tmp_path, capsys
):
    for name, harm in {
        "missing": lambda folder: (folder / "linear.safetensors").unlink(),
        "another": lambda folder: fit_linear(TEXTS, LABELS, 3).save(folder / "linear.safetensors"),
    }.items():
        folder = tmp_path / name
        shutil.copytree(joined_run, folder)
        harm(folder)
        assert run("predict", folder, messages, tmp_path / "out.jsonl") == 2
        assert "linear.safetensors" in capsys.readouterr().err


def test_a_linear_model_of_other_labels_is_refused(joined_run, messages, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(joined_run, folder)
    file = folder / "linear.safetensors"
    fit_linear(TEXTS, LABELS, 3).save(file)
    name_in_manifest(folder, file.name)
    assert run("predict", folder, messages, tmp_path / "out.jsonl") == 2
    assert "3 labels, not 4" in capsys.readouterr().err
