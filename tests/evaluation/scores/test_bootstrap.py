"""Intervals against known truth."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
from evaluated_sets import evaluated_set
from scipy.special import softmax
from sklearn.metrics import roc_curve
from statsmodels.stats.proportion import proportion_confint

from smstune.evaluation.scores.bootstrap import (
    bootstrap_scores,
    drawn_groups,
    exact_interval,
    interval,
    intervals,
)
from smstune.evaluation.scores.costs import cost_matrix
from smstune.evaluation.scores.metrics import compute_scores
from smstune.evaluation.scores.ranking import recalls_at_rates
from smstune.inference.labels import LabelMap

LABELS = LabelMap.from_names(("z", "a", "m"), ("p", "q", "p"))
COSTS = {"p": {"q": 10}}


def some_set(n=600, campaigns=200, seed=0):
    """Messages of campaigns: what a campaign is like moves all its messages together."""
    rng = np.random.default_rng(seed)
    group = rng.integers(campaigns, size=n)
    truth = rng.integers(3, size=campaigns)[group]
    logits = rng.normal(0, 1, (campaigns, 3))[group] + rng.normal(0, 0.5, (n, 3))
    logits[np.arange(n), truth] += 1.5
    probabilities = softmax(logits, axis=1)
    return evaluated_set(probabilities, probabilities.argmax(axis=1), truth, group * 7)


def test_a_draw_gives_what_its_messages_give():
    evaluated = some_set()
    ranked = {"p": [0, 2], "mine": [2]}
    drawn = bootstrap_scores(
        evaluated, LABELS, draws=3, ranked=ranked, costs=cost_matrix(COSTS, LABELS)
    )
    (times,) = drawn_groups(evaluated.groups, 3, 0)
    names, group = np.unique(evaluated.groups, return_inverse=True)
    assert times.shape == (3, len(names))
    for at in range(3):
        rows = np.repeat(np.arange(len(group)), times[at][group])
        scores = compute_scores(
            evaluated.probabilities[rows],
            evaluated.truth[rows],
            LABELS,
            costs=COSTS,
            groups={"mine": ["m"]},
        )
        assert drawn["group_macro_f1", "mine"][at] == pytest.approx(scores.group_macro_f1["mine"])
        for name in ("accuracy", "macro_f1", "matthews", "nll", "brier", "cost_weighted_error"):
            assert drawn[name,][at] == pytest.approx(getattr(scores, name)), name
        assert drawn["coarse", "macro_f1"][at] == pytest.approx(scores.coarse.macro_f1)
        for label, row in scores.per_label.items():
            for name in ("precision", "recall", "f1"):
                assert drawn["per_label", label, name][at] == pytest.approx(getattr(row, name))
        for row in recalls_at_rates(evaluated.probabilities[rows], evaluated.truth[rows], ranked):
            found = drawn["recall_at_fpr", row.group, str(row.false_positive_rate)][at]
            assert found == pytest.approx(row.recall)


def test_calibration_error_of_the_set_itself():
    evaluated = some_set()
    scores = compute_scores(evaluated.probabilities, evaluated.truth, LABELS)
    drawn = bootstrap_scores(evaluated, LABELS, draws=300)["ece",]
    low, high = interval(drawn)
    assert low < scores.ece < high


def test_intervals_cover_the_truth_as_often_as_promised():
    """500 sets of 400 campaigns of 1 to 7 copies; the truth is that of 200,000 campaigns."""
    rng = np.random.default_rng(0)
    chances = np.array([[0.85, 0.1, 0.05], [0.15, 0.7, 0.15], [0.1, 0.2, 0.7]])

    def drawn(campaigns):
        kind = rng.choice(3, size=campaigns, p=[0.5, 0.3, 0.2])
        answer = (chances[kind].cumsum(axis=1) > rng.uniform(size=(campaigns, 1))).argmax(axis=1)
        group = np.repeat(np.arange(campaigns), rng.integers(1, 8, campaigns))
        # Most copies share the campaign's answer, some have one of their own.
        own = rng.uniform(size=len(group)) < 0.2
        alone = (chances[kind[group]].cumsum(axis=1) > rng.uniform(size=(len(group), 1))).argmax(1)
        predicted = np.where(own, alone, answer[group])
        return evaluated_set(np.eye(3)[predicted], predicted, kind[group], group)

    population = drawn(200_000)
    truth = compute_scores(population.probabilities, population.truth, LABELS)
    wanted = {
        ("accuracy",): truth.accuracy,
        ("macro_f1",): truth.macro_f1,
        ("coarse", "macro_f1"): truth.coarse.macro_f1,
        ("per_label", "a", "recall"): truth.per_label["a"].recall,
        ("per_label", "a", "f1"): truth.per_label["a"].f1,
        ("brier",): truth.brier,
    }
    covered = dict.fromkeys(wanted, 0)
    for at in range(500):
        found = bootstrap_scores(drawn(400), LABELS, draws=400, seed=at)
        for path, value in wanted.items():
            low, high = interval(found[path])
            covered[path] += low <= value <= high
    shares = {path: count / 500 for path, count in covered.items()}
    print(shares)
    assert all(0.93 <= share <= 0.97 for share in shares.values()), shares


def test_interval_draws_groups_not_rows():
    # Ten campaigns of 100 copies, each right or wrong as a whole.
    right = np.repeat(np.arange(10) < 7, 100)
    predicted = np.where(right, 0, 1)
    rows = np.arange(1000)
    two = LabelMap.from_names(("x", "y"))

    def accuracy(groups):
        evaluated = evaluated_set(
            np.eye(2)[predicted], predicted, np.zeros(1000, dtype=int), groups
        )
        return interval(bootstrap_scores(evaluated, two)["accuracy",])

    narrow, wide = accuracy(rows), accuracy(rows // 100)
    assert narrow[1] - narrow[0] < 0.08
    assert wide[1] - wide[0] > 0.4
    assert wide[0] < 0.7 < wide[1]


def test_no_interval_of_width_zero_is_shown():
    truth = np.repeat([0, 1, 2], [30, 5, 1])
    predicted = np.where(truth == 2, 0, truth)
    evaluated = evaluated_set(np.eye(3)[predicted], predicted, truth, np.arange(36))
    found = intervals(bootstrap_scores(evaluated, LABELS, draws=200), evaluated, LABELS)
    assert found.per_label["a"].recall == exact_interval(1.0, 5)
    assert found.per_label["m"].recall == exact_interval(0.0, 1)
    assert found.per_label["m"].f1 is None
    assert "too few campaigns" in found.undefined["per_label.m.f1"]
    assert found.undefined["per_label.m.precision"] == "it has no value"
    json.dumps(found.to_json(), allow_nan=False)


def test_exact_interval_is_statsmodels():
    for count, total in ((0, 5), (8, 8)):
        expected = proportion_confint(count, total, alpha=0.05, method="beta")
        assert exact_interval(count / total, total) == pytest.approx(expected)
    assert exact_interval(0.5, 8) is None


def test_a_thousand_draws_of_2600_messages_are_fast():
    rng = np.random.default_rng(0)
    labels = LabelMap.from_names([f"l{k}" for k in range(14)], [f"p{k % 4}" for k in range(14)])
    probabilities = softmax(rng.normal(0, 2, (2600, 14)), axis=1)
    evaluated = evaluated_set(
        probabilities, probabilities.argmax(axis=1), rng.integers(14, size=2600), np.arange(2600)
    )
    ranked = {name: labels.ids_of([name], "") for name in labels.parent_names}
    started = time.perf_counter()
    bootstrap_scores(evaluated, labels, ranked=ranked)
    assert time.perf_counter() - started < 30


def test_recall_at_a_rate_with_ties_never_passes_the_rate():
    rng = np.random.default_rng(0)
    score = rng.integers(0, 5, 300) / 4
    truth = (rng.uniform(size=300) < 0.3 + 0.4 * score).astype(int)
    evaluated = evaluated_set(np.column_stack([1 - score, score]), truth, truth, np.arange(300))
    two = LabelMap.from_names(("x", "y"))
    drawn = bootstrap_scores(evaluated, two, draws=20, ranked={"y": [1]})
    (times,) = drawn_groups(evaluated.groups, 20, 0)
    for at in range(20):
        rows = np.repeat(np.arange(300), times[at])
        false, recall, _ = roc_curve(truth[rows], score[rows])
        assert drawn["recall_at_fpr", "y", "0.01"][at] == recall[false <= 0.01].max()
