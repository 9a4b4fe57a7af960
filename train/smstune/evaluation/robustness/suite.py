"""The evasion suite: what is left of a run's scores when messages are written to get past it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

import numpy as np
from pydantic import Field

from smstune.arrays import Flags, Ints
from smstune.config.schema import TransformName
from smstune.evaluation.scores.metrics import headline
from smstune.inference.classifier import SmsClassifier
from smstune.inference.decision import with_early_answers
from smstune.inference.labels import LabelMap
from smstune.results import Result
from smstune.text.evasion import TRANSFORMS, evade
from smstune.text.pii.mask import mask_pii

#: Messages of a split that the suite reads, each in every transform and strength.
SAMPLE = 400
STRENGTHS = (0.1, 0.3, 1.0)
_SEED = 0
#: Recall that a cascade may cost under a transform before the transform is named.
_LARGE_LOSS = 0.01
#: Labels, or parents of labels, that a filter should block; FR and IL are those of FBS.
_HARMFUL = {"fraud", "illegal", "fr", "il"}

logger = logging.getLogger(__name__)


class SuiteScores(Result):
    """``recall``: share of messages of harmful labels that get any harmful label.

    ``false_positive_rate``: share of the others that get one. ``recall_without_cascade``: recall if
    encoder and linear model together answered every message; only where the run has a cascade. All
    are ``None`` without harmful labels.
    """

    macro_f1: float
    recall: float | None
    false_positive_rate: float | None
    recall_without_cascade: float | None = None

    @property
    def recall_lost_to_cascade(self) -> float:
        """How much smaller the recall is than without the cascade; 0 where undefined."""
        if self.recall is None or self.recall_without_cascade is None:
            return 0.0
        return self.recall_without_cascade - self.recall


class SuiteRow(Result):
    """Scores of the sample under a transform and strength.

    ``normalised`` are those with the normaliser, ``raw`` those without it.
    ``changed`` is the share of messages that the transform changed, ``trained_on`` whether the run
    was trained on it.
    """

    transform: TransformName
    strength: float
    trained_on: bool
    changed: float
    normalised: SuiteScores = Field(alias="on")
    raw: SuiteScores = Field(alias="off")


class Robustness(Result):
    """Scores of ``n`` messages as they are and under every transform and strength.

    ``harmful`` are the labels to block; ``None`` where no label or parent is named so.
    """

    n: int
    seed: int
    harmful: list[str] | None
    clean: SuiteScores
    rows: list[SuiteRow]

    def lost_to_cascade(self) -> dict[TransformName, float]:
        """Return the transforms under which the cascade costs more than 1 point of recall.

        With each, the largest loss over its strengths.
        """
        losses: dict[TransformName, float] = {}
        for row in self.rows:
            loss = row.normalised.recall_lost_to_cascade
            # Subtracting changes the last digits.
            if loss > _LARGE_LOSS + 1e-12:
                losses[row.transform] = max(loss, losses.get(row.transform, 0.0))
        return losses


def measure_robustness(
    classifier: SmsClassifier,
    texts: Sequence[str],
    truth: Ints,
    trained_on: Iterable[TransformName] = (),
) -> Robustness:
    """Score a sample of a split as it is and under every transform and strength.

    Each rewrite is scored twice: normalised and masked, and only masked. With a cascade, recall is
    also measured without it.
    """
    rows = np.sort(np.random.default_rng(_SEED).permutation(len(texts))[:SAMPLE])
    clean, truth = [texts[row] for row in rows], truth[rows]
    cells = [(name, strength) for name in TRANSFORMS for strength in STRENGTHS]
    written = [[evade(text, name, strength, _SEED) for text in clean] for name, strength in cells]
    logger.info("evasion suite: %d messages in %d ways", len(clean), 2 * len(cells) + 1)
    variants = [clean]
    for rewritten in written:
        variants += [classifier.preprocess(rewritten), _without_normaliser(classifier, rewritten)]
    # One call: a text that comes out the same with and without the normaliser is scored once.
    messages = [text for variant in variants for text in variant]
    full, deployed = _answers(classifier, messages)
    shape = (len(variants), len(clean))
    harmful = harmful_labels(classifier.labels)
    clean_scores, *scores = [
        _scores(truth, answers, harmful, None if deployed is full else full_answers)
        for answers, full_answers in zip(deployed.reshape(shape), full.reshape(shape), strict=True)
    ]
    trained = set(trained_on)
    names = classifier.labels.names
    return Robustness(
        n=len(clean),
        seed=_SEED,
        harmful=None if harmful is None else [names[label] for label in np.flatnonzero(harmful)],
        clean=clean_scores,
        rows=[
            SuiteRow(
                transform=name,
                strength=strength,
                trained_on=name in trained,
                changed=float(np.mean([a != b for a, b in zip(clean, rewritten, strict=True)])),
                on=normalised,
                off=raw,
            )
            for (name, strength), rewritten, normalised, raw in zip(
                cells, written, scores[::2], scores[1::2], strict=True
            )
        ],
    )


def harmful_labels(labels: LabelMap) -> Flags | None:
    """Return which labels are fraud or illegal, by their parent or else by their name.

    ``None`` if no label is harmful, or all are.
    """
    names = [parent or name for name, parent in zip(labels.names, labels.parents, strict=True)]
    harmful = np.array([name.lower() in _HARMFUL for name in names])
    return harmful if harmful.any() and not harmful.all() else None


def _without_normaliser(classifier: SmsClassifier, texts: Sequence[str]) -> list[str]:
    mask = classifier.run.manifest.text.mask_pii
    return [mask_pii(text) if mask else text for text in texts]


def _answers(classifier: SmsClassifier, texts: Sequence[str]) -> tuple[Ints, Ints]:
    """Return the answers to preprocessed texts without the cascade, and those with it.

    Both are the same object where the run has no cascade.
    """
    full = classifier.without_cascade().predict_proba(texts, preprocessed=True)
    full_answers = classifier.answers(full)
    cascade = classifier.run.manifest.calibration.cascade
    if cascade is None or cascade.threshold is None:
        return full_answers, full_answers
    deployed = with_early_answers(full, classifier.linear_scores(texts), cascade)
    return full_answers, classifier.answers(deployed)


def _scores(
    truth: Ints, predicted: Ints, harmful: Flags | None, full_answers: Ints | None = None
) -> SuiteScores:
    """Return the scores of ``predicted``; ``full_answers`` are those without the cascade."""

    def flagged_share(messages: Flags, answers: Ints) -> float | None:
        """Return which share of some messages gets a harmful label."""
        if harmful is None or not messages.any():
            return None
        return float(harmful[answers[messages]].mean())

    is_harmful = harmful[truth] if harmful is not None else np.zeros(len(truth), dtype=bool)
    scores = SuiteScores(
        macro_f1=headline(truth, predicted)["macro_f1"],
        recall=flagged_share(is_harmful, predicted),
        false_positive_rate=flagged_share(~is_harmful, predicted),
    )
    if full_answers is None:
        return scores
    without_cascade = flagged_share(is_harmful, full_answers)
    return scores.model_copy(update={"recall_without_cascade": without_cascade})
