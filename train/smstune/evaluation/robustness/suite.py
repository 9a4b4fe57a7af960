"""The evasion suite: what is left of a run's scores when messages are written to get past it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smstune.config.schema import TransformName
from smstune.evaluation.scores.metrics import headline
from smstune.inference.classifier import SmsClassifier
from smstune.inference.labels import LabelMap
from smstune.text.evasion import TRANSFORMS, evade
from smstune.text.pii.mask import mask_pii

#: Messages of a split that the suite reads, each in every transform and strength.
SAMPLE = 400
STRENGTHS = (0.1, 0.3, 1.0)
_SEED = 0
#: Labels, or parents of labels, that a filter is there to stop; FR and IL are those of FBS.
_HARMFUL = {"fraud", "illegal", "fr", "il"}

logger = logging.getLogger(__name__)


def measure_robustness(
    classifier: SmsClassifier,
    texts: Sequence[str],
    truth: NDArray[np.int64],
    trained_on: Iterable[TransformName] = (),
) -> dict[str, Any]:
    """Return the scores of a sample of a split, as it is and under every transform and strength.

    ``n``, ``seed``, ``harmful`` (labels to stop; ``None`` where neither labels nor parents are
    named so), ``clean`` (scores), ``rows``: ``transform, strength, changed`` (share of the messages
    that came out otherwise), ``trained_on``, and scores with the normaliser ``on`` and ``off``.
    Scores are ``macro_f1``; ``recall``, the share of messages of harmful labels that get any
    harmful label; ``false_positive_rate``, the share of the others that get one. In both cases
    personal information is masked, in the text as it came where the normaliser is off.
    """
    picked = np.sort(np.random.default_rng(_SEED).permutation(len(texts))[:SAMPLE])
    clean, truth = [texts[row] for row in picked], truth[picked]
    cells = [(name, strength) for name in TRANSFORMS for strength in STRENGTHS]
    written = [[evade(text, name, strength, _SEED) for text in clean] for name, strength in cells]
    logger.info("evasion suite: %d messages in %d ways", len(clean), 2 * len(cells) + 1)
    variants = [clean]
    for texts in written:
        variants += [classifier.preprocess(texts), _without_normaliser(classifier, texts)]
    # One call: what comes out the same, with and without the normaliser, is scored once.
    every = [text for variant in variants for text in variant]
    predicted = classifier.predict_proba(every, preprocessed=True).argmax(axis=1)
    answers = predicted.reshape(len(variants), len(clean))
    harmful = harmful_labels(classifier.labels)
    scores = [_scores(truth, answer, harmful) for answer in answers]
    trained = set(trained_on)
    return {
        "n": len(clean),
        "seed": _SEED,
        "harmful": None
        if harmful is None
        else [name for name, bad in zip(classifier.labels.names, harmful, strict=True) if bad],
        "clean": scores[0],
        "rows": [
            {
                "transform": name,
                "strength": strength,
                "trained_on": name in trained,
                "changed": float(np.mean([a != b for a, b in zip(clean, texts, strict=True)])),
                "on": scores[2 * cell + 1],
                "off": scores[2 * cell + 2],
            }
            for cell, ((name, strength), texts) in enumerate(zip(cells, written, strict=True))
        ],
    }


def harmful_labels(labels: LabelMap) -> NDArray[np.bool_] | None:
    """Return which labels are fraud or illegal, by their parent or else by their name.

    ``None`` where that leaves no label, or none besides.
    """
    names = [parent or name for name, parent in zip(labels.names, labels.parents, strict=True)]
    harmful = np.array([name.lower() in _HARMFUL for name in names])
    return harmful if harmful.any() and not harmful.all() else None


def _without_normaliser(classifier: SmsClassifier, texts: Sequence[str]) -> list[str]:
    mask = classifier.artifact.manifest.text.mask_pii
    return [mask_pii(text) if mask else text for text in texts]


def _scores(
    truth: NDArray[np.int64], predicted: NDArray[np.int64], harmful: NDArray[np.bool_] | None
) -> dict[str, float | None]:
    scores: dict[str, float | None] = {"macro_f1": headline(truth, predicted)["macro_f1"]}
    for name, sought in (("recall", True), ("false_positive_rate", False)):
        scores[name] = None
        if harmful is not None and (part := harmful[truth] == sought).any():
            scores[name] = float(harmful[predicted[part]].mean())
    return scores
