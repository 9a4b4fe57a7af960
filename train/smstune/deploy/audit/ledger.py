"""A consent ledger and an opt-out list in, the consents and refusals by recipient out."""

from __future__ import annotations

import itertools
import logging
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from smstune.deploy.audit.consents import (
    ALWAYS,
    Consent,
    ConsentIndex,
    Frequency,
    Refusal,
    Span,
    read_frequency,
    read_span,
)
from smstune.deploy.audit.recipients import RecipientKeys
from smstune.errors import UserError
from smstune.language import Message, joined
from smstune.tables.formulas import without_apostrophe
from smstune.tables.header import find_column, shown_names
from smstune.tables.options import Role
from smstune.tables.read import read_table
from smstune.tables.row import RawRow, TableRow, cell_text, problem_kind
from smstune.tables.row_problems import RowProblems
from smstune.text.opt_out import is_opt_out_reply

_LEDGER_ROLES: tuple[Role, ...] = (
    "recipient", "consent_id", "given", "channel", "content_type", "frequency", "until",
    "withdrawn", "evidence",
)  # fmt: skip
_OPT_OUT_ROLES: tuple[Role, ...] = ("recipient", "time", "withdrawn", "reply")
#: What people write for no limit, no end, no withdrawal.
_NOTHING = {
    "", "-", "--", "/", "无", "否", "未", "没有", "未撤回", "未退订", "不限", "无限制", "长期",
    "长期有效", "永久", "全部", "所有", "null", "none", "nan", "no", "false", "0", "all", "any",
    "unlimited",
}  # fmt: skip
#: The columns of so many rows are looked at.
_SAMPLE = 100
_REMEMBERED = 100_000
_SEPARATORS = re.compile(r"[、,，;；/|\s]+")

logger = logging.getLogger(__name__)


@dataclass
class ConsentRecords:
    """The consents and refusals by recipient, how they were read, and the keys of the hashes.

    ``ledger_columns`` are the ledger's columns by their roles, ``None`` without a ledger.
    """

    keys: RecipientKeys = field(default_factory=RecipientKeys)
    index: ConsentIndex = field(default_factory=ConsentIndex)
    ledger_columns: Mapping[Role, str] | None = None
    has_opt_outs: bool = False
    types: set[str] = field(default_factory=set)
    n_entries: int = 0
    n_opt_outs: int = 0
    n_other_replies: int = 0
    #: Recipients with a consent and an opt-out.
    n_in_both: int = 0
    #: Rows of either list with a problem, by its kind.
    problems: Counter[str] = field(default_factory=Counter)


def read_consents(ledger: Path | None, opt_outs: Path | None) -> ConsentRecords:
    """Return the entries of a ledger and of an opt-out list; say what is wrong with their rows.

    Recipients and ids are hashed as they are read.

    Raises:
        UserError: if a file cannot be read, has no row, or lacks a column that is needed.
    """
    records = ConsentRecords()
    if ledger is not None:
        _read_ledger(ledger, records)
    if opt_outs is not None:
        _read_opt_outs(opt_outs, records)
    index = records.index
    records.n_in_both = len(index.opt_outs.keys() & index.by_recipient.keys())
    if records.n_in_both:
        logger.warning(
            "warning: %d recipients are in the ledger and in the opt-out list: for each message "
            "the later of consent and opt-out counts",
            records.n_in_both,
        )
    return records


def _read_ledger(path: Path, records: ConsentRecords) -> None:
    rows = _Rows(path, _LEDGER_ROLES)
    rows.require(["given"], either=["recipient", "consent_id"])
    columns = rows.columns
    records.ledger_columns = columns
    records.index.has_evidence_column = "evidence" in columns
    for row in rows:
        cells = {role: _text(row.cells.get(name)) for role, name in columns.items()}
        recipient, consent_id = cells.get("recipient", ""), cells.get("consent_id", "")
        recipient_key = records.keys.of(recipient) if recipient else None
        problem, consent = _consent(row, cells, recipient_key)
        if not recipient and not consent_id:
            problem = Message("no recipient and no consent id")
        rows.note(row, problem)
        records.n_entries += 1
        records.types |= consent.types
        if recipient_key is not None:
            records.index.by_recipient[recipient_key].append(consent)
        if consent_id:
            records.index.by_id[records.keys.of(consent_id)].append(consent)
    records.problems += rows.problem_kinds
    rows.problems.warn(Message("no proof of that consent"))


def _consent(
    row: RawRow, cells: Mapping[Role, str], recipient: int | None
) -> tuple[str | None, Consent]:
    """Return the problem of a row of the ledger, if it has one, and its entry."""
    frequency_text, evidence = cells.get("frequency", ""), cells.get("evidence", "")
    consent = Consent(
        row.number,
        recipient,
        given=_span(cells["given"]),
        until=_time_or_nothing(cells.get("until", "")),
        withdrawn=_withdrawal(cells.get("withdrawn", "")),
        content_type=sys.intern(cells.get("content_type", "")),
        types=_types(cells.get("content_type", "")),
        frequency=_frequency(frequency_text),
        channel=sys.intern(cells.get("channel", "")),
        evidence="" if evidence.casefold() in _NOTHING else evidence,
    )
    problem = row.problem or _time_problem(consent, cells)
    if problem is None and not consent.frequency and frequency_text.casefold() not in _NOTHING:
        problem = Message("the frequency is none such as 每月4条 or 4 per month")
    return problem, replace(consent, problem=problem) if problem else consent


def _time_problem(consent: Consent, cells: Mapping[Role, str]) -> Message | None:
    """Return why the times of an entry cannot be right, ``None`` if they can."""
    if consent.given is None:
        return Message("the time of the consent is none such as 2026-05-01 09:30:00")
    if consent.until is None and cells.get("until", "").casefold() not in _NOTHING:
        return Message("the end of the consent is no time such as 2026-12-31")
    if consent.until is not None and consent.until.end < consent.given.start:
        return Message("the consent ends before it was given")
    withdrawn = consent.withdrawn
    if withdrawn is not None and withdrawn != ALWAYS and withdrawn.end < consent.given.start:
        return Message("the consent was withdrawn before it was given")
    return None


def _read_opt_outs(path: Path, records: ConsentRecords) -> None:
    rows = _Rows(path, _OPT_OUT_ROLES)
    rows.require(["recipient"], either=["time", "withdrawn"])
    columns = rows.columns
    # 退订时间 is a better name for it than 时间.
    time = columns.get("withdrawn", columns.get("time", ""))
    records.has_opt_outs = True
    for row in rows:
        reply = _text(row.cells.get(columns["reply"])) if "reply" in columns else None
        if reply and not is_opt_out_reply(reply):
            records.n_other_replies += 1
            continue
        recipient = _text(row.cells.get(columns["recipient"]))
        when = _span(_text(row.cells.get(time))) if row.problem is None else None
        problem = row.problem or Message("the opt-out has no time")
        if not recipient:
            rows.note(row, Message("no recipient"))
            continue
        rows.note(row, None if when else problem)
        records.n_opt_outs += 1
        refusal = Refusal(row.number, when or ALWAYS)
        records.index.opt_outs[records.keys.of(recipient)].append(refusal)
    records.problems += rows.problem_kinds
    rows.problems.warn(Message("those with a recipient count as opted out from the beginning"))
    if records.n_other_replies:
        logger.info(
            "%s: %d replies are no opt-outs and were not counted", path, records.n_other_replies
        )


class _Rows:
    """The rows of a list, its columns by their roles, and the problems of its rows."""

    def __init__(self, path: Path, roles: Sequence[Role]) -> None:
        self.path = path
        rows = read_table(path, tuple(roles))
        sample = list(itertools.islice(rows, _SAMPLE))
        if not sample:
            raise UserError("expected rows in {path}, found none: check the file", path=path)
        self._rows = itertools.chain(sample, rows)
        # Objects of JSON need not have the same members.
        self.names = list(dict.fromkeys(name for row in sample for name in row.cells))
        names_by_role = {role: find_column(self.names, role) for role in roles}
        self.columns: dict[Role, str] = {
            role: name for role, name in names_by_role.items() if name is not None
        }
        self.problems = RowProblems()
        self.problem_kinds: Counter[str] = Counter()

    def __iter__(self) -> Iterator[RawRow]:
        return self._rows

    def note(self, row: RawRow, problem: str | None) -> None:
        """Count the problem of a row, if it has one."""
        if problem is not None:
            self.problems.count([TableRow(str(self.path), row.number, problem=problem)])
            self.problem_kinds[problem_kind(problem)] += 1

    def require(self, needed: Sequence[Role], *, either: Sequence[Role]) -> None:
        """Check that the list has the needed columns and one of ``either``."""
        missing: list[str] = [role for role in needed if role not in self.columns]
        if not any(role in self.columns for role in either):
            missing.append(Message("{first} or {second}", first=either[0], second=either[1]))
        if missing:
            raise UserError(
                "expected column {missing} in {path}, found {names}: rename yours",
                missing=joined(missing, ", "),
                path=self.path,
                names=shown_names(self.names),
            )


def _text(cell: object) -> str:
    return without_apostrophe((cell_text(cell) or "").strip())


# The same times, frequencies and types stand in many rows, which share what is made of them.
@lru_cache(maxsize=_REMEMBERED)
def _span(text: str) -> Span | None:
    return read_span(text)


@lru_cache(maxsize=_REMEMBERED)
def _frequency(text: str) -> Frequency | None:
    return read_frequency(text)


def _time_or_nothing(text: str) -> Span | None:
    return None if text.casefold() in _NOTHING else _span(text)


def _withdrawal(text: str) -> Span | None:
    """Return when a consent was withdrawn: ``ALWAYS`` if it was, and the cell is no time."""
    if text.casefold() in _NOTHING:
        return None
    return _span(text) or ALWAYS


@lru_cache(maxsize=_REMEMBERED)
def _types(text: str) -> frozenset[str]:
    names = {name.casefold() for name in _SEPARATORS.split(text)}
    return frozenset() if names & (_NOTHING - {""}) else frozenset(names - {""})
