"""How sure a score is: bootstrap over campaigns, not rows.

Whole groups are drawn with replacement (Field and Welsh, "Bootstrapping clustered data", 2007):
copies of one campaign are right or wrong together, so drawing rows would promise too much. Every
score follows from sums over groups, so a draw is a row of counts and no message is touched again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from smstune.arrays import Floats, Ints
from smstune.evaluation.evaluated import EvaluatedSet
from smstune.evaluation.scores.metrics import ECE_BINS, f1_scores, group_macro_f1, matrix_scores
from smstune.evaluation.scores.ranking import FALSE_POSITIVE_RATES
from smstune.evaluation.scores.results import Bounds, Intervals, undefined
from smstune.inference.labels import LabelMap

#: Counts held at once: draws times messages.
_COUNTS = 1 << 21
_HEADLINE = ("accuracy", "macro_f1", "weighted_f1", "balanced_accuracy", "matthews")
_COARSE = ("accuracy", "macro_f1", "weighted_f1")
_NO_SPREAD = "every bootstrap draw gave the same value: too few campaigns, or none that differ"

#: The keys that lead to a score in metrics.json, such as ("per_label", "retail", "recall").
ScorePath = tuple[str, ...]


def drawn_groups(groups: Ints, draws: int, seed: int) -> Iterator[Ints]:
    """Yield how often each group is drawn, shape ``(draws at once, groups)``, in their order."""
    count, rng = len(np.unique(groups)), np.random.default_rng(seed)
    at_once = max(1, _COUNTS // len(groups))
    for start in range(0, draws, at_once):
        rows = min(at_once, draws - start)
        drawn = rng.integers(count, size=(rows, count)) + count * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count)


def bootstrap_scores(
    evaluated: EvaluatedSet,
    labels: LabelMap,
    *,
    draws: int = 1000,
    seed: int = 0,
    ranked: Mapping[str, Sequence[int]] | None = None,
    costs: Floats | None = None,
) -> dict[ScorePath, Floats]:
    """Return each score in each draw; NaN where a draw leaves it without a value.

    ``ranked`` names groups of label ids whose recall at a fixed false-positive rate is drawn too,
    and whose macro-F1 against all other labels.
    The same seed draws the same campaigns of the same groups, whatever was predicted.
    """
    _, group = np.unique(evaluated.groups, return_inverse=True)
    count, size = int(group.max()) + 1, len(labels.names)
    cells = csr_array(
        (np.ones(len(group)), (group, evaluated.truth * size + evaluated.answers)), (count, size**2)
    )
    sums = csr_array(_row_sums(evaluated, group, count))
    orders = {
        name: _Ranking.of(evaluated, group, members) for name, members in (ranked or {}).items()
    }
    chunks: list[dict[ScorePath, Floats]] = []
    for times in drawn_groups(evaluated.groups, draws, seed):
        matrices = np.asarray(times @ cells).reshape(len(times), size, size)
        scores = _matrix_draws(matrices, labels)
        if costs is not None:
            scores["cost_weighted_error",] = (matrices * costs).sum(axis=(1, 2)) / matrices.sum(
                axis=(1, 2)
            )
        log_loss, brier, n_rows, *gaps = np.asarray(times @ sums).T
        scores["nll",], scores["brier",] = log_loss / n_rows, brier / n_rows
        scores["ece",] = np.abs(np.array(gaps)).sum(axis=0) / n_rows
        for name, order in orders.items():
            scores["group_macro_f1", name] = group_macro_f1(matrices, order.members)
            for rate in FALSE_POSITIVE_RATES:
                scores["recall_at_fpr", name, str(rate)] = order.recall(times, rate)
        chunks.append(scores)
    return {path: np.concatenate([chunk[path] for chunk in chunks]) for path in chunks[0]}


def intervals(
    drawn: Mapping[ScorePath, Floats], evaluated: EvaluatedSet, labels: LabelMap
) -> Intervals:
    """Return the 95 % percentile intervals of drawn scores.

    Where every draw gives the same, an accuracy or a recall of 0 or 1 gets Clopper and Pearson's
    interval over its campaigns; anything else has none: ``None``, and ``undefined`` says why.
    """
    nested: dict[str, Any] = {}
    reasons: dict[str, str] = {}
    for path, values in drawn.items():
        bounds = interval(values)
        if bounds is None:
            bounds = _exact(path, values, evaluated, labels)
        if bounds is None:
            has_value = np.isfinite(values).any()
            reasons[".".join(path)] = _NO_SPREAD if has_value else "it has no value"
        level = nested
        for key in path[:-1]:
            level = level.setdefault(key, {})
        level[path[-1]] = bounds
    return Intervals(**nested, **undefined(reasons))


def interval(values: Floats) -> Bounds | None:
    """Return the 2.5 and 97.5 % quantiles of the draws, or ``None`` if all are the same."""
    finite = values[np.isfinite(values)]
    if not len(finite) or finite.min() == finite.max():
        return None
    low, high = np.quantile(finite, [0.025, 0.975]).tolist()
    return low, high


def exact_interval(value: float, campaigns: int) -> Bounds | None:
    """Return Clopper and Pearson's 95 % interval of a share that is 0 or 1 in all campaigns."""
    if not campaigns or value not in (0.0, 1.0):
        return None
    edge = 0.025 ** (1 / campaigns)
    return (edge, 1.0) if value else (0.0, 1 - edge)


def _exact(
    path: ScorePath, values: Floats, evaluated: EvaluatedSet, labels: LabelMap
) -> Bounds | None:
    finite = values[np.isfinite(values)]
    if not len(finite):
        return None
    rows = np.ones(len(evaluated.truth), dtype=bool)
    if path[0] == "per_label" and path[2] == "recall":
        rows = evaluated.truth == labels.label2id[path[1]]
    elif path[-1] != "accuracy":
        return None
    return exact_interval(float(finite[0]), len(np.unique(evaluated.groups[rows])))


def _matrix_draws(matrices: Floats, labels: LabelMap) -> dict[ScorePath, Floats]:
    scores = matrix_scores(matrices)
    draws: dict[ScorePath, Floats] = {(name,): scores[name] for name in _HEADLINE}
    support, answered = matrices.sum(axis=2), matrices.sum(axis=1)
    hits = np.diagonal(matrices, axis1=1, axis2=2)
    with np.errstate(invalid="ignore"):
        rows = {"precision": hits / answered, "recall": hits / support}
    # A draw without a message of the label says nothing about its F1.
    rows["f1"] = np.where(support > 0, f1_scores(matrices), np.nan)
    for label_id, label in enumerate(labels.names):
        for name, values in rows.items():
            draws["per_label", label, name] = values[:, label_id]
    if labels.parent_names:
        parents = np.eye(len(labels.parent_names))[labels.parent_ids()]
        coarse = matrix_scores(parents.T @ matrices @ parents)
        draws.update({("coarse", name): coarse[name] for name in _COARSE})
    return draws


def _row_sums(evaluated: EvaluatedSet, group: Ints, count: int) -> Floats:
    """Return for each group the sums of log loss, Brier's score, rows, and the gap in each bin.

    Bins are those of the set itself: their gaps are drawn, not their edges.
    """
    rows = np.arange(len(group))
    likelihood = evaluated.probabilities[rows, evaluated.truth]
    truth = np.eye(evaluated.probabilities.shape[1])[evaluated.truth]
    confidence = evaluated.confidence
    bins = np.zeros((len(group), ECE_BINS))
    order = np.argsort(confidence, kind="stable")
    for number, members in enumerate(np.array_split(order, ECE_BINS)):
        bins[members, number] = confidence[members] - evaluated.right[members]
    columns = np.column_stack(
        [
            -np.log(likelihood.clip(1e-12)),
            ((evaluated.probabilities - truth) ** 2).sum(axis=1),
            np.ones(len(group)),
            bins,
        ]
    )
    sums = np.zeros((count, columns.shape[1]))
    np.add.at(sums, group, columns)
    return sums


@dataclass(frozen=True)
class _Ranking:
    """Rows in descending order of the score of ``members``, which are label ids.

    ``last`` marks the last row of each equal score.
    """

    members: Sequence[int]
    group: Ints
    positive: NDArray[np.bool_]
    last: NDArray[np.bool_]

    @classmethod
    def of(cls, evaluated: EvaluatedSet, group: Ints, members: Sequence[int]) -> _Ranking:
        score = evaluated.score_of(members)
        order = np.argsort(-score, kind="stable")
        positive = evaluated.is_of(members)[order]
        last = np.append(np.diff(score[order]) != 0, True)
        return cls(members, group[order], positive, last)

    def recall(self, times: Ints, rate: float) -> Floats:
        """Return the recall at a false-positive rate in each draw, NaN where it has none."""
        weights = times[:, self.group]
        hits = (weights * self.positive).cumsum(axis=1)
        false = (weights * ~self.positive).cumsum(axis=1)
        allowed = self.last & (false <= rate * false[:, -1:])
        reached = np.where(allowed, hits, 0).max(axis=1)
        has_recall = (hits[:, -1] > 0) & (false[:, -1] > 0)
        recall: Floats = np.divide(
            reached, hits[:, -1], out=np.full(len(times), np.nan), where=has_recall
        )
        return recall
