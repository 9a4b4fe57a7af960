"""Has the traffic moved away from what a run was trained and judged on? Labels are not needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, fisher_exact

from smstune.arrays import Floats, Ints
from smstune.campaigns.grouping import near_matches
from smstune.config.schema import EvaluationConfig
from smstune.evaluation.comparison.significance import holm
from smstune.evaluation.drift.report import render_drift
from smstune.evaluation.drift.stability import ANSWER, stability_rows
from smstune.evaluation.labelled import Fresh, Judged, load_fresh, load_prepared
from smstune.evaluation.scores.bootstrap import bootstrap_scores, intervals
from smstune.evaluation.scores.metrics import headline
from smstune.files import file_written_whole, write_json
from smstune.inference.classifier import SmsClassifier
from smstune.inference.labels import LabelMap
from smstune.inference.tokenization import tokenize
from smstune.tables.columns import Columns
from smstune.text.pii.mask import mask_pii
from smstune.text.pii.placeholders import PLACEHOLDERS

_LEVEL = 0.05


class Side(NamedTuple):
    """Distinct messages as the model reads them, their campaigns, and what the run answers."""

    texts: list[str]
    groups: Ints
    probabilities: Floats
    predicted: Ints

    @property
    def confidence(self) -> Floats:
        """The probability of each answer."""
        return np.take_along_axis(self.probabilities, self.predicted[:, None], 1)[:, 0]

    @property
    def campaigns(self) -> int:
        """How many campaigns there are."""
        return len(np.unique(self.groups))


def measure_drift(
    classifier: SmsClassifier,
    section: EvaluationConfig,
    new: str,
    *,
    columns: Columns = Columns(),
) -> Path:
    """Hold messages of ``[SOURCE:]PATH``, labelled or not, against the split of ``section``.

    Writes ``drift.json`` and ``drift.html`` into ``RUN/eval/<file stem>/`` and returns the path of
    the first.

    Raises:
        UserError: if the run, its data or the messages do not fit.
    """
    run = classifier.artifact.path
    manifest, labels = classifier.artifact.manifest, classifier.labels
    split = load_prepared(manifest, labels, section.split)
    train = load_prepared(manifest, labels, "train")
    fresh = load_fresh(new, labels, classifier.preprocess, columns)
    reference = _answered(classifier, split.texts, split.groups)
    side = _answered(classifier, fresh.texts, fresh.groups)
    drift = {
        "run": str(run),
        "reference": {"split": split.name, **_counts(reference)},
        "new": {"name": fresh.name, "path": new, **fresh.counts, **_counts(side)},
        "labels": label_shift(reference, side, labels),
        "confidence": {"reference": _confidence(reference), "new": _confidence(side)},
        **_tokens_and_psi(classifier, reference, side),
        "no_known_campaign": {
            "reference": _unseen(reference, train.texts),
            "new": _unseen(side, train.texts),
        },
        "months": by_month(fresh, side, labels, draws=section.bootstrap_samples),
    }
    folder = run / "eval" / fresh.name
    with file_written_whole(folder / "drift.html") as path:
        path.write_text(render_drift(drift), "utf-8")
    write_json(folder / "drift.json", drift)
    return folder / "drift.json"


def label_shift(reference: Side, new: Side, labels: LabelMap) -> list[dict[str, Any]]:
    """Return each label's share of the answers on both sides, and whether it shifted.

    ``reference`` and ``new`` are shares of messages; the rest counts campaigns, each under its most
    frequent answer, since copies are not independent: ``campaigns`` of the label on either side,
    the ``difference`` of the shares with its 95 % interval (Newcombe, "Interval estimation for the
    difference between independent proportions", 1998, method 10), and Fisher's exact ``p``,
    corrected over the labels by Holm.
    """
    sides = (reference, new)
    of_campaign = [_campaign_answers(side, len(labels.names)) for side in sides]
    rows: list[dict[str, Any]] = []
    for at, label in enumerate(labels.names):
        hits = [int((answers == at).sum()) for answers in of_campaign]
        (old, before), (young, after) = zip(hits, map(len, of_campaign), strict=True)
        shares = [float((side.predicted == at).mean()) for side in sides]
        rows.append(
            {
                "label": label,
                "reference": shares[0],
                "new": shares[1],
                "campaigns": [old, young],
                "difference": young / after - old / before,
                "ci": difference_interval((old, before), (young, after)),
                "p": float(fisher_exact([[old, before - old], [young, after - young]]).pvalue),
            }
        )
    for row, p in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["p_holm"], row["shifted"] = p, p < _LEVEL
    return rows


def difference_interval(first: tuple[int, int], second: tuple[int, int]) -> list[float]:
    """Return Newcombe's 95 % interval of the second share less the first, each (hits, of)."""
    (p, (p_low, p_high)), (q, (q_low, q_high)) = (
        (hits / of, binomtest(hits, of).proportion_ci(method="wilson"))
        for hits, of in (first, second)
    )
    low, high = np.hypot(q - q_low, p_high - p), np.hypot(q_high - q, p - p_low)
    return [float(q - p - low), float(q - p + high)]


def by_month(fresh: Fresh, side: Side, labels: LabelMap, *, draws: int) -> list[dict[str, Any]]:
    """Return each month's messages, mean confidence and, where labelled, scores with intervals.

    ``labelled`` counts the messages with a label of the run; ``accuracy``, ``macro_f1`` and their
    95 % intervals over campaigns are of those, ``None`` without one.
    """
    rows = []
    for month in sorted(set(fresh.months) - {""}):
        inside = np.array(fresh.months) == month
        known = inside & (fresh.labels >= 0)
        row: dict[str, Any] = {
            "month": month,
            "messages": int(inside.sum()),
            "campaigns": len(np.unique(side.groups[inside])),
            "confidence": float(side.confidence[inside].mean()),
            "labelled": int(known.sum()),
            **dict.fromkeys(("accuracy", "accuracy_ci", "macro_f1", "macro_f1_ci")),
        }
        if known.any():
            parts = (side.probabilities, side.predicted, fresh.labels, side.groups)
            judged = Judged(*(part[known] for part in parts))
            scores = headline(judged.truth, judged.predicted)
            bounds = _bounds(judged, labels, draws)
            for name in ("accuracy", "macro_f1"):
                row[name], row[f"{name}_ci"] = scores[name], bounds.get(name)
        rows.append(row)
    return rows


def _bounds(judged: Judged, labels: LabelMap, draws: int) -> dict[str, Any]:
    if not draws:
        return {}
    return intervals(bootstrap_scores(judged, labels, draws=draws), judged, labels)


def _answered(classifier: SmsClassifier, texts: list[str], groups: Ints) -> Side:
    probabilities = classifier.predict_proba(texts, preprocessed=True)
    return Side(texts, groups, probabilities, classifier.answers(probabilities))


def _counts(side: Side) -> dict[str, int]:
    return {"distinct": len(side.texts), "campaigns": side.campaigns}


def _campaign_answers(side: Side, size: int) -> Ints:
    _, group = np.unique(side.groups, return_inverse=True)
    votes = np.zeros((side.campaigns, size), dtype=np.int64)
    np.add.at(votes, (group, side.predicted), 1)
    answers: Ints = votes.argmax(axis=1)
    return answers


def _confidence(side: Side) -> dict[str, float]:
    low, quarter, median = np.quantile(side.confidence, [0.05, 0.25, 0.5]).tolist()
    return {"mean": float(side.confidence.mean()), "5 %": low, "25 %": quarter, "median": median}


def _unseen(side: Side, train: Sequence[str]) -> float:
    return float((near_matches(side.texts, train) < 0).mean())


def _tokens_and_psi(classifier: SmsClassifier, reference: Side, new: Side) -> dict[str, Any]:
    tokenizer, length = classifier.artifact.tokenizer, classifier.artifact.manifest.max_length
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    unknown, features = {}, []
    for name, side in (("reference", reference), ("new", new)):
        ids = tokenize(side.texts, tokenizer, length)
        lacking = np.array([row.count(tokenizer.unk_token_id) for row in ids])
        tokens = sum(one not in special for row in ids for one in row)
        unknown[name] = {
            "rate": float(lacking.sum() / tokens) if tokens else 0.0,
            "tokens": tokens,
            "messages": int((lacking > 0).sum()),
        }
        features.append({**_features(side), "an unknown token": lacking > 0})
    campaigns = (reference.campaigns, new.campaigns)
    rows = stability_rows(features, campaigns, classifier.labels.names)
    return {"unknown_tokens": unknown, "psi": rows}


def _features(side: Side) -> dict[str, NDArray[Any]]:
    masked = [mask_pii(text) for text in side.texts]
    found = {name: np.array([text.count(name) for text in masked]) for name in PLACEHOLDERS}
    return {
        ANSWER: side.predicted,
        "confidence": side.confidence,
        "characters": np.array([len(text) for text in side.texts]),
        "placeholders": np.sum(list(found.values()), axis=0),
        **{name: counts > 0 for name, counts in found.items()},
    }
