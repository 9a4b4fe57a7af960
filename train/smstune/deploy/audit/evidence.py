"""The evidence list: of each marketing message, the consent that it rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from smstune.deploy.audit.consents import Proof, Span, span_text
from smstune.deploy.audit.masking import masked_cell
from smstune.deploy.audit.rules import Rules
from smstune.language import Message, joined, reader_language, translated

#: What follows for a message, by the key under which audit.json counts it.
OUTCOMES = {
    "covered": Message("covered by a consent"),
    "not_covered": Message("not covered"),
    "undecided": Message("not fully checked"),
}
_HEADERS = (
    Message("row"),
    Message("outcome"),
    Message("rule_titles"),
    Message("rules"),
    Message("sent"),
    Message("ledger_row"),
    Message("given"),
    Message("channel"),
    Message("content_type"),
    Message("frequency"),
    Message("until"),
    Message("refused"),
    Message("opt_out_row"),
    Message("evidence"),
    Message("note"),
)
_PERIODS = {
    "day": Message("at most {most} a day"),
    "week": Message("at most {most} a week"),
    "month": Message("at most {most} a month"),
    "year": Message("at most {most} a year"),
}


@dataclass(frozen=True)
class Trace:
    """A marketing message, its proof of consent, and the rules on consent that it hits.

    ``row`` is ``TableRow.line``. ``recipient`` is needed for masking and not written.
    """

    row: int
    sent: Span | None
    proof: Proof
    hits: tuple[str, ...]
    recipient: str

    @property
    def outcome(self) -> str:
        """The key of ``OUTCOMES``."""
        if self.hits:
            return "not_covered"
        return "covered" if self.sent is not None else "undecided"


class EvidenceTable:
    """The header and the rows of the evidence list, in the reader's language."""

    def __init__(self, rules: Rules) -> None:
        language = reader_language()
        self._titles = {
            name: rule.title.in_language(language) for name, rule in rules.by_name().items()
        }

    def header(self) -> list[str]:
        """Return the first row."""
        return [translated(header) for header in _HEADERS]

    def cells(self, trace: Trace) -> Sequence[object]:
        """Return the row of a message."""
        proof = trace.proof
        consent, refusal = proof.consent, proof.refusal
        is_withdrawal = refusal is not None and refusal.is_withdrawal
        return [
            trace.row,
            translated(OUTCOMES[trace.outcome]),
            translated(joined([self._titles[name] for name in trace.hits], ", ")),
            " ".join(trace.hits),
            span_text(trace.sent),
            consent.row if consent else "",
            span_text(consent.given) if consent else "",
            masked_cell(consent.channel, trace.recipient) if consent else "",
            masked_cell(consent.content_type, trace.recipient) if consent else "",
            _frequency_text(proof),
            span_text(consent.until) if consent else "",
            span_text(refusal.when) if refusal else "",
            refusal.row if refusal and not is_withdrawal else "",
            masked_cell(consent.evidence, trace.recipient) if consent else "",
            translated(proof.note),
        ]


def _frequency_text(proof: Proof) -> str:
    frequency = proof.consent.frequency if proof.consent else None
    if frequency is None:
        return ""
    return translated(Message(_PERIODS[frequency.period].template, most=frequency.most))
