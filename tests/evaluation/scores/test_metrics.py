"""Scores against scikit-learn."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from smstune.errors import UserError
from smstune.evaluation.scores.costs import cost_matrix
from smstune.evaluation.scores.metrics import (
    SmsMetric,
    compute_scores,
    expected_calibration_error,
    headline,
)
from smstune.inference.labels import LabelMap

LABELS = LabelMap.from_names(("z", "a", "m"), ("p", "q", "p"))


def scores_in_json(*arguments, **keywords):
    return compute_scores(*arguments, **keywords).to_json()


def some_predictions(n=200, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, n)
    probabilities = rng.dirichlet([1, 1, 1], n)
    probabilities[np.arange(n), truth] += 0.4
    return probabilities / probabilities.sum(axis=1, keepdims=True), truth


def test_scores_are_scikit_learns():
    probabilities, truth = some_predictions()
    scores = scores_in_json(probabilities, truth, LABELS)
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
    coarse = scores_in_json(np.eye(3)[predicted], truth, LABELS)["coarse"]
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
    rows = scores_in_json(probabilities, np.array([0, 1]), LABELS)["per_label"]
    row = rows["m"]
    reasons = row.pop("undefined")
    assert row == dict.fromkeys(("precision", "recall", "f1", "auprc", "auroc")) | {"support": 0}
    assert reasons.keys() == row.keys() - {"support"}
    assert reasons["precision"] == "never answered"
    assert reasons["auroc"] == "no message has this label"


def test_set_of_one_label_has_scores_and_reasons():
    scores = scores_in_json(np.tile([0.5, 0.3, 0.2], (4, 1)), np.zeros(4, dtype=int), LABELS)
    assert scores["accuracy"] == 1
    assert scores["matthews"] is None
    assert scores["undefined"] == {"matthews": "all messages are of one label"}
    assert scores["per_label"]["z"]["undefined"] == {"auroc": "every message has this label"}
    reasons = {row["group"]: row["undefined"]["recall"] for row in scores["recall_at_fpr"][::2]}
    assert reasons == {
        "p": "every message has this label",
        "q": "no message has this label",
    }
    json.dumps(scores, allow_nan=False)


def test_further_scores_are_scikit_learns():
    probabilities, truth = some_predictions()
    scores = scores_in_json(probabilities, truth, LABELS)
    predicted = probabilities.argmax(axis=1)
    assert scores["matthews"] == pytest.approx(reference.matthews_corrcoef(truth, predicted))
    balanced = reference.balanced_accuracy_score(truth, predicted)
    assert scores["balanced_accuracy"] == pytest.approx(balanced)
    for average in ("macro", "micro", "weighted"):
        expected = reference.precision_recall_fscore_support(truth, predicted, average=average)
        found = [scores[f"{average}_{name}"] for name in ("precision", "recall", "f1")]
        assert found == pytest.approx(expected[:3])
    distances = ((probabilities - np.eye(3)[truth]) ** 2).sum(axis=1)
    assert scores["brier"] == pytest.approx(distances.mean())
    for k, name in enumerate(LABELS.names):
        area = reference.roc_auc_score(truth == k, probabilities[:, k])
        assert scores["per_label"][name]["auroc"] == pytest.approx(area)


def test_macro_f1_of_a_group_is_that_of_two_classes():
    probabilities, truth = some_predictions()
    # z and m: the parent q is the other class.
    scores = scores_in_json(probabilities, truth, LABELS, groups={"mine": ["z", "m"]})
    predicted = probabilities.argmax(axis=1)
    expected = reference.f1_score(truth == 1, predicted == 1, average="macro")
    assert scores["group_macro_f1"]["mine"] == pytest.approx(expected)
    assert scores["group_macro_f1"].keys() == {"p", "q", "mine"}
    assert scores["group_macro_f1"]["mine"] != pytest.approx(scores["macro_f1"])


def test_recall_at_a_rate_is_the_best_that_the_rate_allows():
    probabilities, truth = some_predictions(1000)
    scores = scores_in_json(probabilities, truth, LABELS, groups={"mine": ["z", "q"]})
    rows = {(row["group"], row["false_positive_rate"]): row for row in scores["recall_at_fpr"]}
    assert {group for group, _ in rows} == {"p", "q", "mine"}
    for rate in (0.01, 0.001):
        row, positive = rows["mine", rate], truth != 2
        score = probabilities[:, 0] + probabilities[:, 1]
        false, recall, _ = reference.roc_curve(positive, score)
        assert row["recall"] == recall[false <= rate].max()
        flagged = score >= row["threshold"]
        assert flagged[positive].mean() == row["recall"]
        assert flagged[~positive].mean() <= rate
        assert row["false_positives"] == int(rate * (~positive).sum())


def test_costs_by_parent_and_by_label():
    probabilities = np.eye(3)[[1, 0, 0, 2]]
    truth = np.array([0, 2, 1, 2])
    costs = {"p": {"q": 10}, "z": {"a": 50}}
    # z taken for a: 50; m for z, of one parent: 1; a for z: not named, 1; m for m: 0.
    scores = scores_in_json(probabilities, truth, LABELS, costs=costs)
    assert scores["cost_weighted_error"] == pytest.approx((50 + 1 + 1 + 0) / 4)
    assert "cost_weighted_error" not in scores_in_json(probabilities, truth, LABELS)
    assert cost_matrix(costs, LABELS)[2, 1] == 10
    for wrong in ({"p": {"none": 1}}, {"none": {"p": 1}}, {"p": {"q": -1}}):
        with pytest.raises(UserError, match=r"evaluation\.costs"):
            cost_matrix(wrong, LABELS)


def test_a_bias_moves_answers_and_no_probability():
    probabilities, truth = some_predictions()
    plain = scores_in_json(probabilities, truth, LABELS)
    moved = scores_in_json(probabilities, truth, LABELS, label_bias=[0, 9, 0])
    assert moved["nll"] == plain["nll"]
    assert moved["per_label"]["a"]["recall"] == 1
    assert moved["accuracy"] == pytest.approx((truth == 1).mean())


PART = """
import numpy as np
from smstune.evaluation.scores.metrics import SmsMetric
part = np.load({cache!r} + "/{process}.npz")
metric = SmsMetric(
    num_process=2, process_id={process}, experiment_id="x", cache_dir={cache!r}, timeout=240
)
metric.add_batch(predictions=part["probabilities"], references=part["truth"])
scores = metric.compute(labels=["z", "a", "m"], parents=["p", "q", "p"])
print(None if scores is None else (scores["n"], round(scores["nll"], 9)))
"""


def test_metric_in_two_processes(tmp_path):
    probabilities, truth = some_predictions(41)
    for process, part in enumerate(np.array_split(np.arange(41), 2)):
        np.savez(tmp_path / f"{process}.npz", probabilities=probabilities[part], truth=truth[part])
    running = [
        subprocess.Popen(
            [sys.executable, "-c", PART.format(process=process, cache=str(tmp_path))],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3] / "train")},
        )
        for process in range(2)
    ]
    first, second = (process.communicate(timeout=280)[0].strip() for process in running)
    expected = scores_in_json(probabilities, truth, LABELS)
    assert first == str((41, round(expected["nll"], 9)))
    assert second == "None"


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_that_are_not_finite_are_refused(bad):
    probabilities, truth = some_predictions(5)
    probabilities[0, 0] = bad
    with pytest.raises(ValueError, match="finite"):
        scores_in_json(probabilities, truth, LABELS)


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
    assert metric.compute(**arguments) == scores_in_json(probabilities, truth, LABELS)
