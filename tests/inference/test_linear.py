"""The linear model, alone and joined to an encoder: the same scores wherever they are computed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from doors import name_in_manifest, run
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from scipy.special import softmax
from sklearn.feature_extraction.text import TfidfVectorizer
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from smstune.config.loading import load_config
from smstune.data.prepared import load_split
from smstune.errors import UserError
from smstune.inference.classifier import SmsClassifier
from smstune.inference.linear import LinearModel
from smstune.inference.run import load_run
from smstune.modeling.fit_linear import fit_linear

TEXTS = [
    "贷款 低息 来电",
    "贷款 秒批 来电",
    "新房 开盘 特惠",
    "新房 特惠 到访",
    "ABC 退订 İΣx \t🎁",
    "abc 退订 回T İσx\u2003\n🎁",
]
LABELS = np.array([0, 0, 1, 1, 2, 2])
CAMPAIGNS = np.arange(6)
HOSTILE = [
    "",
    " ",
    "\t",
    "\n\n",
    "陌生",
    "ΑΣ",
    "İİ ΣΣ",
    "来 \u2003\x1c电\u00a0\t",
    "🎁🎁🎁🎁🎁",
    "\ud800退订",
    "款\n低",
    "退" * 3000,
]


@pytest.fixture(scope="module")
def fitted():
    return fit_linear(TEXTS, LABELS, 3, CAMPAIGNS, 2)


def scores_by_scikit_learn(linear, texts):
    vectorizer = TfidfVectorizer(
        analyzer="char", ngram_range=(1, 4), sublinear_tf=True, vocabulary=linear.vocabulary
    )
    vectorizer.idf_ = linear.idf
    return vectorizer.transform(texts) @ linear.weights.astype(float) + linear.intercepts


def test_scores_are_those_of_scikit_learn(fitted):
    texts = [*TEXTS, *HOSTILE]
    assert fitted.scores(texts) == pytest.approx(scores_by_scikit_learn(fitted, texts), abs=1e-6)
    # Not by all of them being unknown.
    assert {"i\u0307σx", "🎁", "退订", " 🎁"} <= set(fitted.vocabulary)
    assert fitted.scores([]).shape == (0, 3)


@given(
    st.lists(
        st.text("贷款新房ABCabc 退订\t \n\r\x1c\u2003回T秒İΣσς🎁\ud800", max_size=30), max_size=5
    )
)
def test_scores_of_any_text_are_those_of_scikit_learn(fitted, texts):
    if texts:
        expected = scores_by_scikit_learn(fitted, texts)
        assert fitted.scores(texts) == pytest.approx(expected, abs=1e-6)


def test_a_message_has_the_same_scores_alone_and_in_any_batch(fitted):
    texts = [*TEXTS, *HOSTILE] * 60
    together = fitted.scores(texts)
    alone = np.concatenate([fitted.scores([text]) for text in texts])
    assert np.array_equal(together, alone)
    assert np.array_equal(fitted.scores(texts[::-1])[::-1], together)


def test_scoring_imports_neither_scikit_learn_nor_scipy(fitted, tmp_path):
    fitted.save(tmp_path / "linear.safetensors")
    code = (
        "import sys; from pathlib import Path; from smstune.inference.linear import LinearModel; "
        "LinearModel.load(Path(sys.argv[1])).scores(['贷款']); "
        "print('sklearn' in sys.modules, 'scipy' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "linear.safetensors")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_it_is_read_as_it_was_written(fitted, tmp_path):
    file = tmp_path / "linear.safetensors"
    fitted.save(file)
    again = LinearModel.load(file)
    assert np.array_equal(again.scores(TEXTS), fitted.scores(TEXTS))
    assert again.vocabulary == fitted.vocabulary
    assert again.min_campaigns == fitted.min_campaigns == 2


def test_the_file_of_a_run_of_the_first_format_is_read(tmp_path):
    """Vocabulary, idf and weights as the first version wrote them: min_df=2, not rounded."""
    vectorizer = TfidfVectorizer(analyzer="char", ngram_range=(1, 4), min_df=2, sublinear_tf=True)
    vectorizer.fit(TEXTS)
    grams = vectorizer.get_feature_names_out().tolist()
    weights = np.random.default_rng(0).normal(size=(len(grams), 3)).astype(np.float32)
    tensors = {
        "vocabulary": np.frombuffer(json.dumps(grams).encode(), np.uint8),
        "idf": vectorizer.idf_,
        "weights": weights,
        "intercepts": np.zeros(3, np.float32),
    }
    save_file(tensors, tmp_path / "linear.safetensors")
    expected = vectorizer.transform(TEXTS) @ weights.astype(float)
    linear = LinearModel.load(tmp_path / "linear.safetensors")
    assert linear.scores(TEXTS) == pytest.approx(expected, abs=1e-6)
    assert linear.min_campaigns is None


@pytest.mark.parametrize(
    ("vocabulary", "reason"),
    [
        (["退", "退订回T续"], "more than 4 characters"),
        (["退", ""], "no or more than 4"),
        (["退", "退"], "twice"),
        (["退", "订回"], "a character that is no n-gram itself"),
        (["退", "退退退"], "without the n-gram that it begins with"),
        (["退", 1], "int"),
        (["退"], "shape"),
    ],
)
def test_a_file_with_an_unusable_vocabulary_is_refused(tmp_path, vocabulary, reason):
    file = tmp_path / "linear.safetensors"
    fit_linear(["退订", "退续"], np.array([0, 1]), 2, np.array([0, 1]), 2).save(file)
    tensors = load_file(file)
    tensors["weights"], tensors["idf"] = np.zeros((2, 2), np.float32), np.ones(2)
    tensors["vocabulary"] = np.frombuffer(json.dumps(vocabulary).encode(), np.uint8)
    save_file(tensors, file)
    with pytest.raises(UserError, match=f"is not a linear model.*{reason}"):
        LinearModel.load(file)


def test_a_damaged_file_is_refused(fitted, tmp_path):
    file = tmp_path / "linear.safetensors"
    fitted.save(file)
    tensors = load_file(file)
    save_file({**tensors, "note": np.zeros(1)}, file)
    with pytest.raises(UserError, match="it has the tensors"):
        LinearModel.load(file)
    save_file({**tensors, "idf": np.ones(1)}, file)
    with pytest.raises(UserError, match="its idf has the shape"):
        LinearModel.load(file)
    fitted.save(file)
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(UserError, match="is not a linear model"):
        LinearModel.load(file)


@given(st.text("贷款新房ABCabc 退订\t \n回T秒İΣ🎁", max_size=30))
def test_what_characters_add_makes_up_the_score(fitted, text):
    direction = np.array([1.0, -0.5, 2.0])
    added = fitted.character_scores(text, direction)
    assert added.shape == (len(text),)
    whole = (fitted.scores([text])[0] - fitted.intercepts) @ direction
    assert added.sum() == pytest.approx(whole, abs=1e-5)


def test_an_n_gram_counts_for_the_characters_where_it_occurs(fitted):
    added = fitted.character_scores("陌 \t 贷款", np.array([1.0, 0.0, 0.0]))
    assert added[:1] == [0]
    assert (added[4:] > 0).all()


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
    campaigns = load_config(joined_run / "config.yaml").model.linear_min_campaigns
    groups = np.array(train["group"])
    again = fit_linear(list(train["text"]), truth, len(run.labels.names), groups, campaigns)
    assert np.array_equal(again.scores(test["text"]), run.linear.scores(test["text"]))
    baseline = json.loads((joined_run / "eval/test/metrics.json").read_text())["baseline"]
    answers = [run.labels.names[answer] for answer in run.linear.answers(test["text"])]
    n_right = sum(a == b for a, b in zip(answers, test["label"], strict=True))
    assert baseline["accuracy"] == pytest.approx(n_right / len(answers))


def test_calibrating_again_starts_from_the_encoder_alone(joined_run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(joined_run, copy)
    assert run("eval", copy, "--calibrate", "evaluation.bootstrap_samples=0") == 0
    again, first = (load_run(each).manifest.calibration for each in (copy, joined_run))
    assert again.linear_weight == pytest.approx(first.linear_weight, rel=1e-6)
    assert again.fitted_on.before == first.fitted_on.before


def test_a_linear_model_that_is_missing_or_another_is_refused(
    fitted, joined_run, messages, tmp_path, capsys
):
    for name, harm in {
        "missing": lambda folder: (folder / "linear.safetensors").unlink(),
        "another": lambda folder: fitted.save(folder / "linear.safetensors"),
    }.items():
        folder = tmp_path / name
        shutil.copytree(joined_run, folder)
        harm(folder)
        assert run("predict", folder, messages, tmp_path / "out.jsonl") == 2
        assert "linear.safetensors" in capsys.readouterr().err


def test_a_linear_model_of_other_labels_is_refused(fitted, joined_run, messages, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(joined_run, folder)
    file = folder / "linear.safetensors"
    fitted.save(file)
    name_in_manifest(folder, file.name)
    assert run("predict", folder, messages, tmp_path / "out.jsonl") == 2
    assert "3 labels, not 4" in capsys.readouterr().err
