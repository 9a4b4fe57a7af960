"""Judges messages one by one and counts what a self-inspection reports."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from smstune.deploy.audit.consents import Sending, Span, read_span
from smstune.deploy.audit.evidence import Trace
from smstune.deploy.audit.ledger import ConsentRecords
from smstune.deploy.audit.masking import masked_cell, masked_message
from smstune.deploy.audit.recipients import Moment, RecipientDays, read_moment
from smstune.deploy.audit.rules import AppliedRules, text_hits
from smstune.inference.classifier import SmsClassifier
from smstune.inference.labels import LabelMap
from smstune.language import Message, joined
from smstune.tables.options import Role
from smstune.tables.row import TableRow, cell_text, with_message
from smstune.tables.row_problems import RowProblems
from smstune.text.normalize import MAX_CHARACTERS, normalize

#: Columns beside the message, by their roles; the values are for people.
OPTIONAL: dict[Role, Message] = {
    "sender": Message("sender"),
    "recipient": Message("recipient"),
    "time": Message("time"),
    "consent": Message("consent"),
}
#: Columns of the input that are looked for only if there is a ledger, or they are named.
OF_LEDGER: dict[Role, Message] = {
    "consent_id": Message("consent id"),
    "content_type": Message("type of content"),
}
#: The columns without which a rule cannot be checked.
_NEEDS: dict[str, tuple[Role, ...]] = {
    "before_consent": ("time",),
    "after_withdrawal": ("time",),
    "outside_period": ("time",),
    "outside_frequency": ("time",),
    "request_after_refusal": ("time",),
    "night": ("time",),
    "too_many": ("recipient", "time"),
}
#: The columns of the ledger without which a rule cannot be checked, and their names for people.
_NEEDED_OF_LEDGER: dict[str, tuple[Role, Message] | None] = {
    "before_consent": None,
    "outside_period": ("until", Message("end of the consent")),
    "outside_type": ("content_type", Message("type of content")),
    "outside_frequency": ("frequency", Message("frequency")),
    "no_evidence": ("evidence", Message("evidence")),
}
_OF_REFUSALS = ("after_withdrawal", "request_after_refusal")
_IS_OFF = Message("this rule is off; `enabled: true` in your own rules turns it on")
_NO_LEDGER = Message("no ledger was given (--ledger)")
_NO_REFUSALS = Message("neither opt-outs (--opt-outs) nor a ledger with withdrawals was given")
#: Reasons not to check a rule that nobody has asked for.
NOT_ASKED_FOR = (_IS_OFF, _NO_LEDGER, _NO_REFUSALS)
#: Stands for a message of blanks and invisible characters alone.
NO_VISIBLE_TEXT = Message("(no visible text)")
#: Examples that are kept of each rule.
MAX_EXAMPLES = 5
#: Senders that the counts list.
MAX_SENDERS_SHOWN = 20
#: The sender under which those beyond the first thousands are counted.
OTHER_SENDERS = Message("other senders")
_REMEMBERED = 200_000
_MAX_SENDERS = 10_000


@dataclass(frozen=True)
class InputColumns:
    """The names of the input's columns by their role, and those to be written with a finding.

    The latter contain neither the message nor the recipient.
    """

    by_role: Mapping[Role, str]
    written: Sequence[str]


@dataclass(frozen=True)
class Finding:
    """A row that hits rules, or that has a ``problem`` and was not inspected.

    ``row`` is ``TableRow.line``. The masked message and ``other_cells``, masked too, by their
    column, are there only for a row that was inspected.
    """

    row: int
    rules: tuple[str, ...] = ()
    label: str = ""
    score: float | None = None
    problem: str = ""
    text: str = ""
    other_cells: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Example:
    """A message that hits a rule: its row, the model's label, and its masked text."""

    row: int
    label: str
    text: str


@dataclass(frozen=True)
class Inspection:
    """What was found in some rows: findings, and traces of marketing messages to consents.

    Without a ledger there are no traces.
    """

    findings: list[Finding]
    traces: list[Trace]


@dataclass
class MessageCounts:
    """Running counts of messages."""

    messages: int = 0
    marketing: int = 0
    with_hits: int = 0

    def add(self, *, marketing: bool, hit: bool) -> None:
        """Count one message."""
        self.messages += 1
        self.marketing += marketing
        self.with_hits += hit


@dataclass(frozen=True)
class _Judgement:
    """What follows from a text alone: the model's answer, and the rules that apply and are hit."""

    label: str
    score: float
    marketing: bool
    hits: tuple[str, ...]
    asks_for_consent: bool


class Inspector:
    """Inspects messages and keeps running counts.

    Keeps no message and no recipient except a few masked examples.
    """

    def __init__(
        self,
        classifier: SmsClassifier,
        rules: AppliedRules,
        columns: InputColumns,
        records: ConsentRecords | None = None,
    ) -> None:
        self.rules = rules
        self.records = records
        self.columns = columns.by_role
        self.rows = 0
        self.inspected = MessageCounts()
        self.with_hour = 0
        self.unreadable_times = 0
        self.without_recipient_or_time = 0
        self.set_aside: Counter[str] = Counter()
        self.problems = RowProblems()
        self.labels: Counter[str] = Counter()
        self.hits: Counter[str] = Counter()
        self.senders: defaultdict[str, MessageCounts] = defaultdict(MessageCounts)
        self.recipients = RecipientDays(records.keys if records else None)
        #: Marketing messages by the key of what their consent covers.
        self.outcomes: Counter[str] = Counter()
        self.examples: dict[str, list[Example]] = defaultdict(list)
        self._written_columns = columns.written
        self._classifier = classifier
        self._judgements: dict[str, _Judgement] = {}
        self._label_types = _label_types(classifier.labels)
        self._unchecked = {name: self._reason(name) for name in rules.rules.by_name()}
        if records is not None and "content_type" not in self.columns:
            records.index.known_types = frozenset().union(*self._label_types.values())

    def inspect(self, rows: Sequence[TableRow]) -> Inspection:
        """Count ``rows``; return what hits a rule or cannot be read, and the traces to consents."""
        inspection = Inspection([], [])
        rows = [with_message(row, Message("no message")) for row in rows]
        self.problems.count(rows)
        self._judge([row.text or "" for row in rows if row.problem is None])
        for row in rows:
            self.rows += 1
            if row.problem is not None:
                # Its columns may have slipped, so that a recipient could be in any of them.
                self.set_aside[row.problem] += 1
                inspection.findings.append(Finding(row.line, problem=row.problem))
                continue
            message = row.text or ""
            judgement = self._judgements[message]
            cells = {role: _text_of(row.fields.get(name)) for role, name in self.columns.items()}
            time = row.fields.get(self.columns["time"]) if "time" in cells else None
            consent_hits, trace = self._consent_hits(row.line, cells, read_span(time), judgement)
            sending_hits = set(self._sending_hits(cells, read_moment(time), judgement))
            found_hits = {*judgement.hits, *consent_hits, *sending_hits}
            if trace is not None and "no_consent" in sending_hits - consent_hits:
                # The message's own column denies what the ledger says.
                trace = replace(trace, hits=("no_consent", *trace.hits))
            hits = [name for name in self._unchecked if name in found_hits]
            if trace is not None:
                self.outcomes[trace.outcome] += 1
                inspection.traces.append(trace)
            self._add(cells, judgement, hits)
            if hits:
                recipient = cells.get("recipient", "")
                text = masked_message(message, recipient)
                shown_text = text if normalize(text) else NO_VISIBLE_TEXT
                self._keep_examples(hits, Example(row.line, judgement.label, shown_text))
                inspection.findings.append(
                    Finding(
                        row.line,
                        tuple(hits),
                        judgement.label,
                        round(judgement.score, 4),
                        text=text,
                        other_cells=self._other_cells(row, recipient),
                    )
                )
        return inspection

    def unchecked(self, name: str) -> Message | None:
        """Return why a rule cannot be checked in this input with this run, ``None`` if it can."""
        return self._unchecked[name]

    def _reason(self, name: str) -> Message | None:
        if not self.rules.rules.by_name()[name].enabled:
            return _IS_OFF
        if (reason := self._reason_in_lists(name)) is not None:
            return reason
        missing = [OPTIONAL[role] for role in _NEEDS.get(name, ()) if role not in self.columns]
        if missing:
            return Message("the input has no column for {roles}", roles=joined(missing, ", "))
        if name == "fraud" and not self.rules.labels_by_rule[name]:
            return Message("the run has none of the labels of this rule")
        return None

    def _reason_in_lists(self, name: str) -> Message | None:
        """Return why the ledger and the opt-out list do not suffice for a rule."""
        ledger = self.records.ledger_columns if self.records else None
        if name == "no_consent" and ledger is None and "consent" not in self.columns:
            return Message("the input has no column for consent, and there is no ledger (--ledger)")
        if name in _OF_REFUSALS:
            if (self.records and self.records.has_opt_outs) or "withdrawn" in (ledger or ()):
                return None
            return _NO_REFUSALS
        if name not in _NEEDED_OF_LEDGER:
            return None
        if ledger is None:
            return _NO_LEDGER
        needed = _NEEDED_OF_LEDGER[name]
        if needed is not None and needed[0] not in ledger:
            return Message("the ledger has no column for {role}", role=needed[1])
        if name == "outside_type" and not self._can_tell_types():
            return Message(
                "no type in the ledger is a label of the run, and the input has no column for the "
                "type of content"
            )
        return None

    def _can_tell_types(self) -> bool:
        types = self.records.types if self.records else set()
        return "content_type" in self.columns or any(
            names & types for names in self._label_types.values()
        )

    def rule_counts(self) -> dict[str, tuple[int, int]]:
        """Return the hits of each rule that could be checked, and of how many messages."""
        counts = {}
        for name, rule in self.rules.rules.by_name().items():
            inspected = self.inspected
            n_checked = inspected.marketing if rule.scope == "marketing" else inspected.messages
            counts[name] = (self.hits[name], self.with_hour if name == "night" else n_checked)
        people = self.recipients.summary(self.rules.rules.too_many.most)
        counts["too_many"] = (people.a_day.over, people.recipient_days) if people else (0, 0)
        return {name: pair for name, pair in counts.items() if self.unchecked(name) is None}

    def _judge(self, texts: Sequence[str]) -> None:
        if len(self._judgements) > _REMEMBERED:
            self._judgements = {}
        new = [text for text in dict.fromkeys(texts) if text not in self._judgements]
        rules = self.rules
        for text, answer in zip(new, self._classifier.predict(new), strict=True):
            marketing = answer.label in rules.marketing_labels
            hits = text_hits(text[:MAX_CHARACTERS], rules.rules)
            hits |= {
                name for name, labels in rules.labels_by_rule.items() if answer.label in labels
            }
            applying = tuple(
                name
                for name, rule in rules.rules.by_name().items()
                if name in hits and (marketing or rule.scope == "all") and rule.enabled
            )
            # Whether the recipient has refused is not in the text.
            asks = "request_after_refusal" in applying
            own_hits = tuple(name for name in applying if name != "request_after_refusal")
            self._judgements[text] = _Judgement(
                answer.label, answer.score, marketing, own_hits, asks
            )

    def _applies(self, name: str, judgement: _Judgement) -> bool:
        rule = self.rules.rules.by_name()[name]
        return rule.enabled and (judgement.marketing or rule.scope == "all")

    def _consent_hits(
        self, line: int, cells: Mapping[Role, str], sent: Span | None, judgement: _Judgement
    ) -> tuple[set[str], Trace | None]:
        """Return the rules of the ledger and the opt-outs that a message hits, and its trace."""
        records = self.records
        if records is None or not (judgement.marketing or judgement.asks_for_consent):
            return set(), None
        recipient, consent_id = cells.get("recipient", ""), cells.get("consent_id", "")
        label_types = self._label_types[judgement.label]
        types = {cells["content_type"].casefold()} if "content_type" in cells else label_types
        sending = Sending(
            records.keys.of(recipient) if recipient else None,
            records.keys.of(consent_id) if consent_id else None,
            sent,
            frozenset(types - {""}),
        )
        hits: set[str] = set()
        refusal = records.index.refused(sending)
        if refusal is not None:
            hits.add("after_withdrawal" if judgement.marketing else "request_after_refusal")
            if judgement.asks_for_consent:
                hits.add("request_after_refusal")
        trace = None
        if judgement.marketing and records.ledger_columns is not None:
            proof = records.index.prove(sending)
            hits |= set(proof.hits)
            hits = {name for name in hits if self._unchecked[name] is None}
            in_order = tuple(name for name in self._unchecked if name in hits)
            trace = Trace(line, sent, proof, in_order, recipient)
        return {name for name in hits if self._unchecked[name] is None}, trace

    def _sending_hits(
        self, cells: Mapping[Role, str], sent: Moment | None, judgement: _Judgement
    ) -> Iterator[str]:
        """Yield the rules of consent and time that a message hits; count its recipient."""
        rules = self.rules.rules
        if "consent" in cells and self._applies("no_consent", judgement):
            refusals = {refusal.casefold() for refusal in rules.no_consent.none} | {""}
            if cells["consent"].casefold() in refusals:
                yield "no_consent"
        if "time" not in cells:
            return
        self.unreadable_times += sent is None
        if sent is not None and sent.hour is not None and self._applies("night", judgement):
            self.with_hour += 1
            if rules.night.contains(sent.hour):
                yield "night"
        if "recipient" in cells and self._applies("too_many", judgement):
            self._count_recipient(cells["recipient"], sent)

    def _count_recipient(self, recipient: str, sent: Moment | None) -> None:
        if recipient and sent is not None:
            self.recipients.add(recipient, sent.day)
        else:
            self.without_recipient_or_time += 1

    def _add(self, cells: Mapping[Role, str], judgement: _Judgement, hits: Sequence[str]) -> None:
        self.inspected.add(marketing=judgement.marketing, hit=bool(hits))
        self.labels[judgement.label] += 1
        self.hits.update(hits)
        if "sender" in cells:
            name = masked_cell(cells["sender"])
            has_room = name in self.senders or len(self.senders) < _MAX_SENDERS
            counts = self.senders[name if has_room else OTHER_SENDERS]
            counts.add(marketing=judgement.marketing, hit=bool(hits))

    def _other_cells(self, row: TableRow, recipient: str) -> dict[str, str]:
        """Return the cells to be written with a finding, by their column."""
        cells = {name: row.fields.get(name) for name in self._written_columns}
        # In the files of a folder the message may be in columns of different names.
        return {
            name: masked_cell(cell, recipient)
            for name, cell in cells.items()
            if cell_text(cell) != row.text
        }

    def _keep_examples(self, hits: Sequence[str], new: Example) -> None:
        for name in hits:
            examples = self.examples[name]
            if len(examples) < MAX_EXAMPLES and new.text not in {
                example.text for example in examples
            }:
                examples.append(new)


def _label_types(labels: LabelMap) -> dict[str, frozenset[str]]:
    """Return the names that a ledger may use for each label: its own, its parent's, its titles."""
    types = {}
    for name, parent in zip(labels.names, labels.parents, strict=True):
        title = labels.titles.get(name)
        names = (name, parent, title and title.zh, title and title.en)
        types[name] = frozenset(text.casefold() for text in names if text)
    return types


def _text_of(cell: object) -> str:
    return (cell_text(cell) or "").strip()
