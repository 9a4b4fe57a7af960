"""How new messages, labelled or not, differ from those that a run was evaluated on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, fisher_exact

from smstune.arrays import Ints
from smstune.campaigns.grouping import near_matches
from smstune.config.schema import EvaluationConfig
from smstune.evaluation.comparison.significance import holm
from smstune.evaluation.drift.report import drift_report
from smstune.evaluation.drift.results import (
    Confidence,
    Drift,
    LabelShift,
    Month,
    NewMessages,
    Quantiles,
    ReferenceMessages,
    Stability,
    Unknown,
    UnknownTokens,
    Unseen,
)
from smstune.evaluation.drift.stability import ANSWER, stability_rows
from smstune.evaluation.evaluated import EvaluatedSet, evaluate_set
from smstune.evaluation.labelled import load_new, load_prepared
from smstune.evaluation.scores.bootstrap import bootstrap_scores, intervals
from smstune.evaluation.scores.metrics import headline
from smstune.evaluation.scores.results import Bounds, Intervals
from smstune.files import file_written_whole, write_json
from smstune.inference.classifier import SmsClassifier
from smstune.inference.labels import LabelMap
from smstune.language import Message, reader_language
from smstune.reporting.html import render_html
from smstune.reporting.titles import report_with_titles
from smstune.tables.options import TableOptions
from smstune.text.pii.mask import mask_pii
from smstune.text.pii.placeholders import PLACEHOLDERS

_LEVEL = 0.05


def measure_drift(
    classifier: SmsClassifier,
    section: EvaluationConfig,
    path: str,
    *,
    options: TableOptions = TableOptions(),
) -> Path:
    """Compare messages of ``[SOURCE:]PATH``, labelled or not, with the split of ``section``.

    Writes ``drift.json`` and ``drift.html`` into ``RUN/eval/<file stem>/`` and returns the path of
    the first.

    Raises:
        UserError: if the run, its data or the messages do not fit.
    """
    run = classifier.run.path
    manifest, labels = classifier.run.manifest, classifier.labels
    split = load_prepared(manifest, labels, section.split)
    train = load_prepared(manifest, labels, "train")
    messages, counts = load_new(path, labels, classifier.preprocess, options)
    reference = evaluate_set(classifier, split)
    new = evaluate_set(classifier, messages)
    unknown, stability = _unknown_and_stability(classifier, reference, new)
    drift = Drift(
        run=str(run),
        reference=ReferenceMessages(
            split=split.name, distinct=len(reference.texts), campaigns=reference.campaigns
        ),
        new=NewMessages(
            name=new.name,
            path=path,
            **asdict(counts),
            distinct=len(new.texts),
            campaigns=new.campaigns,
        ),
        labels=label_shift(reference, new, labels),
        confidence=Confidence(reference=_quantiles(reference), new=_quantiles(new)),
        unknown_tokens=unknown,
        psi=stability,
        no_known_campaign=Unseen(
            reference=_unseen_share(reference, train.texts), new=_unseen_share(new, train.texts)
        ),
        months=by_month(new, labels, draws=section.bootstrap_samples),
    )
    folder = run / "eval" / new.name
    with file_written_whole(folder / "drift.html") as file:
        report = report_with_titles(drift_report(drift), labels.shown_names(reader_language()))
        file.write_text(render_html(report), "utf-8")
    write_json(folder / "drift.json", drift.to_json())
    return folder / "drift.json"


def label_shift(reference: EvaluatedSet, new: EvaluatedSet, labels: LabelMap) -> list[LabelShift]:
    """Return for each label whether its share of the answers shifted.

    The interval is Newcombe's ("Interval estimation for the difference between independent
    proportions", 1998, method 10); p values are corrected over the labels by Holm.
    """
    sides = (reference, new)
    answers_by_side = [_campaign_answers(side, len(labels.names)) for side in sides]
    n_reference, n_new = (len(answers) for answers in answers_by_side)
    counts = [
        tuple(int((answers == label_id).sum()) for answers in answers_by_side)
        for label_id in range(len(labels.names))
    ]
    p_values = [
        float(
            fisher_exact(
                [[with_reference, n_reference - with_reference], [with_new, n_new - with_new]]
            ).pvalue
        )
        for with_reference, with_new in counts
    ]
    return [
        LabelShift(
            label=label,
            reference=float((reference.answers == label_id).mean()),
            new=float((new.answers == label_id).mean()),
            campaigns=(with_reference, with_new),
            difference=with_new / n_new - with_reference / n_reference,
            ci=difference_interval((with_reference, n_reference), (with_new, n_new)),
            p=p,
            p_holm=p_holm,
            shifted=p_holm < _LEVEL,
        )
        for label_id, (label, (with_reference, with_new), p, p_holm) in enumerate(
            zip(labels.names, counts, p_values, holm(p_values), strict=True)
        )
    ]


def difference_interval(reference: tuple[int, int], new: tuple[int, int]) -> Bounds:
    """Return Newcombe's 95 % interval of the new share minus the reference share.

    Each is given as (count, total).
    """
    (reference_share, (reference_low, reference_high)), (new_share, (new_low, new_high)) = (
        (count / total, binomtest(count, total).proportion_ci(method="wilson"))
        for count, total in (reference, new)
    )
    difference = new_share - reference_share
    below = np.hypot(new_share - new_low, reference_high - reference_share)
    above = np.hypot(new_high - new_share, reference_share - reference_low)
    return float(difference - below), float(difference + above)


def by_month(new: EvaluatedSet, labels: LabelMap, *, draws: int) -> list[Month]:
    """Return what each month of a set looks like; nothing where its messages have no time."""
    month_of_message = np.array(new.columns.get("month", []))
    return [
        _month(month, new.where(month_of_message == month), labels, draws)
        for month in sorted(set(month_of_message.tolist()) - {""})
    ]


def _month(name: str, messages: EvaluatedSet, labels: LabelMap, draws: int) -> Month:
    labelled = messages.where(messages.truth >= 0)
    scores: dict[str, float] = {}
    bounds = Intervals()
    if len(labelled.truth):
        scores = headline(labelled.truth, labelled.answers)
        if draws:
            bounds = intervals(bootstrap_scores(labelled, labels, draws=draws), labelled, labels)
    return Month(
        month=name,
        messages=len(messages.texts),
        campaigns=messages.campaigns,
        confidence=float(messages.confidence.mean()),
        labelled=len(labelled.texts),
        accuracy=scores.get("accuracy"),
        accuracy_ci=bounds.accuracy,
        macro_f1=scores.get("macro_f1"),
        macro_f1_ci=bounds.macro_f1,
    )


def _campaign_answers(evaluated: EvaluatedSet, size: int) -> Ints:
    """Return the most frequent answer of each campaign."""
    _, group = np.unique(evaluated.groups, return_inverse=True)
    votes = np.zeros((evaluated.campaigns, size), dtype=np.int64)
    np.add.at(votes, (group, evaluated.answers), 1)
    answers: Ints = votes.argmax(axis=1)
    return answers


def _quantiles(evaluated: EvaluatedSet) -> Quantiles:
    low, quarter, median = np.quantile(evaluated.confidence, [0.05, 0.25, 0.5]).tolist()
    return Quantiles.model_validate(
        {
            "mean": float(evaluated.confidence.mean()),
            "5 %": low,
            "25 %": quarter,
            "median": median,
        }
    )


def _unseen_share(evaluated: EvaluatedSet, train: Sequence[str]) -> float:
    return float((near_matches(evaluated.texts, train) < 0).mean())


def _unknown_and_stability(
    classifier: SmsClassifier, reference: EvaluatedSet, new: EvaluatedSet
) -> tuple[Unknown, list[Stability]]:
    reference_counts, new_counts = (_n_unknown(classifier, side) for side in (reference, new))
    features = [
        {**_features(side), Message("an unknown token"): n_unknown > 0}
        for side, (n_unknown, _) in ((reference, reference_counts), (new, new_counts))
    ]
    campaigns = (reference.campaigns, new.campaigns)
    unknown = Unknown(
        reference=_unknown_tokens(*reference_counts), new=_unknown_tokens(*new_counts)
    )
    return unknown, stability_rows(features, campaigns, classifier.labels.names)


def _n_unknown(classifier: SmsClassifier, evaluated: EvaluatedSet) -> tuple[Ints, int]:
    """Return the number of unknown tokens in each message, and of all tokens in all of them."""
    encoder = classifier.run.encoder
    ids = encoder.encode(evaluated.texts)
    n_unknown = np.array([sum(token_id == encoder.unknown_id for token_id in row) for row in ids])
    return n_unknown, sum(token_id not in encoder.special_ids for row in ids for token_id in row)


def _unknown_tokens(n_unknown: Ints, n_tokens: int) -> UnknownTokens:
    return UnknownTokens(
        rate=float(n_unknown.sum() / n_tokens) if n_tokens else 0.0,
        tokens=n_tokens,
        messages=int((n_unknown > 0).sum()),
    )


def _features(evaluated: EvaluatedSet) -> dict[str, NDArray[Any]]:
    masked = [mask_pii(text) for text in evaluated.texts]
    counts = {name: np.array([text.count(name) for text in masked]) for name in PLACEHOLDERS}
    return {
        ANSWER: evaluated.answers,
        Message("confidence"): evaluated.confidence,
        Message("characters"): np.array([len(text) for text in evaluated.texts]),
        Message("placeholders"): np.sum(list(counts.values()), axis=0),
        **{name: n_in_message > 0 for name, n_in_message in counts.items()},
    }
