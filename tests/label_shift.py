"""Simulations of thresholds under drift with known truth.

python tests/label_shift.py RUN [--draws 500] [--unknown PREPARED LABEL]

scores the validation and test splits of RUN with its fastest form and prints the tables of
docs/experiments.md. Each draw takes a third of the campaigns of each label as the validation split
(or as many, with another share of guarded labels), and 800 of the others as new messages, with
another share of guarded labels. With --unknown, LABEL is one that RUN was not trained on.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from evaluated_sets import evaluated_set

from smstune import SmsClassifier
from smstune.config.schema import OperatingPointConfig
from smstune.data.prepared import load_split
from smstune.evaluation.calibration.operating_points import choose_operating_point
from smstune.evaluation.drift.certification import (
    Budget,
    LabelledBlock,
    certify,
    step_to_take,
)
from smstune.evaluation.drift.label_mix import (
    CampaignAnswers,
    count_cells,
    estimate_mix,
    share_interval,
)
from smstune.evaluation.drift.mixture_fit import fit_mixture
from smstune.evaluation.drift.proposals import (
    WeighedCampaigns,
    draw_campaigns,
    highest_scores,
    propose,
)
from smstune.evaluation.evaluated import evaluate_set
from smstune.evaluation.labelled import load_prepared

BUDGETS = ({"max_false_positive_rate": 0.01}, {"min_precision": 0.95}, {"cost_ratio": 20.0})
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Population:
    """Campaigns of one message each, their true labels, and the labels that are guarded."""

    probabilities: np.ndarray
    truth: np.ndarray
    guarded: list[int]

    def without(self, label: int) -> tuple[Population, np.ndarray]:
        """Return the campaigns of a run that does not know a label, and its answers to that label.

        The run's probability of the label is removed.
        """
        is_known = self.truth != label
        rest = self.probabilities * (np.arange(self.probabilities.shape[1]) != label)
        rest /= rest.sum(axis=1, keepdims=True)
        guarded = [other for other in self.guarded if other != label]
        return Population(rest[is_known], self.truth[is_known], guarded), rest[~is_known]

    def mix(self, share: float) -> np.ndarray:
        """Return the shares of the labels if the guarded ones together have ``share``."""
        shares = np.bincount(self.truth, minlength=self.probabilities.shape[1]) / len(self.truth)
        is_guarded = np.isin(np.arange(len(shares)), self.guarded)
        inside, outside = shares[is_guarded].sum(), shares[~is_guarded].sum()
        return np.where(is_guarded, shares * share / inside, shares * (1 - share) / outside)

    def draw(
        self, rng, share: float | None, n_new: int, validation_share: float | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows of a validation split and of new campaigns; ``None``: the same mix."""
        n_labels = self.probabilities.shape[1]
        rows = [rng.permutation(np.flatnonzero(self.truth == label)) for label in range(n_labels)]
        if validation_share is None:
            sizes = [round(len(labelled) / 3) for labelled in rows]
        else:
            mix = self.mix(validation_share)
            # At least a quarter of each label is left for the new messages.
            available = np.bincount(self.truth, minlength=n_labels)
            size = min(len(self.truth) / 3, *(0.75 * available[mix > 0] / mix[mix > 0]))
            sizes = rng.multinomial(round(size), mix).tolist()
        validation = [labelled[:size] for labelled, size in zip(rows, sizes, strict=True)]
        unused = [labelled[size:] for labelled, size in zip(rows, sizes, strict=True)]
        shares = self.mix(np.isin(self.truth, self.guarded).mean() if share is None else share)
        counts = rng.multinomial(n_new, shares)
        new = [labelled[:count] for labelled, count in zip(unused, counts, strict=True)]
        return np.concatenate(validation), np.concatenate(new)


def separate_set(probabilities, truth):
    """Return a set in which every message is a campaign."""
    return evaluated_set(probabilities, probabilities.argmax(1), truth, np.arange(len(truth)))


def estimate(validation, new, guarded, seed=0):
    """Return histograms and mix of two sets for one operating point."""
    sides = (CampaignAnswers.of(validation), CampaignAnswers.of(new))
    histograms = count_cells(*sides, [guarded])
    return histograms, estimate_mix(histograms, seed)


@dataclass(frozen=True)
class Coverage:
    """Shares of draws in which intervals contain the truth, and in which no mix fits."""

    guarded: float
    labels: float
    by_answers: float
    bias: float
    refused: float


def simulate_coverage(
    population, share, *, draws, validation_share=None, n_new=800, seed=0
) -> Coverage:
    """Return how often the mix's 95 % intervals contain the truth under a share of guarded."""
    rng = np.random.default_rng(seed)
    truth = population.mix(share)
    rows = []
    for number in range(draws):
        validation, new = (
            separate_set(population.probabilities[chosen], population.truth[chosen])
            for chosen in population.draw(rng, share, n_new, validation_share)
        )
        histograms, mix = estimate(validation, new, population.guarded, number)
        low, high = (mix.bound_of(population.guarded, level) for level in (0.025, 0.975))
        true_shares = np.bincount(mix.component, truth)
        covered = [
            [
                interval[0] <= true_share <= interval[1]
                for interval, true_share in zip(intervals, true_shares, strict=True)
            ]
            for intervals in (
                [share_interval(*pair) for pair in zip(mix.shares, mix.draws.T, strict=True)],
                [
                    share_interval(*pair)
                    for pair in zip(mix.by_answers, mix.draws_by_answers.T, strict=True)
                ],
            )
        ]
        refused = not fit_mixture(histograms, number).fits
        error = mix.share_of(population.guarded) - share
        rows.append([low <= share <= high, *np.mean(covered, axis=1), error, refused])
    return Coverage(*np.mean(rows, axis=0).tolist())


@dataclass(frozen=True)
class Budgets:
    """What became of a budget over draws; recalls are of guarded campaigns of the new messages.

    ``exceeded`` is the share of draws in which a certified threshold breaks its budget on the new
    messages, ``certified`` the share in which one was certified.
    """

    certified: float
    exceeded: float
    old_exceeded: float
    recall_old: float
    recall_certified: float
    recall_refit: float

    @property
    def regained(self) -> float:
        """What certification regains of what a refit on all labels of the new messages does."""
        refit = self.recall_refit - self.recall_old
        return (self.recall_certified - self.recall_old) / refit if refit else float("nan")


def simulate_budget(population, share, budget, *, draws, n_new=800, seed=0) -> Budgets:
    """Return whether a budget is kept on new messages if at most 200 campaigns are labelled."""
    rng = np.random.default_rng(seed)
    section = OperatingPointConfig(labels=["guarded"], confidence=CONFIDENCE, **budget)
    rows = []
    for number in range(draws):
        validation, new = (
            separate_set(population.probabilities[chosen], population.truth[chosen])
            for chosen in population.draw(rng, share, n_new)
        )
        guarded = population.guarded
        old = choose_operating_point("point", section, validation, guarded, 1).threshold
        refit = choose_operating_point("point", section, new, guarded, 1).threshold
        certified = certified_threshold((validation, new), guarded, section, old, number)
        after = old if certified is None else certified
        truth = np.isin(new.truth, guarded)
        scores = new.score_of(guarded)
        rows.append(
            [
                certified is not None,
                certified is not None and exceeds(scores, truth, certified, budget),
                old is not None and exceeds(scores, truth, old, budget),
                *(
                    0.0 if threshold is None else (scores[truth] >= threshold).mean()
                    for threshold in (old, after, refit)
                ),
            ]
        )
    return Budgets(*np.mean(rows, axis=0).tolist())


def certified_threshold(sides, guarded, section, old, seed):
    """Return the threshold that 200 labels move the old one to, ``None`` if it stays."""
    validation, new = sides
    _, mix = estimate(validation, new, guarded, seed)
    ((kind, limit),) = section.budget.items()
    negatives = 1 - mix.bound_of(guarded, 1 - (1 - section.confidence) / 2)
    budget = Budget(kind, limit, section.confidence, len(new.truth), negatives)
    scores = highest_scores(new, guarded)
    proposal = propose(budget, WeighedCampaigns.of(validation, guarded, mix), scores, old)
    if proposal is None:
        return None
    order = np.random.default_rng(seed).permutation(len(scores))
    drawn = draw_campaigns(proposal, 200, order)
    blocks = []
    for threshold, blocked in zip(proposal.thresholds, proposal.blocked, strict=True):
        reached = drawn[scores[drawn] >= threshold]
        wrong = int((~np.isin(new.truth[reached], guarded)).sum())
        blocks.append(LabelledBlock(threshold, blocked, len(reached), wrong))
    step = step_to_take(certify(budget, blocks), old, proposal.thresholds[-1])
    return step and step.block.threshold


def exceeds(scores, truth, threshold, budget) -> bool:
    """Return whether a threshold breaks its budget on messages whose labels are known."""
    ((kind, limit),) = budget.items()
    blocked = scores >= threshold
    n_wrong, n_right = int((blocked & ~truth).sum()), int((blocked & truth).sum())
    if kind == "max_false_positive_rate":
        return n_wrong > limit * (~truth).sum()
    if kind == "min_precision":
        return n_right < limit * blocked.sum()
    # Blocking costs less than blocking nothing.
    return limit * n_wrong > n_right


def simulate_refusals(population, unknown, share, *, draws, n_new=800, seed=0) -> float:
    """Return how often no mix fits if some new campaigns have a label that the run does not know.

    ``unknown`` are the probabilities of such campaigns; they are ``share`` of the new ones, and the
    others have the mix of validation.
    """
    rng = np.random.default_rng(seed)
    refused = 0
    for number in range(draws):
        rows, new_rows = population.draw(rng, None, round((1 - share) * n_new))
        validation = separate_set(population.probabilities[rows], population.truth[rows])
        strange = unknown[rng.choice(len(unknown), round(share * n_new), replace=False)]
        # Their truth is not looked at.
        new = separate_set(
            np.concatenate([population.probabilities[new_rows], strange]),
            np.concatenate([population.truth[new_rows], np.zeros(len(strange), dtype=np.int64)]),
        )
        histograms, _ = estimate(validation, new, population.guarded, number)
        refused += not fit_mixture(histograms, number).fits
    return refused / draws


def synthetic_population(size=4000, seed=0) -> Population:
    """Return campaigns of six labels, three of them guarded, with calibrated probabilities."""
    rng = np.random.default_rng(seed)
    shares = np.array([0.35, 0.2, 0.1, 0.2, 0.1, 0.05])
    truth = rng.choice(len(shares), size, p=shares)
    centres = 2.6 * np.eye(len(shares))
    points = centres[truth] + rng.normal(size=(size, len(shares)))
    # Bayes' rule for normal noise of variance 1.
    logits = points @ centres.T + np.log(shares)
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return Population(exponents / exponents.sum(axis=1, keepdims=True), truth, [3, 4, 5])


def population_of(classifier: SmsClassifier) -> Population:
    """Return the campaigns of the validation and test splits of a run."""
    labels = classifier.labels
    splits = [
        CampaignAnswers.of(
            evaluate_set(classifier, load_prepared(classifier.run.manifest, labels, name))
        )
        for name in ("validation", "test")
    ]
    known = {*labels.names, *labels.parents}
    return Population(
        np.concatenate([split.probabilities for split in splits]),
        np.concatenate([split.truth for split in splits]),
        labels.ids_of(known & {"FR", "IL", "fraud", "illegal"}, "label_shift"),
    )


def answers_to(classifier: SmsClassifier, prepared: Path, label: str) -> np.ndarray:
    """Return a run's probabilities of the first message of each campaign of a label."""
    splits = [load_split(prepared, name) for name in ("validation", "test")]
    first = {
        (name, campaign): text
        for name, split in enumerate(splits)
        for text, found, campaign in zip(split["text"], split["label"], split["group"], strict=True)
        if found == label
    }
    return classifier.predict_proba(list(first.values()), preprocessed=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--unknown", nargs=2, metavar=("PREPARED", "LABEL"))
    args = parser.parse_args()
    classifier = SmsClassifier.from_pretrained(args.run, device="cpu")
    population = population_of(classifier)
    if args.unknown:
        prepared, label = args.unknown
        unknown = answers_to(classifier, Path(prepared), label)
        print_refusals(label, population, unknown, args.draws)
        return
    shares = (0.1, 0.5, 0.9)
    for share in shares:
        print(share, simulate_coverage(population, share, draws=args.draws), flush=True)
    for validation_share, share in ((0.1, 0.9), (0.9, 0.1)):
        coverage = simulate_coverage(
            population, share, draws=args.draws, validation_share=validation_share
        )
        print(f"validation {validation_share}, new {share}", coverage, flush=True)
    for budget in BUDGETS:
        for share in shares:
            found = simulate_budget(population, share, budget, draws=args.draws)
            print(budget, share, found, f"regained {found.regained:.2f}", flush=True)
    counts = np.bincount(population.truth, minlength=len(classifier.labels.names))
    for label in np.argsort(-counts)[:9].tolist():
        name = classifier.labels.names[label]
        print_refusals(name, *population.without(label), args.draws // 5)


def print_refusals(label, population, unknown, draws) -> None:
    """Print how often an unknown label is noticed, by its share of 800 new campaigns."""
    for share in (0.02, 0.05, 0.1):
        if share * 800 <= len(unknown):
            rate = simulate_refusals(population, unknown, share, draws=draws)
            print("unknown", label, share, rate, flush=True)


if __name__ == "__main__":
    main()
