"""How sure a score is: bootstrap over campaigns, not rows.

Whole groups are drawn with replacement (Field and Welsh, "Bootstrapping clustered data", 2007):
copies of one campaign are right or wrong together, so drawing rows would promise too much. Every
score follows from sums over groups, so a draw is a row of counts and no message is touched again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from smstune.arrays import Floats, Ints
from smstune.evaluation.labelled import Judged
from smstune.evaluation.scores.metrics import ECE_BINS, f1_scores, matrix_scores
from smstune.evaluation.scores.ranking import FALSE_POSITIVE_RATES
from smstune.inference.labels import LabelMap

#: Counts held at once: draws times messages.
_COUNTS = 1 << 21
_HEADLINE = ("accuracy", "macro_f1", "weighted_f1", "balanced_accuracy", "matthews")
_COARSE = ("accuracy", "macro_f1", "weighted_f1")
_SAME = "every draw gives the same: too few campaigns, or none that differ, for an interval"

#: The way to a score in metrics.json, such as ("per_label", "retail", "recall").
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
    judged: Judged,
    labels: LabelMap,
    *,
    draws: int = 1000,
    seed: int = 0,
    ranked: Mapping[str, Sequence[int]] | None = None,
    costs: Floats | None = None,
) -> dict[ScorePath, Floats]:
    """Return each score in each draw; NaN where a draw leaves it without a value.

    ``ranked`` names groups of label ids whose recall at a fixed false-positive rate is drawn too.
    The same seed draws the same campaigns of the same groups, whatever was predicted.
    """
    _, group = np.unique(judged.groups, return_inverse=True)
    count, size = int(group.max()) + 1, len(labels.names)
    cells = csr_array(
        (np.ones(len(group)), (group, judged.truth * size + judged.predicted)), (count, size**2)
    )
    sums = csr_array(_row_sums(judged, group, count))
    orders = {name: _Ranking.of(judged, group, members) for name, members in (ranked or {}).items()}
    parts: list[dict[ScorePath, Floats]] = []
    for times in drawn_groups(judged.groups, draws, seed):
        matrices = np.asarray(times @ cells).reshape(len(times), size, size)
        part = _matrix_draws(matrices, labels)
        if costs is not None:
            part["cost_weighted_error",] = (matrices * costs).sum(axis=(1, 2)) / matrices.sum(
                axis=(1, 2)
            )
        drawn = np.asarray(times @ sums)
        part["nll",], part["brier",] = (drawn[:, at] / drawn[:, 2] for at in (0, 1))
        part["ece",] = np.abs(drawn[:, 3:]).sum(axis=1) / drawn[:, 2]
        for name, order in orders.items():
            for rate in FALSE_POSITIVE_RATES:
                part["recall_at_fpr", name, str(rate)] = order.recall(times, rate)
        parts.append(part)
    return {path: np.concatenate([part[path] for part in parts]) for path in parts[0]}


def intervals(
    drawn: Mapping[ScorePath, Floats], judged: Judged, labels: LabelMap
) -> dict[str, Any]:
    """Return the 95 % percentile intervals as ``metrics.json`` holds them, nested by path.

    Where every draw gives the same, an accuracy or a recall of 0 or 1 gets Clopper and Pearson's
    interval over its campaigns; anything else has none: ``None``, and ``undefined`` says why.
    """
    found: dict[str, Any] = {}
    reasons: dict[str, str] = {}
    for path, values in drawn.items():
        bounds = interval(values)
        if bounds is None:
            bounds = _exact(path, values, judged, labels)
        if bounds is None:
            reasons[".".join(path)] = _SAME if np.isfinite(values).any() else "it has no value"
        place = found
        for step in path[:-1]:
            place = place.setdefault(step, {})
        place[path[-1]] = bounds
    return {**found, "undefined": reasons} if reasons else found


def interval(values: Floats) -> list[float] | None:
    """Return the 2.5 and 97.5 % quantiles of the draws, or ``None`` if all are the same."""
    known = values[np.isfinite(values)]
    if not len(known) or known.min() == known.max():
        return None
    low, high = np.quantile(known, [0.025, 0.975]).tolist()
    return [low, high]


def exact_interval(value: float, campaigns: int) -> list[float] | None:
    """Return Clopper and Pearson's 95 % interval of a share that is 0 or 1 in all campaigns."""
    if not campaigns or value not in (0.0, 1.0):
        return None
    edge = 0.025 ** (1 / campaigns)
    return [edge, 1.0] if value else [0.0, 1 - edge]


def _exact(path: ScorePath, values: Floats, judged: Judged, labels: LabelMap) -> list[float] | None:
    known = values[np.isfinite(values)]
    if not len(known):
        return None
    rows = np.ones(len(judged.truth), dtype=bool)
    if path[0] == "per_label" and path[2] == "recall":
        rows = judged.truth == labels.label2id[path[1]]
    elif path[-1] != "accuracy":
        return None
    return exact_interval(float(known[0]), len(np.unique(judged.groups[rows])))


def _matrix_draws(matrices: Floats, labels: LabelMap) -> dict[ScorePath, Floats]:
    scores = matrix_scores(matrices)
    found: dict[ScorePath, Floats] = {(name,): scores[name] for name in _HEADLINE}
    support, answered = matrices.sum(axis=2), matrices.sum(axis=1)
    hits = np.diagonal(matrices, axis1=1, axis2=2)
    with np.errstate(invalid="ignore"):
        rows = {"precision": hits / answered, "recall": hits / support}
    # A draw without a message of the label says nothing about its F1.
    rows["f1"] = np.where(support > 0, f1_scores(matrices), np.nan)
    for k, label in enumerate(labels.names):
        for name, values in rows.items():
            found["per_label", label, name] = values[:, k]
    if labels.parent_names:
        parents = np.eye(len(labels.parent_names))[labels.parent_ids()]
        coarse = matrix_scores(parents.T @ matrices @ parents)
        found.update({("coarse", name): coarse[name] for name in _COARSE})
    return found


def _row_sums(judged: Judged, group: Ints, count: int) -> Floats:
    """Return for each group the sums of log loss, Brier's score, rows, and the gap in each bin.

    Bins are those of the set itself: their gaps are drawn, not their edges.
    """
    rows = np.arange(len(group))
    likelihood = judged.probabilities[rows, judged.truth]
    truth = np.eye(judged.probabilities.shape[1])[judged.truth]
    confidence = judged.probabilities[rows, judged.predicted]
    bins = np.zeros((len(group), ECE_BINS))
    for at, part in enumerate(np.array_split(np.argsort(confidence, kind="stable"), ECE_BINS)):
        bins[part, at] = confidence[part] - (judged.predicted == judged.truth)[part]
    columns = np.column_stack(
        [
            -np.log(likelihood.clip(1e-12)),
            ((judged.probabilities - truth) ** 2).sum(axis=1),
            np.ones(len(group)),
            bins,
        ]
    )
    sums = np.zeros((count, columns.shape[1]))
    np.add.at(sums, group, columns)
    return sums


class _Ranking(NamedTuple):
    """Rows from the highest score down: their group, whether positive, where a score ends."""

    group: Ints
    positive: NDArray[np.bool_]
    last: NDArray[np.bool_]

    @classmethod
    def of(cls, judged: Judged, group: Ints, members: Sequence[int]) -> _Ranking:
        score = judged.probabilities[:, list(members)].sum(axis=1)
        order = np.argsort(-score, kind="stable")
        positive = np.isin(judged.truth, list(members))[order]
        last = np.append(np.diff(score[order]) != 0, True)
        return cls(group[order], positive, last)

    def recall(self, times: Ints, rate: float) -> Floats:
        """Return the recall at a false-positive rate in each draw, NaN where it has none."""
        weights = times[:, self.group]
        hits = (weights * self.positive).cumsum(axis=1)
        false = (weights * ~self.positive).cumsum(axis=1)
        allowed = self.last & (false <= rate * false[:, -1:])
        reached = np.where(allowed, hits, 0).max(axis=1)
        both = (hits[:, -1] > 0) & (false[:, -1] > 0)
        recall: Floats = np.divide(
            reached, hits[:, -1], out=np.full(len(times), np.nan), where=both
        )
        return recall
