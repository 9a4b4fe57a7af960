"""The statistics of recalibrate: by hand where a hand can, and by simulations with known truth."""

from __future__ import annotations

import numpy as np
import pytest
from evaluated_sets import evaluated_set
from label_shift import (
    BUDGETS,
    simulate_budget,
    simulate_coverage,
    simulate_refusals,
    synthetic_population,
)
from scipy.optimize import minimize_scalar
from statsmodels.stats.proportion import proportion_confint

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
    mix_by_answers,
    mix_by_maximisation,
)
from smstune.evaluation.drift.mixture_fit import fit_mixture
from smstune.evaluation.drift.proposals import WeighedCampaigns, draw_campaigns, propose

RATE, PRECISION, COST = ("max_false_positive_rate", "min_precision", "cost_ratio")


@pytest.fixture(scope="module")
def population():
    return synthetic_population()


def test_the_mix_is_the_likeliest_one():
    validation, new = np.array([[80, 15, 5], [10, 20, 70]]), np.array([300, 100, 200])
    by_label = validation / 100

    def minus_log_likelihood(share):
        return -(new * np.log(share * by_label[0] + (1 - share) * by_label[1])).sum()

    expected = minimize_scalar(minus_log_likelihood, bounds=(0, 1), method="bounded").x
    ((share, other),) = mix_by_maximisation(validation[None], new[None])
    assert share == pytest.approx(expected, abs=1e-4)
    assert share + other == pytest.approx(1)


def test_shares_by_answers_are_the_confusion_matrix_inverted():
    # Nine in ten of the first label are answered so, eight in ten of the second: of 1,000 new, with
    # 25 % of the first, 0.9 * 250 + 0.2 * 750 are answered with the first.
    validation, answer = np.array([[45, 45, 10], [10, 10, 80]]), np.array([0, 0, 1])
    ((first, second),) = mix_by_answers(validation[None], np.array([[200, 175, 625]]), answer)
    assert (first, second) == (pytest.approx(0.25), pytest.approx(0.75))
    # Fewer are answered with the first than a set without it would have: no share below 0.
    assert mix_by_answers(validation[None], np.array([[0, 0, 100]]), answer).tolist() == [[0, 1]]


def test_a_campaign_counts_once_however_many_messages_it_has():
    probabilities = [[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]]
    campaigns = CampaignAnswers.of(evaluated_set(probabilities, [0, 0, 1], [0, 0, 1], [7, 7, 9]))
    assert campaigns.probabilities.tolist() == [
        [pytest.approx(0.7), pytest.approx(0.3)],
        [0.2, 0.8],
    ]
    assert campaigns.truth.tolist() == [0, 1]


def test_rare_labels_are_merged_with_labels_of_the_same_points_alone():
    truth = np.repeat([0, 1, 2, 3, 4], [200, 30, 60, 5, 100])
    answers = CampaignAnswers(np.eye(5)[truth], truth, np.arange(len(truth)))
    component = count_cells(answers, answers, [[3, 4]]).component
    assert component[0] not in component[1:]
    assert component[1] == component[2]
    # The five of label 3 are too few, and only label 4 is guarded as it is.
    assert component[3] == component[4]


def test_a_bound_is_clopper_and_pearsons_times_the_counted_share():
    budget = Budget(RATE, 0.01, 0.95, campaigns=1000, negatives=0.8)
    # 5 % may fail: half of it for the labels, half for the share of negatives.
    _, share = proportion_confint(3, 100, alpha=0.05, method="beta")
    assert budget.bound(200, 100, 3) == pytest.approx(share * (200 / 1000) / 0.8)
    _, whole = proportion_confint(3, 100, alpha=0.1, method="beta")
    for kind, limit, largest in ((PRECISION, 0.95, 0.05), (COST, 19, 0.05)):
        other = Budget(kind, limit, 0.95, campaigns=1000, negatives=0.8)
        assert other.bound(200, 100, 3) == pytest.approx(whole)
        assert other.largest == pytest.approx(largest)


def blocks(*counts):
    return [
        LabelledBlock(1 - number / 10, blocked, drawn, wrong)
        for number, (blocked, drawn, wrong) in enumerate(counts)
    ]


def test_thresholds_are_tested_from_the_strictest_down_until_one_fails():
    budget = Budget(PRECISION, 0.9, 0.95, campaigns=500, negatives=0.5)
    # Ten of which none is wrong show nothing, and are skipped; the last is not reached.
    steps = certify(
        budget, blocks((20, 10, 0), (60, 60, 0), (80, 80, 1), (90, 90, 30), (99, 99, 0))
    )
    assert [(step.block.drawn, step.kept) for step in steps] == [
        (60, True),
        (80, True),
        (90, False),
    ]
    assert certify(budget, blocks((20, 10, 0), (60, 60, 20), (500, 500, 0)))[-1].kept is False


def test_a_threshold_that_is_estimated_to_hold_is_not_made_stricter():
    budget = Budget(PRECISION, 0.9, 0.95, campaigns=500, negatives=0.5)
    steps = certify(budget, blocks((60, 60, 0), (80, 80, 40)))
    assert step_to_take(steps, None, 0.9).block.threshold == 1
    assert step_to_take(steps, 0.5, 0.9).block.threshold == 1
    assert step_to_take(steps, 0.95, 0.9) is None
    assert step_to_take(certify(budget, blocks((60, 60, 30))), None, 0.9) is None


def test_the_lowest_proposal_uses_the_budget_under_the_new_mix():
    # One harmless campaign in ten is at 0.7; a precision of 0.9 depends on how many are harmless.
    highest = np.array([0.1] * 9 + [0.7] + [0.9] * 10)
    guarded = np.arange(20) >= 10
    new = np.array([0.1, 0.7, 0.9])
    for harmless, lowest in ((0.2, 0.7), (0.9, 0.9)):
        weight = np.where(guarded, (1 - harmless) / 10, harmless / 10)
        campaigns = WeighedCampaigns(highest, guarded, weight)
        budget = Budget(PRECISION, 0.9, 0.95, campaigns=3, negatives=harmless)
        proposal = propose(budget, campaigns, new, None)
        assert proposal.thresholds[-1] == lowest
        assert proposal.thresholds == tuple(sorted(proposal.thresholds, reverse=True))
        assert proposal.recall == pytest.approx(1)
    # The current threshold is tested, too, if it is within the budget.
    assert propose(budget, campaigns, new, 0.95).thresholds[0] == 0.95
    assert 0.5 not in propose(budget, campaigns, new, 0.5).thresholds


def test_blocked_campaigns_are_drawn_with_equal_chance():
    highest = np.linspace(0, 1, 101)
    budget = Budget(PRECISION, 0.5, 0.95, campaigns=101, negatives=0.5)
    campaigns = WeighedCampaigns(highest, highest > 0.2, np.full(101, 1 / 101))
    proposal = propose(budget, campaigns, highest, None)
    eligible = np.flatnonzero(highest >= proposal.thresholds[-1])
    rng = np.random.default_rng(0)
    drawn = [draw_campaigns(proposal, 20, rng.permutation(101)) for _ in range(2000)]
    assert all(len(set(rows.tolist())) == 20 for rows in drawn)
    counts = np.bincount(np.concatenate(drawn), minlength=101)
    assert counts[np.setdiff1d(np.arange(101), eligible)].sum() == 0
    expected = 2000 * 20 / len(eligible)
    assert abs(counts[eligible] - expected).max() < 5 * np.sqrt(expected)


def test_the_same_campaigns_as_on_validation_fit(population):
    truth = population.truth[:1500]
    answers = CampaignAnswers(population.probabilities[:1500], truth, np.arange(1500))
    histograms = count_cells(answers, answers, [population.guarded])
    assert fit_mixture(histograms).chi_square == pytest.approx(0, abs=1e-3)
    shares = np.bincount(histograms.component[truth]) / 1500
    assert estimate_mix(histograms).shares == pytest.approx(shares, abs=0.01)


@pytest.mark.parametrize("share", [0.1, 0.9])
def test_intervals_contain_the_true_mix(population, share):
    coverage = simulate_coverage(population, share, draws=30, seed=1)
    assert coverage.guarded >= 0.87
    assert coverage.labels >= 0.9
    assert abs(coverage.bias) < 0.02
    assert coverage.refused <= 0.15


def test_intervals_allow_for_errors_that_validation_does_not_show(population):
    # 1 guarded campaign in 10 on validation, 9 in 10 among the new ones. Without the campaign that
    # each component gets beside its own, 88 of these intervals contain the truth, and the mean
    # error is 0.011.
    coverage = simulate_coverage(population, 0.9, validation_share=0.1, draws=100, seed=1)
    assert coverage.guarded >= 0.91
    assert abs(coverage.bias) < 0.008


@pytest.mark.parametrize("budget", BUDGETS, ids=lambda budget: next(iter(budget)))
def test_certified_thresholds_keep_their_budget(population, budget):
    for share in (0.1, 0.9):
        assert simulate_budget(population, share, budget, draws=10, seed=1).exceeded <= 0.1


def test_a_precision_is_kept_at_a_lower_threshold_where_more_is_guarded(population):
    budgets = simulate_budget(population, 0.9, {PRECISION: 0.95}, draws=10)
    assert budgets.certified == 1
    assert budgets.recall_certified > budgets.recall_old + 0.1


def test_a_label_that_the_run_does_not_know_is_refused(population):
    assert simulate_refusals(*population.without(2), 0.15, draws=10) >= 0.6


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_coverage_over_500_draws(population, share):
    coverage = simulate_coverage(population, share, draws=500)
    # 93 to 97 %, each with two standard errors of 500 draws.
    assert 0.91 <= coverage.guarded <= 0.985
    assert 0.91 <= coverage.labels <= 0.985
    assert coverage.refused <= 0.08


@pytest.mark.slow
@pytest.mark.parametrize(("validation_share", "share"), [(0.1, 0.9), (0.9, 0.1)])
def test_coverage_of_a_reversed_mix(population, validation_share, share):
    coverage = simulate_coverage(population, share, validation_share=validation_share, draws=500)
    assert 0.9 <= coverage.guarded <= 0.985
    assert 0.87 <= coverage.labels <= 0.985


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("budget", BUDGETS, ids=lambda budget: next(iter(budget)))
def test_budgets_over_500_draws(population, budget, share):
    assert simulate_budget(population, share, budget, draws=500).exceeded <= 0.05
