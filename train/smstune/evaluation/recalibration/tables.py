"""Tables and sentences that tell a person at the terminal what was estimated and certified."""

from __future__ import annotations

from collections.abc import Sequence

from smstune.arrays import Floats
from smstune.evaluation.drift.certification import Budget
from smstune.evaluation.drift.label_mix import share_interval
from smstune.evaluation.drift.mixture_fit import LEVEL, MixtureFit
from smstune.evaluation.recalibration.draw import DrawnPoint, Estimate
from smstune.evaluation.recalibration.points import CertifiedPoint
from smstune.inference.labels import LabelMap
from smstune.language import Message, reader_language
from smstune.reporting.document import Table
from smstune.reporting.format import share_text


def mix_table(estimate: Estimate, labels: LabelMap) -> Table:
    """Return the shares of the labels on validation and, by both estimators, among the new."""
    mix, shown = estimate.mix, labels.shown_names(reader_language())
    rows = []
    for number, validation_share in enumerate(estimate.validation_shares):
        names = [
            shown[name]
            for name, component in zip(labels.names, mix.component.tolist(), strict=True)
            if component == number
        ]
        rows.append(
            [
                ", ".join(names),
                share_text(validation_share),
                share_text(float(mix.shares[number])),
                _interval(mix.shares[number], mix.draws[:, number]),
                share_text(float(mix.by_answers[number])),
                _interval(mix.by_answers[number], mix.draws_by_answers[:, number]),
            ]
        )
    head = [
        Message("label"),
        Message("validation"),
        estimate.new.name,
        Message("95 %"),
        Message("by answers"),
        Message("95 %"),
    ]
    return Table(head, rows)


def _interval(share: float, draws: Floats) -> str:
    low, high = share_interval(float(share), draws)
    return Message("{low:.1f} to {high:.1f}", low=100 * low, high=100 * high)


def fit_sentence(fit: MixtureFit) -> Message:
    """Return whether a mix of the labels fits the new messages."""
    if fit.fits:
        return Message(
            "A mix of the run's labels fits the new messages (chi-square {chi_square:.1f}, "
            "p {p:.3f}).",
            chi_square=fit.chi_square,
            p=fit.p,
        )
    return Message(
        "no mix of the run's labels fits the new messages (chi-square {chi_square:.1f}, p {p:.3f}, "
        "at least {level:g} needed), so nothing is proposed: some have another label or look "
        "different; label some (`smstune suggest`) and evaluate or train the run on them",
        chi_square=fit.chi_square,
        p=fit.p,
        level=LEVEL,
    )


def proposal_table(drawn: Sequence[DrawnPoint]) -> Table:
    """Return the lowest proposed threshold of each point, and what is estimated for it."""
    rows: list[list[object]] = []
    for row in drawn:
        proposal, threshold = row.proposal, row.point.threshold
        now = None if threshold is None else f"{threshold:.4g}"
        if proposal is None:
            rows.append([row.point.name, now, *[None] * 5])
            continue
        rows.append(
            [
                row.point.name,
                now,
                f"{proposal.thresholds[-1]:.4g}",
                share_text(proposal.false_positive_rate),
                share_text(proposal.precision),
                share_text(proposal.recall),
                len(row.campaigns),
            ]
        )
    head = [
        Message("operating point"),
        Message("threshold"),
        Message("lowest proposed"),
        Message("harmless campaigns blocked"),
        Message("precision"),
        Message("recall"),
        Message("campaigns to label"),
    ]
    return Table(head, rows)


def reason_for_no_campaigns(drawn: DrawnPoint, number: int) -> Message | None:
    """Return why nothing is to be labelled for a point; ``None`` if something is."""
    if drawn.campaigns:
        return None
    budget = _budget_text(drawn.point.budget)
    if drawn.proposal is None:
        return Message(
            "{point}: no threshold is estimated to keep {budget} under the new mix",
            point=drawn.point.name,
            budget=budget,
        )
    return Message(
        "{point}: {n_labels} labels could not show that {budget} is kept, even without an error, "
        "because {n_blocked:,} of {n_campaigns:,} campaigns are blocked and perhaps only "
        "{negatives} are harmless",
        point=drawn.point.name,
        n_labels=min(number, drawn.proposal.blocked[-1]),
        budget=budget,
        n_blocked=drawn.proposal.blocked[-1],
        n_campaigns=drawn.proposal.budget.campaigns,
        negatives=share_text(drawn.proposal.budget.negatives),
    )


def certified_sentence(certified: CertifiedPoint, before: float | None) -> Message:
    """Return what was certified for a point, or why its threshold stays at ``before``."""
    step = certified.step or certified.tested[-1]
    facts = {
        "point": certified.point.name,
        "before": "–" if before is None else f"{before:.4g}",
        "threshold": f"{step.block.threshold:.4g}",
        "wrong": step.block.wrong,
        "n_drawn": step.block.drawn,
        "bounded": _bounded(certified.budget),
        "bound": share_text(step.bound),
        "budget": _budget_text(certified.point.budget),
        "largest": share_text(certified.budget.largest),
    }
    if certified.step:
        return Message(
            "{point}: threshold {before} → {threshold}; {wrong} of {n_drawn} labelled campaigns "
            "are harmless, so {bounded} is at most {bound} with confidence {confidence:g} "
            "({budget} allows {largest})",
            confidence=certified.budget.confidence,
            **facts,
        )
    return Message(
        "{point} keeps its threshold {before}: at {threshold}, {wrong} of {n_drawn} labelled "
        "campaigns are harmless, so {bounded} may be up to {bound} ({budget} allows {largest})",
        **facts,
    )


def _bounded(budget: Budget) -> Message:
    if budget.kind == "max_false_positive_rate":
        return Message("the share of harmless campaigns that are blocked")
    return Message("the harmless share of the blocked campaigns")


def _budget_text(budget: dict[str, float]) -> str:
    return ", ".join(f"{kind} {limit:g}" for kind, limit in budget.items())
