"""Shortcuts: what a model can score without understanding a word, and what gives a label away.

A set in which 98 % of fraud begins with 您好 and only ordinary messages hold 【 teaches the sign,
not the fraud; so does a mix of sources that write differently (Geirhos et al., "Shortcut Learning
in Deep Neural Networks", Nature Machine Intelligence 2020). Two small models measure it before
anyone trains: one sees only style, one only the source.

Guessing labels at their frequencies has an expected macro-F1 of 1 / number of labels, and always
guessing the largest label less: that is the chance level.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.metrics import f1_score

from smstune.arrays import Flags, Floats, Ints
from smstune.data.report.sample import Sample, draw_sample
from smstune.data.report.statistics import Splits
from smstune.data.splits.methods import kfold_by_group
from smstune.reporting.format import percent
from smstune.text.opt_out import OPT_OUT
from smstune.text.pii.mask import mask_pii
from smstune.text.pii.placeholders import PLACEHOLDERS

SAMPLE_ROWS = 20_000
STYLE = "length, punctuation, digits, placeholders, first and last characters"
#: A style-only or source-only score is warned of from this share of the way from chance to perfect.
HEADROOM = 0.6
#: A feature gives a label away when it is in this share of the label and at most that of the rest.
COMMON, RARE = 0.9, 0.1
#: It is the label's alone when it is in this share of the label and at most that of the rest.
SOME, NEVER = 0.2, 0.005
#: Features are listed from this difference of shares, sources told apart from that.
LISTED, APART = 0.3, 0.5
#: A label is bound to a source that this share of it comes from.
BOUND = 0.95
#: Labels and sources of fewer rows, features of fewer campaigns of the label, are not judged.
FEWEST_ROWS, FEWEST_GROUPS = 20, 5

_THRESHOLDS = {
    "headroom": HEADROOM, "common": COMMON, "rare": RARE, "some": SOME, "never": NEVER,
    "listed": LISTED, "apart": APART, "bound": BOUND,
    "fewest_rows": FEWEST_ROWS, "fewest_groups": FEWEST_GROUPS,
}  # fmt: skip
_FOLDS = 3
_LISTED_FEATURES = 5
_EDGES = 30
# Noncharacters, which no message holds, stand for the placeholders: each is one character long.
_MARKS = {name: chr(0xFDD0 + index) for index, name in enumerate(PLACEHOLDERS)}
_NAMES = {mark: name for name, mark in _MARKS.items()}
_PLACEHOLDER = re.compile("|".join(map(re.escape, PLACEHOLDERS)))
_PUNCTUATION = re.compile(r"[^\w\s\ufdd0-\ufdef]")
_DIGIT, _LATIN, _BLANK = re.compile("[0-9]"), re.compile("[A-Za-z]"), re.compile(r"\s")
_BRACKETS = re.compile("[【】]")
_RATES = (_PUNCTUATION, _DIGIT, _LATIN, _BLANK)
_PRESENCE = {
    "punctuation": _PUNCTUATION,
    "a digit": _DIGIT,
    "a Latin letter": _LATIN,
    "a blank": _BLANK,
    "【 or 】": _BRACKETS,
    "an opt-out line": OPT_OUT,
    **{name: re.compile(mark) for name, mark in _MARKS.items()},
}


def check_shortcuts(splits: Splits, *, rows: int = SAMPLE_ROWS, seed: int = 42) -> dict[str, Any]:
    """Return what style and source alone give away, as values that JSON can hold.

    Scores are out of fold, folds keep campaigns whole. Keys: ``rows`` judged ``of`` so many,
    ``labels``, ``chance``, ``style`` and ``source`` (``macro_f1`` and ``per_label``; the latter
    ``None`` where all is of one source, both where there is one campaign), ``give_aways``,
    ``source_style``, ``one_source_labels``, ``thresholds`` and the ``warnings`` in words.
    """
    sample = draw_sample(splits, rows, seed)
    texts = [mask_pii(text) for text in sample.texts]
    names, flags, numbers = _features(texts)
    folds = min(_FOLDS, len(np.unique(sample.groups)))
    style = source = None
    if folds > 1:
        fold = kfold_by_group(sample.groups, sample.labels, folds=folds, seed=seed)
        style = _score(np.hstack([numbers, flags]), sample, fold, seed)
        if len(sample.source_names) > 1:
            one_hot = np.eye(len(sample.source_names))[sample.sources]
            source = _score(one_hot, sample, fold, seed)
    result: dict[str, Any] = {
        "rows": len(texts),
        "of": sample.total,
        "labels": sample.label_names,
        "sources": sample.source_names,
        "chance": _chance(sample),
        "style": style,
        "source": source,
        "give_aways": _give_aways(sample, names, flags),
        "source_style": _source_style(sample, names, flags),
        "one_source_labels": _one_source_labels(sample),
        "thresholds": dict(_THRESHOLDS),
    }
    result["warnings"] = _warnings(result)
    return result


def _features(texts: Sequence[str]) -> tuple[list[str], Flags, Floats]:
    """Return names and values of the features that a text has or has not, and its numbers."""
    plain = [_PLACEHOLDER.sub(lambda match: _MARKS[match[0]], text) for text in texts]
    length = np.array([len(text) for text in plain])
    found: dict[str, Iterable[bool]] = {
        f"holds {name}": [bool(pattern.search(text)) for text in plain]
        for name, pattern in _PRESENCE.items()
    }
    found["up to 20 characters"] = length <= 20
    found["more than 70 characters"] = length > 70
    for word, edges in (
        ("begins", [(text[:1], text[:2]) for text in plain]),
        ("ends", [(text[-1:], text[-2:]) for text in plain]),
    ):
        for edge in _frequent(edges):
            name = "".join(_NAMES.get(character, character) for character in edge)
            found[f"{word} with {name}"] = [edge in pair for pair in edges]
    flags = np.array(list(found.values()), dtype=bool).T
    rates = [[len(pattern.findall(text)) for pattern in _RATES] for text in plain]
    counts = [[text.count(mark) for mark in _NAMES] for text in plain]
    numbers = np.column_stack([length, np.array(rates) / np.maximum(length, 1)[:, None], counts])
    return list(found), flags, numbers.astype(np.float64)


def _frequent(edges: Sequence[tuple[str, str]]) -> list[str]:
    """Return the most frequent edges of one and two characters, without near-synonyms."""
    ones = Counter(one for one, _ in edges)
    twos = Counter((one, two) for one, two in edges if two != one)
    longest = {one: count for (one, _), count in reversed(twos.most_common())}
    kept = [
        one
        for one, count in ones.most_common(_EDGES)
        # 您 says no more than 您好 where nearly every 您 is one.
        if count >= FEWEST_GROUPS and longest.get(one, 0) < 0.9 * count
    ]
    return kept + [two for (_, two), n in twos.most_common(_EDGES) if n >= FEWEST_GROUPS]


def _score(features: Floats, sample: Sample, fold: Ints, seed: int) -> dict[str, Any]:
    """Return the out-of-fold F1 of a forest, over all labels and of each."""
    predicted = np.zeros(len(fold), dtype=np.int64)
    features = features.astype(np.float32)
    for number in np.unique(fold):
        inside = fold == number
        forest = ExtraTreesClassifier(
            n_estimators=60,
            min_samples_leaf=2,
            class_weight="balanced",
            random_state=seed,
        )
        forest.fit(features[~inside], sample.labels[~inside])
        predicted[inside] = forest.predict(features[inside])
    every = range(len(sample.label_names))
    f1 = f1_score(sample.labels, predicted, labels=every, average=None, zero_division=0)
    per_label = dict(zip(sample.label_names, np.round(f1, 4).tolist(), strict=True))
    return {"macro_f1": round(float(f1.mean()), 4), "per_label": per_label}


def _chance(sample: Sample) -> dict[str, float]:
    label_count = len(sample.label_names)
    largest = float(np.bincount(sample.labels).max() / len(sample.labels))
    return {
        "majority": round(2 * largest / (1 + largest) / label_count, 4),
        "stratified": round(1 / label_count, 4),
    }


def _shares(sample: Sample, flags: Flags, of: Ints) -> Floats:
    """Return the share of each feature within each value of ``of``, by the rows' weights."""
    totals = np.zeros((int(of.max()) + 1, 1 + flags.shape[1]))
    np.add.at(totals, of, np.column_stack([np.ones(len(of)), flags]) * sample.weights[:, None])
    shares: Floats = totals[:, 1:] / np.maximum(totals[:, :1], 1e-9)
    return shares


def _give_aways(sample: Sample, names: Sequence[str], flags: Flags) -> list[dict[str, Any]]:
    """Return for each label the features that are more frequent in it than in the rest."""
    names = list(names)
    if len(sample.label_names) > 2:  # of two labels, what one lacks the other holds
        held = [at for at, name in enumerate(names) if name.startswith("holds ")]
        names += [names[at].replace("holds", "lacks", 1) for at in held]
        flags = np.hstack([flags, ~flags[:, held]])
    found = []
    for label, name in enumerate(sample.label_names):
        mine = sample.labels == label
        if mine.sum() < FEWEST_ROWS or mine.all():
            continue
        rest, own = _shares(sample, flags, mine.astype(np.int64))
        kind = np.where((own >= COMMON) & (rest <= RARE), "common", "")
        kind[(own >= SOME) & (rest <= NEVER)] = "only"
        order = np.lexsort((rest - own, kind == ""))
        listed = [at for at in order if kind[at] or own[at] - rest[at] >= LISTED]
        for at in listed[:_LISTED_FEATURES]:
            groups = len(np.unique(sample.groups[mine & flags[:, at]]))
            if groups < FEWEST_GROUPS:
                continue
            found.append(
                {
                    "label": name,
                    "feature": names[at],
                    "share": round(float(own[at]), 4),
                    "elsewhere": round(float(rest[at]), 4),
                    "lift": round(float(own[at] / rest[at]), 2) if rest[at] else None,
                    "kind": str(kind[at]) or None,
                }
            )
    return found


def _source_style(sample: Sample, names: Sequence[str], flags: Flags) -> list[dict[str, Any]]:
    """Return the features that are frequent in one source and rare in another."""
    shares = _shares(sample, flags, sample.sources)
    judged = np.flatnonzero(np.bincount(sample.sources) >= FEWEST_ROWS)
    if len(judged) < 2:
        return []
    gap = shares[judged].max(axis=0) - shares[judged].min(axis=0)
    order = [at for at in np.argsort(-gap, kind="stable").tolist() if gap[at] >= APART]
    return [
        {
            "feature": names[at],
            "shares": {
                sample.source_names[row]: round(float(shares[row, at]), 4)
                for row in judged.tolist()
            },
        }
        for at in order[:_LISTED_FEATURES]
    ]


def _one_source_labels(sample: Sample) -> dict[str, dict[str, Any]]:
    """Return the labels that come from one of several sources, all or nearly all of them."""
    found: dict[str, dict[str, Any]] = {}
    for label, counts in sample.label_sources.items():
        source = max(counts, key=lambda name: counts[name])
        share = counts[source] / sum(counts.values())
        if len(sample.source_names) > 1 and share >= BOUND:
            found[label] = {"source": source, "share": round(share, 4)}
    return found


def _warnings(result: dict[str, Any]) -> list[str]:
    """Say in plain words what would make a high score mean nothing."""
    sentences = []
    chance = max(result["chance"].values())
    nothing = "A high score there need not mean that a model understands the messages."
    for key, sees in (("style", "style (" + STYLE + ")"), ("source", "a message's source")):
        score = result[key]
        if not score or result["rows"] < FEWEST_ROWS * len(result["labels"]):
            continue
        if score["macro_f1"] - chance >= HEADROOM * (1 - chance):
            sentences.append(
                f"A model that sees only {sees} and not one word of the content reaches macro-F1 "
                f"{score['macro_f1']:.2f}, where guessing reaches {chance:.2f}. {nothing}"
            )
            continue
        sentences += [
            f"{label} is found by {key} alone with F1 {f1:.2f}. {nothing}"
            for label, f1 in score["per_label"].items()
            if f1 >= COMMON
        ]
    sentences += [
        f"{row['label']} can be told by a sign instead of its content: {row['feature']}, in "
        f"{percent(row['share'])} of its messages and {percent(row['elsewhere'])} of the others. "
        "A 98 % score that rests on this means nothing."
        for row in result["give_aways"]
        if row["kind"]
    ]
    return sentences + ([_source_warning(result)] if result["source_style"] else [])


def _source_warning(result: dict[str, Any]) -> str:
    told = "; ".join(
        f"{row['feature']}: "
        + ", ".join(f"{percent(share)} of {source}" for source, share in row["shares"].items())
        for row in result["source_style"][:3]
    )
    bound: dict[str, list[str]] = {}
    for label, row in result["one_source_labels"].items():
        place = f"found {'only' if row['share'] == 1 else 'nearly only'} in {row['source']}"
        bound.setdefault(place, []).append(label)
    where = "; ".join(f"{place}: {', '.join(labels)}" for place, labels in bound.items())
    return f"The sources differ in style ({told}). " + (
        f"A label of one source may be learnt by that source's style ({where}): a 98 % score "
        "there means nothing. Add messages of it from another source, or test on a source held out."
        if bound
        else "Look at the scores of each source by itself."
    )
