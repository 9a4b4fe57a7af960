"""Self-inspection of outgoing messages: which are marketing, and which rules they hit."""

from __future__ import annotations

import dataclasses
import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from smstune.deploy.audit.evidence import EvidenceTable, Trace
from smstune.deploy.audit.findings import FindingsTable
from smstune.deploy.audit.inspector import (
    MAX_SENDERS_SHOWN,
    NOT_ASKED_FOR,
    OF_LEDGER,
    OPTIONAL,
    InputColumns,
    Inspector,
)
from smstune.deploy.audit.ledger import ConsentRecords
from smstune.deploy.audit.recipients import read_moment
from smstune.deploy.audit.report import audit_report
from smstune.deploy.audit.result import (
    AuditResult,
    ConsentCounts,
    MarketingScores,
    RuleResult,
    SenderCounts,
)
from smstune.deploy.audit.rules import AppliedRules, RuleBook
from smstune.deploy.audit.sheets import open_sheet
from smstune.errors import GateError, UserError
from smstune.files import folder_written_whole, refuse_to_overwrite, write_json
from smstune.inference.classifier import SmsClassifier
from smstune.language import Message, joined, reader_language
from smstune.progress import Progress
from smstune.reporting.html import render_html
from smstune.reporting.titles import report_with_titles
from smstune.results import Result
from smstune.tables.header import find_column, say_once, shown_names
from smstune.tables.options import Role, TableOptions
from smstune.tables.read import column_names, read_rows
from smstune.tables.row import TableRow
from smstune.text.pii.mask import mask_pii

_log = logging.getLogger(__name__)
_ROWS_AT_ONCE = 8192
_NUMBERS, _PAGE = "audit.json", "audit.html"
_TABLES = ("findings.csv", "findings.xlsx", "evidence.csv", "evidence.xlsx")


@dataclass(frozen=True)
class AuditInput:
    """The file of messages, how to read it, and the columns that the user named, by their role.

    Roles are ``text`` and those of ``OPTIONAL`` and ``OF_LEDGER``; the others are looked for under
    their usual names.
    """

    path: Path
    options: TableOptions
    columns: Mapping[str, str]


@dataclass(frozen=True)
class AuditOutput:
    """The folder to write, and how: findings ``with_text``, tables as workbooks (``excel``)."""

    folder: Path
    with_text: bool = False
    excel: bool = False

    def table(self, name: str) -> str:
        """Return the name of the file of a table."""
        return f"{name}.xlsx" if self.excel else f"{name}.csv"


def audit(
    classifier: SmsClassifier,
    source: AuditInput,
    output: AuditOutput,
    rules: AppliedRules,
    records: ConsentRecords | None = None,
) -> AuditResult:
    """Write the findings, ``audit.json`` and ``audit.html``, and return the counts.

    With a ledger in ``records`` the evidence list is written, too. The page and the tables are in
    the reader's language. An audit that is there is replaced. No file holds a recipient; messages
    and what else is personal are written masked. Memory grows only with the number of pairs of
    recipient and day (``RecipientDays``) and with the entries of the ledger.

    Raises:
        UserError: if the input has no message, or lacks a column that the user, a limit or the
            ledger needs.
    """
    rows = read_rows(source.path, source.options)
    chunks = iter(lambda: list(itertools.islice(rows, _ROWS_AT_ONCE)), [])
    first = next(chunks, None)
    if first is None:
        raise UserError("expected messages, found none in {path}", path=source.path)
    columns = _columns(source, first, records)
    inspector = Inspector(classifier, rules, columns, records)
    findings = FindingsTable(
        rules.rules, classifier.labels.titles, columns.written, with_text=output.with_text
    )
    _report_unchecked(inspector)
    # No folder with anything else is replaced, however this is called.
    check_folder(output.folder, [source.path], overwrite=True)
    with folder_written_whole(output.folder, overwrite=True) as folder:
        with ExitStack() as stack:
            write_findings = stack.enter_context(
                open_sheet(folder / output.table("findings"), findings.header())
            )
            write_traces = _trace_writer(inspector, folder / output.table("evidence"), stack)
            with Progress(Message("inspecting")) as progress:
                for chunk in itertools.chain([first], chunks):
                    inspection = inspector.inspect(chunk)
                    write_findings(map(findings.cells, inspection.findings))
                    write_traces(inspection.traces)
                    progress.update(len(chunk))
        counts = _counts(inspector, classifier.run.path, source.path, findings)
        write_json(folder / _NUMBERS, counts.to_json())
        titled_names = classifier.labels.shown_names(reader_language())
        report = audit_report(counts, inspector, titled_names)
        page = render_html(report_with_titles(report, titled_names))
        (folder / _PAGE).write_text(page, "utf-8")
    inspector.problems.warn(
        Message("not inspected, see {findings}", findings=output.table("findings"))
    )
    return counts


def check_folder(output: Path, inputs: Sequence[Path], *, overwrite: bool) -> None:
    """Check that an audit of the files ``inputs`` can be written to the folder ``output``.

    Raises:
        UserError: if it exists and is not to be overwritten, or has files that no audit writes.
    """
    refuse_to_overwrite(output, inputs, overwrite=overwrite)
    if not output.exists():
        return
    if not output.is_dir():
        raise UserError(
            "expected a folder as output, found the file {output}: name a folder", output=output
        )
    foreign_names = {path.name for path in output.iterdir()} - {_NUMBERS, _PAGE, *_TABLES}
    if foreign_names:
        raise UserError(
            "{output} cannot be overwritten, because {name} in it is not of an audit: name "
            "another output",
            output=output,
            name=min(foreign_names),
        )


def parse_limits(words: Sequence[str], book: RuleBook) -> dict[str, float]:
    """Return the limit of each rule that the words ``RULE=SHARE`` name.

    Raises:
        UserError: on an unknown rule or a share outside [0, 1].
    """
    limits = {}
    names = [*book.rules.by_name()]
    for word in words:
        name, _, share = word.partition("=")
        if name not in names:
            raise UserError(
                "--max-share: unknown rule {name!r}, expected {names}",
                name=name,
                names=", ".join(names),
            )
        try:
            limits[name] = float(share)
        except ValueError:
            limits[name] = -1.0
        if not 0 <= limits[name] <= 1:
            raise UserError(
                "--max-share {name}: expected a share from 0 to 1, found {share!r}",
                name=name,
                share=share,
            )
    return limits


def require_shares(counts: AuditResult) -> None:
    """Raise a GateError that names every rule hit more often than its limit allows."""
    over = [
        Message(
            "{name} {share} of {count:,}, above {limit}",
            name=name,
            share=Message("{percentage:.2f} %", percentage=100 * (rule.share or 0)),
            count=rule.of,
            limit=Message("{percentage:g} %", percentage=100 * rule.max_share),
        )
        for name, rule in counts.rules.items()
        if rule.over and rule.max_share is not None
    ]
    if over:
        raise GateError(
            "shares of rule hits above --max-share: {problems}", problems=joined(over, "; ")
        )


def _columns(
    source: AuditInput, rows: Sequence[TableRow], records: ConsentRecords | None
) -> InputColumns:
    """Return the optional columns that the input has, and those to be written with a finding."""
    has_ledger = records is not None and records.ledger_columns is not None
    needs_more = has_ledger or OF_LEDGER.keys() & source.columns.keys()
    shown_roles = {**OPTIONAL, **OF_LEDGER} if needs_more else OPTIONAL
    whole = [row for row in rows if row.problem is None]
    names = list(dict.fromkeys(name for row in whole for name in row.fields))
    by_role = _columns_by_role(source, names, list(shown_roles))
    _require_keys(source.path, names, by_role, records)
    guessed = [
        Message("{name} as {role}", name=name, role=shown_roles[role])
        for role, name in by_role.items()
        if name != source.columns.get(role, role)
    ]
    if guessed:
        say_once(
            Message(
                "{path}: reading column {columns}", path=source.path, columns=joined(guessed, ", ")
            )
        )
    times = [row.fields.get(by_role["time"]) for row in whole] if "time" in by_role else []
    if times and all(read_moment(time) is None for time in times):
        raise UserError(
            "expected times such as 2021-11-01 09:30:00 in column {column} of {path}, found "
            "{time!r}: name another with --time-column",
            column=by_role["time"],
            path=source.path,
            time=mask_pii(str(times[0])),
        )
    names = column_names(source.path, source.options) or names
    text = find_column(names, "text", source.options.text)
    written = [name for name in names if name != text and not _is_recipient(name, by_role)]
    return InputColumns(by_role, written)


def _require_keys(
    path: Path,
    names: Sequence[str],
    by_role: Mapping[Role, str],
    records: ConsentRecords | None,
) -> None:
    """Check that messages can be looked up in the ledger and in the opt-out list."""
    if records is None or "recipient" in by_role:
        return
    if "consent_id" in by_role and not records.has_opt_outs and records.index.by_id:
        return
    raise UserError(
        "expected a column of the recipient in {path}, found {names}: without it no message can be "
        "looked up in the ledger or the opt-outs; name yours with --recipient-column",
        path=path,
        names=shown_names(names),
    )


def _columns_by_role(
    source: AuditInput, names: Sequence[str], roles: Sequence[Role]
) -> dict[Role, str]:
    columns = source.columns
    found_names = {role: find_column(names, role, columns.get(role)) for role in roles}
    missing = [role for role in roles if role in columns and found_names[role] is None]
    if missing:
        raise UserError(
            "expected column {columns} in {path}, found {names}: name yours with --{role}-column",
            columns=", ".join(columns[role] for role in missing),
            path=source.path,
            names=shown_names(names),
            role=missing[0].replace("_", "-"),
        )
    return {role: name for role, name in found_names.items() if name is not None}


def _is_recipient(name: str, by_role: Mapping[Role, str]) -> bool:
    """Return whether a column is the recipient's, perhaps of one file of a folder only."""
    others = {column for role, column in by_role.items() if role != "recipient"}
    is_usual_name = find_column([name], "recipient") is not None
    return name == by_role.get("recipient") or (is_usual_name and name not in others)


def _report_unchecked(inspector: Inspector) -> None:
    """Warn of rules that cannot be checked; refuse a limit on one of them."""
    for name in inspector.rules.rules.by_name():
        reason = inspector.unchecked(name)
        if reason and name in inspector.rules.max_share:
            raise UserError(
                "--max-share {name}: this rule cannot be checked: {reason}",
                name=name,
                reason=reason,
            )
        if reason and reason not in NOT_ASKED_FOR:
            _log.warning("rule %s is not checked: %s", name, reason)


def _trace_writer(
    inspector: Inspector, path: Path, stack: ExitStack
) -> Callable[[Sequence[Trace]], None]:
    """Return a function that appends to the evidence list; without a ledger there is none."""
    if inspector.records is None or inspector.records.ledger_columns is None:
        return lambda _traces: None
    table = EvidenceTable(inspector.rules.rules)
    write = stack.enter_context(open_sheet(path, table.header()))
    return lambda traces: write(map(table.cells, traces))


def _counts(inspector: Inspector, run: Path, source: Path, findings: FindingsTable) -> AuditResult:
    rules, inspected = inspector.rules, inspector.inspected
    senders = sorted(
        inspector.senders.items(), key=lambda sender: (-sender[1].with_hits, sender[0])
    )
    return AuditResult(
        rows=inspector.rows,
        inspected=inspected.messages,
        set_aside=dict(inspector.set_aside),
        marketing=inspected.marketing,
        with_hits=inspected.with_hits,
        unreadable_times=inspector.unreadable_times,
        without_recipient_or_time=inspector.without_recipient_or_time,
        columns=dict(inspector.columns),
        findings_columns=findings.headers,
        marketing_labels=sorted(rules.marketing_labels),
        labels=dict(inspector.labels.most_common()),
        rules=_rule_results(inspector),
        recipients=inspector.recipients.summary(rules.rules.too_many.most),
        consent=_consent_counts(inspector),
        most_a_day=rules.rules.too_many.most,
        distinct_senders=len(senders),
        senders=[
            SenderCounts(sender=name, **dataclasses.asdict(counts))
            for name, counts in senders[:MAX_SENDERS_SHOWN]
        ],
        run=run.name,
        input=source.name,
        model=_marketing_scores(run, rules.marketing_labels),
    )


def _consent_counts(inspector: Inspector) -> ConsentCounts | None:
    records = inspector.records
    if records is None:
        return None
    return ConsentCounts(
        ledger_rows=None if records.ledger_columns is None else records.n_entries,
        opt_outs=records.n_opt_outs,
        other_replies=records.n_other_replies,
        in_both=records.n_in_both,
        problems=dict(records.problems),
        covered=inspector.outcomes["covered"],
        not_covered=inspector.outcomes["not_covered"],
        undecided=inspector.outcomes["undecided"],
    )


def _rule_results(inspector: Inspector) -> dict[str, RuleResult]:
    counts = inspector.rule_counts()
    results = {}
    for name, rule in inspector.rules.rules.by_name().items():
        hits, n_checked = counts.get(name, (None, None))
        share = hits / n_checked if hits is not None and n_checked else None
        max_share = inspector.rules.max_share.get(name)
        results[name] = RuleResult(
            title=rule.title.in_language("en"),
            scope=rule.scope,
            how=rule.explanation("en"),
            source=rule.source.in_language("en"),
            penalty=rule.penalty.in_language("en") if rule.penalty else None,
            hits=hits,
            of=n_checked,
            share=share,
            max_share=max_share,
            over=share is not None and max_share is not None and share > max_share,
            unchecked=inspector.unchecked(name),
        )
    return results


class _TestMetrics(Result):
    """The keys of an evaluation's metrics.json that say how well marketing is recognised."""

    n: int
    labels: list[str]
    confusion_matrix: list[list[int]]


def _marketing_scores(run: Path, marketing_labels: frozenset[str]) -> MarketingScores | None:
    """Return how well the run recognised marketing on its test split, if it was evaluated."""
    path = run / "eval" / "test" / "metrics.json"
    if not path.is_file():
        return None
    metrics = _TestMetrics.model_validate_json(path.read_text("utf-8"))
    matrix = metrics.confusion_matrix
    label_ids = [k for k, name in enumerate(metrics.labels) if name in marketing_labels]
    n_right = sum(matrix[true][predicted] for true in label_ids for predicted in label_ids)
    n_predicted = sum(row[k] for row in matrix for k in label_ids)
    n_true = sum(sum(matrix[k]) for k in label_ids)
    return MarketingScores(
        messages=metrics.n,
        marketing=n_true,
        precision=n_right / n_predicted if n_predicted else None,
        recall=n_right / n_true if n_true else None,
    )
