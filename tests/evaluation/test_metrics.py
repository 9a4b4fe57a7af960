"""Scores against scikit-learn, and the intervals against known truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from train.data.labels import LabelMap
from train.evaluation.compare import bootstrap_intervals
from train.evaluation.metrics import (
    SmsMetric,
    compute_metrics,
    expected_calibration_error,
    headline,
)

LABELS = LabelMap.from_names(("z", "a", "m"), ("p", "q", "p"))


def some_predictions(n=200, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, n)
    probabilities = rng.dirichlet([1, 1, 1], n)
    probabilities[np.arange(n), truth] += 0.4
    return probabilities / probabilities.sum(axis=1, keepdims=True), truth


def test_scores_are_scikit_learns():
    probabilities, truth = some_predictions()
    scores = compute_metrics(probabilities, truth, LABELS)
    predicted = probabilities.argmax(axis=1)
    assert scores["accuracy"] == pytest.approx(reference.accuracy_score(truth, predicted))
    for average in ("macro", "weighted"):
        expected = reference.f1_score(truth, predicted, average=average)
        assert scores[f"{average}_f1"] == pytest.approx(expected)
    assert scores["nll"] == pytest.approx(reference.log_loss(truth, probabilities))
    assert scores["confusion_matrix"] == reference.confusion_matrix(truth, predicted).tolist()
    precision, recall, f1, support = reference.precision_recall_fscore_support(truth, predicted)
    for k, name in enumerate(LABELS.names):
        row = scores["per_label"][name]
        found = (row["precision"], row["recall"], row["f1"], row["support"])
        assert found == pytest.approx((precision[k], recall[k], f1[k], support[k]))
        area = reference.average_precision_score(truth == k, probabilities[:, k])
        assert row["auprc"] == pytest.approx(area)


def test_coarse_counts_a_message_right_when_its_parent_is():
    truth = np.array([0, 2, 1, 1])
    predicted = np.array([2, 0, 1, 0])
    coarse = compute_metrics(np.eye(3)[predicted], truth, LABELS)["coarse"]
    assert coarse["labels"] == ["p", "q"]
    assert coarse["accuracy"] == 0.75
    assert coarse["confusion_matrix"] == [[2, 0], [1, 1]]


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
def test_headline_macro_is_over_labels_with_messages(pairs):
    truth, predicted = np.array(pairs).T
    present = sorted(set(truth.tolist()))
    expected = reference.f1_score(
        truth, predicted, average="macro", labels=present, zero_division=0
    )
    assert headline(truth, predicted)["macro_f1"] == pytest.approx(expected)


def test_score_without_a_value_is_none_not_zero():
    probabilities = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1]])
    rows = compute_metrics(probabilities, np.array([0, 1]), LABELS)["per_label"]
    assert rows["m"] == {"precision": None, "recall": None, "f1": None, "support": 0, "auprc": None}


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_that_are_not_finite_are_refused(bad):
    probabilities, truth = some_predictions(5)
    probabilities[0, 0] = bad
    with pytest.raises(ValueError, match="finite"):
        compute_metrics(probabilities, truth, LABELS)


def test_calibration_error_of_known_gaps():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, 20_000)
    honest = rng.uniform(size=20_000) < confidence
    assert expected_calibration_error(confidence, honest) < 0.02
    shy = rng.uniform(size=20_000) < confidence - 0.2
    assert expected_calibration_error(confidence, shy) == pytest.approx(0.2, abs=0.02)


def test_metric_gives_what_the_function_gives_in_batches_too():
    probabilities, truth = some_predictions(40)
    metric = SmsMetric(keep_in_memory=True)
    for part in np.array_split(np.arange(40), 3):
        metric.add_batch(predictions=probabilities[part], references=truth[part])
    arguments = {"labels": list(LABELS.names), "parents": list(LABELS.parents)}
    assert metric.compute(**arguments) == compute_metrics(probabilities, truth, LABELS)


def test_interval_draws_groups_not_rows():
    # Ten campaigns of 100 copies, each right or wrong as a whole.
    right = np.repeat(np.arange(10) < 7, 100)
    truth = np.zeros(1000, dtype=int)
    predicted = np.where(right, 0, 1)
    rows = np.arange(1000)
    narrow = bootstrap_intervals(truth, predicted, rows, 2)["accuracy"]
    wide = bootstrap_intervals(truth, predicted, rows // 100, 2)["accuracy"]
    assert narrow[1] - narrow[0] < 0.08
    assert wide[1] - wide[0] > 0.4
    assert wide[0] < 0.7 < wide[1]
