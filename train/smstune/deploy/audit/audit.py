"""Self-inspection of outgoing messages: which are marketing, and which rules they hit."""

from __future__ import annotations

import csv
import itertools
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from smstune.deploy.audit.inspector import OPTIONAL, Groups, Line, Walk
from smstune.deploy.audit.recipients import read_moment
from smstune.deploy.audit.report import render_audit
from smstune.deploy.audit.rules import Labelled, RuleBook
from smstune.errors import GateError, UserError
from smstune.files import folder_written_whole, write_json
from smstune.inference.classifier import SmsClassifier
from smstune.progress import Progress
from smstune.tables.columns import Columns
from smstune.tables.read import read_rows
from smstune.tables.row import TableRow
from smstune.text.pii.mask import mask_pii

_log = logging.getLogger(__name__)
_ROWS_AT_ONCE = 8192
_SENDERS_SHOWN = 20


def audit(
    classifier: SmsClassifier,
    source: Path,
    output: Path,
    book: RuleBook,
    *,
    columns: Mapping[str, str],
    marketing: Sequence[str] | None = None,
    max_share: Mapping[str, float],
    with_text: bool = False,
) -> dict[str, Any]:
    """Write ``findings.csv``, ``audit.json`` and ``audit.html`` to ``output``; return the second.

    ``columns`` names those of the input: ``text``, and any of ``OPTIONAL``, whose own names are
    tried where none is given. ``marketing`` names labels or parents in place of the book's.
    ``max_share`` bounds the share of a rule's hits: see ``require_shares``. No file holds a
    recipient, and messages stand in them only with personal information masked. Memory grows
    with the pairs of recipient and day alone (``RecipientDays``).

    Raises:
        UserError: if the input has no message, or not what an argument asks for.
    """
    groups = _groups(classifier, book, marketing)
    records = read_rows(source, Columns(text=columns["text"], labelled=False))
    chunks = iter(lambda: list(itertools.islice(records, _ROWS_AT_ONCE)), [])
    first = next(chunks, None)
    if first is None:
        raise UserError(f"expected messages, found none in {source}")
    walk = Walk(classifier, book.rules, groups, _columns(source, first, columns))
    _tell_unchecked(walk, max_share)
    with folder_written_whole(output) as folder:
        _write_findings(walk, itertools.chain([first], chunks), folder, with_text=with_text)
        result = _result(walk, max_share) | {
            "run": classifier.artifact.path.name,
            "input": source.name,
            "model": _model_scores(classifier.artifact.path, groups.marketing),
        }
        write_json(folder / "audit.json", result)
        (folder / "audit.html").write_text(render_audit(result, walk.examples), "utf-8")
    return result


def parse_limits(words: Sequence[str], book: RuleBook) -> dict[str, float]:
    """Return the bounds that ``RULE=SHARE`` words give.

    Raises:
        UserError: on an unknown rule or a share outside [0, 1].
    """
    limits = {}
    names = [*book.rules.by_name()]
    for word in words:
        name, _, value = word.partition("=")
        if name not in names:
            raise UserError(f"--max-share: unknown rule {name!r}, expected {', '.join(names)}")
        try:
            limits[name] = float(value)
        except ValueError:
            limits[name] = -1.0
        if not 0 <= limits[name] <= 1:
            raise UserError(f"--max-share {name}: expected a share from 0 to 1, found {value!r}")
    return limits


def require_shares(result: Mapping[str, Any]) -> None:
    """Raise a GateError that names every rule hit by a greater share than ``max_share`` allows."""
    over = [
        f"{name} {100 * rule['share']:.2f} % of {rule['of']}, above {100 * rule['max_share']:g} %"
        for name, rule in result["rules"].items()
        if rule["over"]
    ]
    if over:
        raise GateError("shares of rule hits above --max-share: " + "; ".join(over))


def _groups(classifier: SmsClassifier, book: RuleBook, marketing: Sequence[str] | None) -> Groups:
    labels = classifier.labels
    known = [*dict.fromkeys([*labels.parent_names, *labels.names])]

    def named(names: Iterable[str]) -> frozenset[str]:
        return frozenset(labels.names[k] for k in labels.ids_of(names, "--marketing"))

    found = named(marketing or [name for name in book.marketing if name in known])
    if not found:
        raise UserError(
            f"expected a label or parent {' or '.join(book.marketing)} in the run, found "
            f"{', '.join(known)}: name those that are marketing with --marketing"
        )
    asked = {
        name: named(label for label in rule.labels if label in known)
        for name, rule in book.rules.by_name().items()
        if isinstance(rule, Labelled)
    }
    return Groups(found, asked)


def _columns(source: Path, rows: Sequence[TableRow], columns: Mapping[str, str]) -> dict[str, str]:
    """Return the input's columns by what they hold."""
    whole = [row for row in rows if row.problem is None]
    there = {name for row in whole for name in row.fields}
    missing = [kind for kind in OPTIONAL if kind in columns and columns[kind] not in there]
    if missing:
        raise UserError(
            f"expected column {', '.join(columns[kind] for kind in missing)} in {source}, found "
            f"{', '.join(sorted(there))}: name yours with --{missing[0]}-column"
        )
    found = {kind: columns.get(kind, kind) for kind in OPTIONAL}
    found = {kind: name for kind, name in found.items() if name in there}
    times = [row.fields.get(found["time"]) for row in whole] if "time" in found else []
    if times and all(read_moment(value) is None for value in times):
        raise UserError(
            f"expected times such as 2021-11-01 09:30:00 in column {found['time']} of {source}, "
            f"found {mask_pii(str(times[0]))!r}: name another with --time-column"
        )
    return found


def _tell_unchecked(walk: Walk, max_share: Mapping[str, float]) -> None:
    for name in walk.rules.by_name():
        reason = walk.unchecked(name)
        if reason and name in max_share:
            raise UserError(f"--max-share {name}: expected a rule that can be checked: {reason}")
        if reason:
            _log.warning("rule %s is not checked: %s", name, reason)


def _write_findings(
    walk: Walk, chunks: Iterable[Sequence[TableRow]], folder: Path, *, with_text: bool
) -> None:
    """Write ``findings.csv``: rows that hit a rule, and those that could not be read."""
    width = len(Line._fields) if with_text else len(Line._fields) - 1
    # With its mark, spreadsheets read the file as UTF-8.
    with (folder / "findings.csv").open("w", encoding="utf-8-sig", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(Line._fields[:width])
        with Progress("inspecting") as progress:
            for chunk in chunks:
                writer.writerows(line[:width] for line in walk.inspect(chunk))
                progress.update(len(chunk))


def _result(walk: Walk, max_share: Mapping[str, float]) -> dict[str, Any]:
    counts = walk.rule_counts()
    rules = {}
    for name, rule in walk.rules.by_name().items():
        hits, of = counts.get(name, (None, None))
        share = hits / of if hits is not None and of else None
        rules[name] = {
            "title": rule.title,
            "scope": rule.scope,
            "how": rule.told(),
            "source": rule.source,
            "hits": hits,
            "of": of,
            "share": share,
            "max_share": max_share.get(name),
            "over": share is not None and share > max_share.get(name, 1),
            "unchecked": walk.unchecked(name),
        }
    senders = sorted(walk.senders.items(), key=lambda one: (-one[1]["with_hits"], one[0]))
    return {
        "rows": walk.rows,
        "inspected": walk.count["inspected"],
        "set_aside": dict(walk.notes),
        "marketing": walk.count["marketing"],
        "with_hits": walk.count["with_hits"],
        "unreadable_times": walk.count["unreadable_times"],
        "without_recipient_or_time": walk.count["without_recipient_or_time"],
        "columns": dict(walk.columns),
        "marketing_labels": sorted(walk.groups.marketing),
        "labels": dict(walk.labels.most_common()),
        "rules": rules,
        "recipients": walk.recipients.summary(walk.rules.too_many.most),
        "most_a_day": walk.rules.too_many.most,
        "distinct_senders": len(walk.senders),
        "senders": [{"sender": name, **one} for name, one in senders[:_SENDERS_SHOWN]],
    }


def _model_scores(run: Path, marketing: frozenset[str]) -> dict[str, Any] | None:
    """Return how right the run was about marketing on its test split, if it was evaluated."""
    path = run / "eval" / "test" / "metrics.json"
    if not path.is_file():
        return None
    metrics = json.loads(path.read_text("utf-8"))
    ours = [k for k, name in enumerate(metrics["labels"]) if name in marketing]
    matrix = metrics["confusion_matrix"]
    right = sum(matrix[true][said] for true in ours for said in ours)
    said = sum(row[k] for row in matrix for k in ours)
    true = sum(sum(matrix[k]) for k in ours)
    return {
        "messages": metrics["n"],
        "marketing": true,
        "precision": right / said if said else None,
        "recall": right / true if true else None,
    }
