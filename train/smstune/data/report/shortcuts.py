"""Shortcuts: features by which a model can score high without understanding the messages.

If 98 % of fraud begins with 您好 and only ordinary messages contain 【, a model learns these signs,
not fraud. A mix of sources with different styles has the same effect (Geirhos et al., "Shortcut
Learning in Deep Neural Networks", Nature Machine Intelligence 2020). Two small models measure this
before training: one sees only style, one only the source.

The chance level is that of guessing labels at their frequencies, which has an expected macro-F1 of
1 / number of labels; always guessing the largest label scores less.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np

from smstune.arrays import Flags, Floats, Ints
from smstune.data.report.sample import Sample, draw_sample
from smstune.data.report.statistics import Splits
from smstune.data.splits.methods import kfold_by_group
from smstune.language import Message
from smstune.text.opt_out import OPT_OUT
from smstune.text.pii.mask import mask_pii
from smstune.text.pii.placeholders import PLACEHOLDERS

SAMPLE_ROWS = 20_000
STYLE = Message("length, punctuation, digits, placeholders, first and last characters")
#: Warn if a style-only or source-only macro-F1 is at least chance + WARN_FROM * (1 - chance).
WARN_FROM = 0.6
#: A feature is common in a label if at least this share of its messages has it, and at most this
#: share of the others.
COMMON_MIN, COMMON_MAX_ELSEWHERE = 0.9, 0.1
#: It occurs only in the label if at least this share of its messages has it, and at most this share
#: of the others.
ONLY_MIN, ONLY_MAX_ELSEWHERE = 0.2, 0.005
#: Smallest difference in share for a feature to be listed.
MIN_LISTED_DIFFERENCE = 0.3
#: Smallest difference in share between two sources.
MIN_SOURCE_DIFFERENCE = 0.5
#: A label is bound to a source if at least this share of its messages comes from there.
MIN_BOUND_SHARE = 0.95
#: Labels and sources with fewer rows, and features in fewer campaigns of a label, are ignored.
MIN_ROWS, MIN_GROUPS = 20, 5

_FOLDS = 3
_LISTED_FEATURES = 5
_MAX_AFFIXES = 30
# Noncharacters, which no message contains, replace the placeholders: one character for each.
_MARKS = {name: chr(0xFDD0 + index) for index, name in enumerate(PLACEHOLDERS)}
_NAMES = {mark: name for name, mark in _MARKS.items()}
_PLACEHOLDER = re.compile("|".join(map(re.escape, PLACEHOLDERS)))
_PUNCTUATION = re.compile(r"[^\w\s\ufdd0-\ufdef]")
_DIGIT, _LATIN, _BLANK = re.compile("[0-9]"), re.compile("[A-Za-z]"), re.compile(r"\s")
_BRACKETS = re.compile("[【】]")
_RATES = (_PUNCTUATION, _DIGIT, _LATIN, _BLANK)
_PRESENCE = {
    Message("punctuation"): _PUNCTUATION,
    Message("a digit"): _DIGIT,
    Message("a Latin letter"): _LATIN,
    Message("a blank"): _BLANK,
    Message("【 or 】"): _BRACKETS,
    Message("an opt-out line"): OPT_OUT,
    **{name: re.compile(mark) for name, mark in _MARKS.items()},
}


@dataclass(frozen=True)
class ModelScore:
    """F1 of a small model, measured by cross-validation: the mean over labels, and of each."""

    macro_f1: float
    per_label: dict[str, float]


@dataclass(frozen=True)
class Chance:
    """Macro-F1 of guessing: always the largest label, or each label at its frequency."""

    majority: float
    stratified: float

    @property
    def best(self) -> float:
        """The higher of the two."""
        return max(self.majority, self.stratified)


@dataclass(frozen=True)
class GiveAway:
    """A feature that is more frequent in one label than elsewhere.

    ``share`` is the share of the label's messages that have the feature, ``elsewhere`` the same for
    the other messages; ``lift`` is their ratio, ``None`` if ``elsewhere`` is 0. ``kind`` is
    ``common`` (most of the label, few others), ``only`` (some of the label, hardly any others) or
    ``None`` where the feature is no reason for a warning.
    """

    label: str
    feature: str
    share: float
    elsewhere: float
    lift: float | None
    kind: Literal["common", "only"] | None


@dataclass(frozen=True)
class SourceFeature:
    """A feature that is frequent in one source and rare in another: its share of each source."""

    feature: str
    shares: dict[str, float]


@dataclass(frozen=True)
class BoundLabel:
    """The source that all or nearly all messages of a label come from, and their share."""

    source: str
    share: float


@dataclass(frozen=True)
class ShortcutCheck:
    """What style and source alone give away, measured on ``rows`` of ``total`` messages.

    ``source`` is ``None`` where there is one source, ``style`` too where there is one campaign.
    """

    rows: int
    total: int
    labels: list[str]
    chance: Chance
    style: ModelScore | None
    source: ModelScore | None
    give_aways: list[GiveAway]
    source_style: list[SourceFeature]
    one_source_labels: dict[str, BoundLabel]


def check_shortcuts(splits: Splits, *, rows: int = SAMPLE_ROWS, seed: int = 42) -> ShortcutCheck:
    """Return what style and source alone give away, measured on a sample of ``rows`` messages.

    Each fold of the cross-validation has whole campaigns.
    """
    sample = draw_sample(splits, rows, seed)
    texts = [mask_pii(text) for text in sample.texts]
    names, flags, numbers = _features(texts)
    folds = min(_FOLDS, len(np.unique(sample.groups)))
    style = source = None
    if folds > 1:
        fold_of_row = kfold_by_group(sample.groups, sample.labels, folds=folds, seed=seed)
        style = _score(np.hstack([numbers, flags]), sample, fold_of_row, seed)
        if len(sample.source_names) > 1:
            one_hot = np.eye(len(sample.source_names))[sample.sources]
            source = _score(one_hot, sample, fold_of_row, seed)
    return ShortcutCheck(
        rows=len(texts),
        total=sample.total,
        labels=sample.label_names,
        chance=_chance(sample),
        style=style,
        source=source,
        give_aways=_give_aways(sample, names, flags),
        source_style=_source_style(sample, names, flags),
        one_source_labels=_one_source_labels(sample),
    )


def _features(texts: Sequence[str]) -> tuple[list[str], Flags, Floats]:
    """Return the names of the yes-or-no features, whether each text has them, and its numbers."""
    plain = [_PLACEHOLDER.sub(lambda match: _MARKS[match[0]], text) for text in texts]
    length = np.array([len(text) for text in plain])
    flags_by_name: dict[str, Iterable[bool]] = {
        Message("contains {sign}", sign=name): [bool(pattern.search(text)) for text in plain]
        for name, pattern in _PRESENCE.items()
    }
    flags_by_name[Message("up to 20 characters")] = length <= 20
    flags_by_name[Message("more than 70 characters")] = length > 70
    beginnings = [(text[:1], text[:2]) for text in plain]
    for affix in _frequent(beginnings):
        feature = Message("begins with {affix}", affix=_affix_name(affix))
        flags_by_name[feature] = [affix in pair for pair in beginnings]
    endings = [(text[-1:], text[-2:]) for text in plain]
    for affix in _frequent(endings):
        feature = Message("ends with {affix}", affix=_affix_name(affix))
        flags_by_name[feature] = [affix in pair for pair in endings]
    flags = np.array(list(flags_by_name.values()), dtype=bool).T
    rates = [[len(pattern.findall(text)) for pattern in _RATES] for text in plain]
    counts = [[text.count(mark) for mark in _NAMES] for text in plain]
    numbers = np.column_stack([length, np.array(rates) / np.maximum(length, 1)[:, None], counts])
    return list(flags_by_name), flags, numbers.astype(np.float64)


def _affix_name(affix: str) -> str:
    return "".join(_NAMES.get(character, character) for character in affix)


def _frequent(affixes: Sequence[tuple[str, str]]) -> list[str]:
    """Return the most frequent affixes of one and two characters.

    An affix of one character is not returned if nearly all its occurrences are part of a longer
    one.
    """
    singles = Counter(single for single, _ in affixes)
    pairs = Counter((single, pair) for single, pair in affixes if pair != single)
    most_frequent_pair = {single: count for (single, _), count in reversed(pairs.most_common())}
    frequent_singles = [
        single
        for single, count in singles.most_common(_MAX_AFFIXES)
        # 您 adds nothing to 您好 if nearly every leading 您 is part of 您好.
        if count >= MIN_GROUPS and most_frequent_pair.get(single, 0) < 0.9 * count
    ]
    frequent_pairs = [
        pair for (_, pair), count in pairs.most_common(_MAX_AFFIXES) if count >= MIN_GROUPS
    ]
    return frequent_singles + frequent_pairs


def _score(features: Floats, sample: Sample, fold_of_row: Ints, seed: int) -> ModelScore:
    """Return the F1 of a forest whose prediction of each row was trained on the other folds."""
    # Slow to import, and a command checks its input first.
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.metrics import f1_score

    predicted = np.zeros(len(fold_of_row), dtype=np.int64)
    features = features.astype(np.float32)
    for fold in np.unique(fold_of_row):
        inside = fold_of_row == fold
        forest = ExtraTreesClassifier(
            n_estimators=60,
            min_samples_leaf=2,
            class_weight="balanced",
            random_state=seed,
        )
        forest.fit(features[~inside], sample.labels[~inside])
        predicted[inside] = forest.predict(features[inside])
    label_ids = range(len(sample.label_names))
    f1 = f1_score(sample.labels, predicted, labels=label_ids, average=None, zero_division=0)
    per_label = dict(zip(sample.label_names, np.round(f1, 4).tolist(), strict=True))
    return ModelScore(round(float(f1.mean()), 4), per_label)


def _chance(sample: Sample) -> Chance:
    label_count = len(sample.label_names)
    largest = float(np.bincount(sample.labels).max() / len(sample.labels))
    return Chance(
        majority=round(2 * largest / (1 + largest) / label_count, 4),
        stratified=round(1 / label_count, 4),
    )


def _shares(sample: Sample, flags: Flags, category: Ints) -> Floats:
    """Return the share of each feature within each category of rows, by the rows' weights."""
    totals = np.zeros((int(category.max()) + 1, 1 + flags.shape[1]))
    weighted = np.column_stack([np.ones(len(category)), flags]) * sample.weights[:, None]
    np.add.at(totals, category, weighted)
    shares: Floats = totals[:, 1:] / np.maximum(totals[:, :1], 1e-9)
    return shares


def _give_aways(sample: Sample, names: Sequence[str], flags: Flags) -> list[GiveAway]:
    """Return for each label the features that are more frequent in it than in the other labels."""
    names = list(names)
    # With two labels, what one lacks the other contains.
    if len(sample.label_names) > 2:
        names += [Message("lacks {sign}", sign=name) for name in _PRESENCE]
        # The signs come first in ``_features``.
        flags = np.hstack([flags, ~flags[:, : len(_PRESENCE)]])
    give_aways = []
    for label, label_name in enumerate(sample.label_names):
        in_label = sample.labels == label
        if in_label.sum() < MIN_ROWS or in_label.all():
            continue
        elsewhere, share = _shares(sample, flags, in_label.astype(np.int64))
        kind = np.where((share >= COMMON_MIN) & (elsewhere <= COMMON_MAX_ELSEWHERE), "common", "")
        kind[(share >= ONLY_MIN) & (elsewhere <= ONLY_MAX_ELSEWHERE)] = "only"
        order = np.lexsort((elsewhere - share, kind == ""))
        listed = [
            column
            for column in order
            if kind[column] or share[column] - elsewhere[column] >= MIN_LISTED_DIFFERENCE
        ]
        for column in listed[:_LISTED_FEATURES]:
            n_groups = len(np.unique(sample.groups[in_label & flags[:, column]]))
            if n_groups < MIN_GROUPS:
                continue
            lift = float(share[column] / elsewhere[column]) if elsewhere[column] else None
            give_aways.append(
                GiveAway(
                    label=label_name,
                    feature=names[column],
                    share=round(float(share[column]), 4),
                    elsewhere=round(float(elsewhere[column]), 4),
                    lift=None if lift is None else round(lift, 2),
                    kind=cast(Literal["common", "only"] | None, str(kind[column]) or None),
                )
            )
    return give_aways


def _source_style(sample: Sample, names: Sequence[str], flags: Flags) -> list[SourceFeature]:
    """Return the features that are frequent in one source and rare in another."""
    shares = _shares(sample, flags, sample.sources)
    large = np.flatnonzero(np.bincount(sample.sources) >= MIN_ROWS)
    if len(large) < 2:
        return []
    gap = shares[large].max(axis=0) - shares[large].min(axis=0)
    order = [
        column
        for column in np.argsort(-gap, kind="stable").tolist()
        if gap[column] >= MIN_SOURCE_DIFFERENCE
    ]
    return [
        SourceFeature(
            names[column],
            {
                sample.source_names[source]: round(float(shares[source, column]), 4)
                for source in large.tolist()
            },
        )
        for column in order[:_LISTED_FEATURES]
    ]


def _one_source_labels(sample: Sample) -> dict[str, BoundLabel]:
    """Return the labels whose messages come (nearly) all from one source, if there are several."""
    bound_labels: dict[str, BoundLabel] = {}
    for label, counts in sample.label_sources.items():
        source = max(counts, key=lambda name: counts[name])
        share = counts[source] / sum(counts.values())
        if len(sample.source_names) > 1 and share >= MIN_BOUND_SHARE:
            bound_labels[label] = BoundLabel(source, round(share, 4))
    return bound_labels
