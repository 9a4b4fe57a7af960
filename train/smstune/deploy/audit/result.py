"""The counts of a self-inspection: the content of ``audit.json``."""

from __future__ import annotations

from typing import Literal

from smstune.results import Result


class RuleResult(Result):
    """A rule and how often it was hit; ``None`` for every count if it could not be checked.

    Its texts are in English, unless the user's own rules have none.
    """

    title: str
    scope: Literal["marketing", "all"]
    #: What the rule looks for, with the values in force.
    how: str
    source: str
    #: The article on penalties, ``None`` where none was verified.
    penalty: str | None
    hits: int | None
    #: How many messages (recipient-days of ``too_many``) the rule was checked on.
    of: int | None
    share: float | None
    #: The largest share that the caller allows.
    max_share: float | None
    over: bool
    #: Why the rule could not be checked.
    unchecked: str | None


class MessageSpread(Result):
    """How many messages recipients got in a period."""

    #: Number of periods by a range of messages, such as ``4-5``.
    distribution: dict[str, int]
    #: Number and share of periods with more messages than the rule allows in a day.
    over: int
    share: float
    mean: float
    most: int


class RecipientCounts(Result):
    """Marketing messages by recipient: on each day, and in the fullest three days in a row."""

    recipients: int
    recipient_days: int
    #: Recipients with at least one day above the rule's limit.
    recipients_over: int
    #: Of all recipient-days.
    a_day: MessageSpread
    #: Of all recipients, each by the fullest three days.
    three_days: MessageSpread


class SenderCounts(Result):
    """Messages of one sender."""

    sender: str
    messages: int
    marketing: int
    with_hits: int


class MarketingScores(Result):
    """How well the run recognised marketing on its test split."""

    messages: int
    marketing: int
    precision: float | None
    recall: float | None


class ConsentCounts(Result):
    """Marketing messages by what their consent covers, and how the lists were read."""

    #: Entries of the ledger; ``None`` without a ledger, when no message is traced.
    ledger_rows: int | None
    opt_outs: int
    other_replies: int
    #: Recipients of the ledger who are in the opt-out list, too.
    in_both: int
    #: Rows of both lists that prove nothing, by the reason.
    problems: dict[str, int]
    covered: int
    not_covered: int
    #: Covered as far as it can be told of a message without a time.
    undecided: int


class AuditResult(Result):
    """All counts of a self-inspection."""

    rows: int
    inspected: int
    #: Number of rows that could not be read, by the reason.
    set_aside: dict[str, int]
    marketing: int
    with_hits: int
    unreadable_times: int
    without_recipient_or_time: int
    #: Column names of the input by their role.
    columns: dict[str, str]
    #: The headers of findings.csv, in the language of who ran the audit, by their English names.
    findings_columns: dict[str, str]
    marketing_labels: list[str]
    #: Number of messages by the label that the model gave them.
    labels: dict[str, int]
    rules: dict[str, RuleResult]
    #: ``None`` if no message has both a recipient and a time.
    recipients: RecipientCounts | None
    #: ``None`` without a ledger and an opt-out list.
    consent: ConsentCounts | None
    #: Messages that one recipient may get in a day.
    most_a_day: int
    distinct_senders: int
    #: Those with the most hits.
    senders: list[SenderCounts]
    run: str
    input: str
    #: ``None`` if the run was not evaluated on its test split.
    model: MarketingScores | None
