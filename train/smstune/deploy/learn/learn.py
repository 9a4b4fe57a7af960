"""What `smstune learn` does: opens a run for teaching, lists its memory."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from smstune.config.schema import MemoryConfig
from smstune.deploy.learn.reference import Reference, reference_of_file, reference_of_run
from smstune.deploy.learn.teach import Teacher, remembered_texts
from smstune.errors import GateError
from smstune.inference.labels import LabelMap
from smstune.inference.manifest import LABELS, Manifest, run_file
from smstune.inference.memory.entries import Entry, FalseAlarms
from smstune.inference.memory.reports import Outcome
from smstune.inference.memory.store import open_generation
from smstune.inference.run import check_versions
from smstune.language import Message
from smstune.reporting.document import Table

#: Names of ``Entry``'s fields in a list; keys, so they are not translated.
_COLUMNS = ("id", "label", "action", "messages", "first", "last", "until", "reporter", "reason")


def open_teacher(
    run: Path, manifest: Manifest, section: MemoryConfig, validation: Path | None
) -> Teacher:
    """Return what adds reports to the memory of a run.

    False alarms are measured on the file ``validation`` if there is one, otherwise on the prepared
    folder of the run.

    Raises:
        UserError: if the run is of another version or damaged, its memory broken or begun with
            another similarity, or ``validation`` unusable.
    """
    check_versions(run, manifest)
    run_file(run, manifest, LABELS)
    labels = LabelMap.load(run / LABELS)
    reference: Reference | None
    if validation is None:
        reference = reference_of_run(manifest, labels, section.similarity)
    else:
        preprocess = partial(remembered_texts, options=manifest.text)
        reference = reference_of_file(validation, preprocess, labels, section.similarity)
    teacher = Teacher(run.resolve(), manifest.text, labels, section, reference)
    # A server must not find out with its first report.
    teacher.generation()
    return teacher


def describe(outcome: Outcome) -> Message:
    """Return a line on what was learned or refused."""
    entry = outcome.entry
    if outcome.refusal is not None:
        return Message(
            "refused: {label}, reports: {n_reports}; {problem}",
            label=entry.label,
            n_reports=len(outcome.reports),
            problem=outcome.refusal,
        )
    return Message(
        "campaign {id}: {label}, {action}; messages: {n_messages}, new: {n_new}; {alarms}",
        id=entry.id,
        label=entry.label,
        action=entry.action or Message("no action"),
        n_messages=entry.messages,
        n_new=outcome.new_messages,
        alarms=_alarms(entry.false_alarms),
    )


def require_all_learned(outcomes: Sequence[Outcome], lines: Sequence[int]) -> None:
    """Check that no campaign was refused; ``lines`` are the rows of the reports.

    Raises:
        GateError: naming the first row of a refused campaign.
    """
    refused = [outcome for outcome in outcomes if outcome.refusal is not None]
    if refused:
        raise GateError(
            "{n_refused} of {n_campaigns} campaigns were not learned, the first of row {line}: "
            "{problem}. Measure on other messages with --validation FILE, report messages that are "
            "more specific, or add --force",
            n_refused=len(refused),
            n_campaigns=len(outcomes),
            line=lines[refused[0].reports[0]],
            problem=refused[0].refusal,
        )


def list_memory(run: Path) -> Table:
    """Return a run's memory as a table, a row for each campaign.

    Raises:
        UserError: if the memory is broken.
    """
    generation = open_generation(run)
    entries: Sequence[Entry] = list(generation.entries()) if generation else []
    rows = [
        [*(getattr(entry, name) for name in _COLUMNS), _alarms(entry.false_alarms)]
        for entry in entries
    ]
    return Table([*_COLUMNS, "false_alarms"], rows)


def _alarms(alarms: FalseAlarms | None) -> Message:
    if alarms is None:
        return Message("false alarms not measured")
    return Message(
        "matches {n_messages} of {n_others:,} messages of other labels, at most {bound:.2%} of "
        "campaigns ({source})",
        n_messages=alarms.messages,
        n_others=alarms.of_messages,
        bound=alarms.bound,
        source=alarms.source,
    )
