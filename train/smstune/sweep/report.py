"""The report of a sweep: scores by variant, differences from the base, cost and curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from smstune.evaluation.comparison.compare import Difference
from smstune.evaluation.comparison.spread import Spread
from smstune.evaluation.report.training_curves import overlaid_curves
from smstune.language import Message
from smstune.reporting.charts import Line, LineChart
from smstune.reporting.document import Block, Caution, Figure, Report, Section, Table, Text
from smstune.reporting.format import interval_text
from smstune.sweep.results import RunResult, SweepResult, VariantResult

_DIFFERENCE_NOTE = Message(
    "A bootstrap over the campaigns that all variants answered, with the variation between seeds "
    "added, as `smstune compare` computes it; p is corrected by Holm for the number of variants."
)

#: optuna's states of a trial that has ended.
_STATES = {
    "complete": Message("complete"),
    "pruned": Message("pruned"),
    "fail": Message("failed"),
}


def summary_table(sweep: SweepResult) -> Table:
    """Return a row for each variant: macro-F1, its difference from the base on test, and cost."""
    head = [
        Message("variant"),
        Message("validation"),
        Message("sd"),
        Message("test"),
        Message("sd"),
        Message("difference"),
        Message("p, Holm"),
        Message("minutes"),
    ]
    differences = {row.run: row for row in sweep.test}
    rows = [
        [
            variant.name,
            *_mean_and_sd(variant.validation),
            *_mean_and_sd(variant.test),
            *_difference_and_p(differences.get(variant.name)),
            _mean([run.seconds / 60 for run in variant.runs]),
        ]
        for variant in sweep.variants
    ]
    return Table(head, rows)


def sweep_report(sweep: SweepResult, folders: Mapping[str, Sequence[Path]]) -> Report:
    """Return the report; ``folders`` are each variant's finished runs, for their curves."""
    return Report(
        title=Message("Sweep of {n_variants} variants", n_variants=len(sweep.variants)),
        opening=_opening(sweep),
        figure=_figure(sweep),
        sections=[
            _variant_section(sweep),
            *([_trial_section(sweep)] if sweep.trials else []),
            _score_section(sweep, "validation"),
            _score_section(sweep, "test"),
            _cost_section(sweep),
            Section(
                Message("Training"),
                Message("A line for each run, a colour for each variant."),
                [overlaid_curves(folders)],
            ),
        ],
    )


def _opening(sweep: SweepResult) -> list[str]:
    by_name = {variant.name: variant for variant in sweep.variants}
    best = by_name[sweep.best]
    sentences: list[str] = [
        Message(
            "The best of {n_variants} variants by mean macro-F1 on validation is {best}: "
            "{mean:.3f} over {n_seeds} seeds.",
            n_variants=len(sweep.variants),
            best=sweep.best,
            mean=_known_mean(best.validation),
            n_seeds=len(sweep.seeds),
        ),
        Message(
            "On test, which was read after that choice, its macro-F1 is {mean:.3f}.",
            mean=_known_mean(best.test),
        ),
    ]
    difference = next((row for row in sweep.test if row.run == sweep.best), None)
    if difference is not None and difference.difference is not None:
        sentences.append(
            Message(
                "That differs from {base} by {difference:+.3f} (95 %: {interval}): {verdict}.",
                base=sweep.base,
                difference=difference.difference,
                interval=interval_text(difference.ci),
                verdict=Message(difference.verdict),
            )
        )
    if sweep.failed:
        sentences.append(
            Message(
                "{n_failed} runs failed: their variants are not compared.",
                n_failed=len(sweep.failed),
            )
        )
    return sentences


def _figure(sweep: SweepResult) -> Figure:
    measured = [variant for variant in sweep.variants if variant.validation is not None]
    splits = {
        Message("validation"): [variant.validation for variant in measured],
        Message("test"): [variant.test for variant in measured],
    }
    lines = [
        Line(
            name,
            [(number, spread.mean if spread else None) for number, spread in enumerate(spreads)],
            colour,
            markers=True,
            intervals=[spread.ci if spread else None for spread in spreads],
        )
        for colour, (name, spreads) in enumerate(splits.items())
    ]
    chart = LineChart(
        lines,
        Message("variant"),
        Message("macro-F1"),
        x_names=[variant.name for variant in measured],
    )
    return Figure([chart], Message("Mean macro-F1 of each variant, with its interval"))


def _variant_section(sweep: SweepResult) -> Section:
    head = [Message("variant"), Message("changes"), Message("runs"), ""]
    rows = [
        [variant.name, " ".join(variant.changes), len(variant.runs), _marks(sweep, variant)]
        for variant in sweep.variants
    ]
    cautions = [
        Caution(
            Message(
                "{variant} with seed {seed} failed with status {status}",
                variant=run.variant,
                seed=run.seed,
                status=run.status,
            )
        )
        for run in sweep.failed
    ]
    return Section(
        Message("Variants"),
        Message("best.yaml holds the configuration of the best one."),
        [*cautions, Table(head, rows, text_columns=[Message("changes")])],
    )


def _marks(sweep: SweepResult, variant: VariantResult) -> str:
    if variant.validation is None:
        return Message("failed")
    if variant.name == sweep.best:
        return Message("best")
    return Message("base") if variant.name == sweep.base else ""


def _trial_section(sweep: SweepResult) -> Section:
    keys = list(dict.fromkeys(key for trial in sweep.trials for key in trial.parameters))
    head = [Message("trial"), *keys, Message("macro-F1"), Message("state")]
    rows = [
        [
            f"{trial.number}",
            *(_parameter(trial.parameters.get(key)) for key in keys),
            trial.validation_macro_f1,
            _STATES.get(trial.state, trial.state),
        ]
        for trial in sweep.trials
    ]
    return Section(
        Message("Search"),
        Message(
            "Each trial was trained with the first seed; macro-F1 is that of its answers on "
            "validation."
        ),
        [Table(head, rows)],
    )


def _parameter(setting: bool | int | float | str | None) -> str:
    return f"{setting:.3g}" if isinstance(setting, float) else str(setting)


def _score_section(sweep: SweepResult, split: str) -> Section:
    is_test = split == "test"
    spreads = {
        variant.name: (variant, variant.test if is_test else variant.validation)
        for variant in sweep.variants
    }
    head = [
        Message("variant"),
        Message("mean"),
        Message("sd"),
        Message("95 %"),
        *(Message("seed {seed}", seed=seed) for seed in sweep.seeds),
        *([] if is_test else [Message("encoder alone")]),
    ]
    rows = [
        [
            name,
            *_mean_and_sd(spread),
            interval_text(spread.ci if spread else None),
            *(spread.values if spread else [None] * len(sweep.seeds)),
            *([] if is_test else [_encoder_mean(variant.runs)]),
        ]
        for name, (variant, spread) in spreads.items()
    ]
    blocks: list[Block] = [Table(head, rows)]
    differences = sweep.test if is_test else sweep.validation
    if differences:
        blocks += [
            Text(
                Message("Differences from {base}. {note}", base=sweep.base, note=_DIFFERENCE_NOTE)
            ),
            _difference_table(differences),
        ]
    if is_test:
        note = Message("Macro-F1 of the deployed answers. Test decides nothing.")
        return Section(Message("On test"), note, blocks)
    note = Message(
        "Macro-F1 of the deployed answers (with the linear model, where there is one), and of the "
        "encoder alone. This split decides; calibration was fitted on it, too."
    )
    return Section(Message("On validation"), note, blocks)


def _difference_table(differences: Sequence[Difference]) -> Table:
    head = [
        Message("variant"),
        Message("difference"),
        Message("95 %"),
        Message("p, Holm"),
        Message("verdict"),
    ]
    rows = [[row.run, *_difference_cells(row), Message(row.verdict)] for row in differences]
    return Table(head, rows, text_columns=[Message("verdict")])


def _cost_section(sweep: SweepResult) -> Section:
    head = [Message("variant"), Message("seconds"), Message("peak memory, GiB"), Message("steps")]
    rows = [
        [
            variant.name,
            _rounded([run.seconds for run in variant.runs]),
            max(
                (run.peak_memory_gib for run in variant.runs if run.peak_memory_gib is not None),
                default=None,
            ),
            _rounded([run.steps for run in variant.runs]),
        ]
        for variant in sweep.variants
    ]
    return Section(
        Message("Time and memory"),
        Message(
            "Mean seconds and steps of a run, and the largest resident memory of a process. Runs "
            "that were there before the sweep count with the seconds of their training."
        ),
        [Table(head, rows)],
    )


def _difference_and_p(row: Difference | None) -> list[float | None]:
    return [None, None] if row is None else [row.difference, row.p_holm]


def _difference_cells(row: Difference | None) -> list[object]:
    if row is None or row.ci is None:
        return [None, None, None]
    interval = Message("{low:+.3f} to {high:+.3f}", low=row.ci[0], high=row.ci[1])
    return [row.difference, interval, row.p_holm]


def _mean_and_sd(spread: Spread | None) -> list[float | None]:
    return [None, None] if spread is None else [spread.mean, spread.sd]


def _known_mean(spread: Spread | None) -> float:
    return float("nan") if spread is None or spread.mean is None else spread.mean


def _encoder_mean(runs: Sequence[RunResult]) -> float | None:
    return _mean(
        [
            run.encoder_validation_macro_f1
            for run in runs
            if run.encoder_validation_macro_f1 is not None
        ]
    )


def _rounded(numbers: Sequence[float]) -> int | None:
    return round(float(np.mean(numbers))) if numbers else None


def _mean(numbers: Sequence[float]) -> float | None:
    return float(np.mean(numbers)) if numbers else None
