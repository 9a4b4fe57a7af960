"""Consents and refusals in, and of each message which of them it rests on and what is wrong."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

from smstune.language import Message
from smstune.tables.times import CHINA, read_time

Period = Literal["day", "week", "month", "year"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = (datetime(2200, 1, 1, tzinfo=UTC) - _EPOCH).total_seconds()

_PERIODS: dict[str, Period] = {
    "天": "day", "日": "day", "day": "day", "daily": "day",
    "周": "week", "星期": "week", "week": "week", "weekly": "week",
    "月": "month", "month": "month", "monthly": "month",
    "年": "year", "year": "year", "yearly": "year",
}  # fmt: skip
_NUMERALS = {"一": 1, "两": 2, "二": 2, "三": 3, "四": 4, "五": 5, "六": 6, "七": 7, "八": 8}
_PERIOD = "|".join(_PERIODS)
_NUMBER = rf"[0-9]{{1,6}}|[{''.join(_NUMERALS)}]"
#: 每月不超过4条, 每天一条; 4条/月, 4 per month, 2 a week; daily.
_FREQUENCIES = (
    re.compile(rf"每个?(?P<period>{_PERIOD})\D{{0,6}}?(?P<most>{_NUMBER})[条次则]?"),
    re.compile(
        rf"(?:最多|不超过|至多)?(?P<most>{_NUMBER})\s*(?:条|次|则|times?|messages?)?\s*"
        rf"(?:/|每个?|per|an?\s)\s*(?P<period>{_PERIOD})"
    ),
    re.compile(r"(?P<period>daily|weekly|monthly|yearly)"),
)


@dataclass(frozen=True, slots=True)
class Span:
    """The first and last second, since 1970, that a time may mean: of a date its whole day."""

    start: float
    end: float


#: A refusal whose time is not known lies before everything.
ALWAYS = Span(float("-inf"), float("-inf"))


def read_span(cell: object) -> Span | None:
    """Return the seconds that a cell's time may mean, ``None`` if it is no time."""
    time = read_time(cell)
    if time is None:
        return None
    # 9999-12-31 stands for no end, and its day may not exist in another zone.
    start = min((time.moment - _EPOCH).total_seconds(), _LATEST)
    return Span(start, start + 86_399 if time.date_only else start)


def span_text(span: Span | None) -> str:
    """Return a time in China, without the time of day if it is not known; empty for none."""
    if span is None or span == ALWAYS:
        return ""
    moment = (_EPOCH + timedelta(seconds=span.start)).astimezone(CHINA)
    return f"{moment:%Y-%m-%d}" if span.end > span.start else f"{moment:%Y-%m-%d %H:%M:%S}"


@dataclass(frozen=True, slots=True)
class Frequency:
    """The most messages in each day, week (from Monday), month or year in China."""

    most: int
    period: Period

    def period_of(self, second: float) -> int:
        """Return the number of the period in which a second since 1970 lies."""
        day = int((second + 8 * 3600) // 86_400)
        if self.period == "day":
            return day
        if self.period == "week":
            # 1 January 1970 was a Thursday.
            return (day + 3) // 7
        moment = _EPOCH + timedelta(days=day)
        return moment.year if self.period == "year" else moment.year * 12 + moment.month


def read_frequency(text: str) -> Frequency | None:
    """Return the frequency that a text states, such as 每月4条 or 2 per week, ``None`` for none."""
    text = text.strip().casefold()
    for pattern in _FREQUENCIES:
        if match := pattern.fullmatch(text):
            named = match.groupdict()
            most = named.get("most") or "1"
            return Frequency(_NUMERALS.get(most) or int(most), _PERIODS[named["period"]])
    return None


@dataclass(frozen=True, slots=True)
class Refusal:
    """An opt-out, or a withdrawal in the ledger: the row of its list, and when it was."""

    row: int
    when: Span
    is_withdrawal: bool = False


@dataclass(frozen=True, slots=True)
class Consent:
    """An entry of the ledger; ``problem`` says why it proves nothing, if it does not.

    ``recipient`` is a hash, ``None`` in a ledger without recipients. ``types`` is empty where all
    are covered; ``content_type`` is what the ledger says of them.
    """

    row: int
    recipient: int | None
    given: Span | None = None
    until: Span | None = None
    withdrawn: Span | None = None
    content_type: str = ""
    types: frozenset[str] = frozenset()
    frequency: Frequency | None = None
    channel: str = ""
    evidence: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Sending:
    """What a consent is checked against: a message's recipient, consent id, time and type.

    ``recipient`` and ``consent_id`` are hashes. ``types`` are the names that its type goes by, in
    lower case; empty if they are not known.
    """

    recipient: int | None
    consent_id: int | None
    sent: Span | None
    types: frozenset[str]


@dataclass(frozen=True)
class Proof:
    """The consent and the refusal that decide about a message, and the rules that it hits."""

    hits: tuple[str, ...]
    consent: Consent | None = None
    refusal: Refusal | None = None
    note: str = ""


@dataclass(frozen=True)
class _Checked:
    """The rules that a message hits under one consent, and the refusal after that consent."""

    consent: Consent
    hits: tuple[str, ...]
    refusal: Refusal | None


@dataclass
class ConsentIndex:
    """Consents by recipient and by id, and refusals by recipient; all keys are hashes.

    ``known_types`` are the only types that messages can have; ``None`` if they can have any.
    """

    has_evidence_column: bool = False
    known_types: frozenset[str] | None = None
    by_recipient: defaultdict[int, list[Consent]] = field(default_factory=lambda: defaultdict(list))
    by_id: defaultdict[int, list[Consent]] = field(default_factory=lambda: defaultdict(list))
    opt_outs: defaultdict[int, list[Refusal]] = field(default_factory=lambda: defaultdict(list))
    #: Messages counted for the frequency, by the consent's row and the period.
    _sent: Counter[tuple[int, int]] = field(default_factory=Counter)

    def prove(self, sending: Sending) -> Proof:
        """Return what a marketing message rests on; count it for the frequency of its consent.

        Of several consents that with the fewest violations counts, of equal ones the latest.
        """
        consents = self._consents(sending)
        if not consents:
            refusal = self._refusal_before(sending, None)
            hits = ("no_consent", "after_withdrawal") if refusal else ("no_consent",)
            return Proof(hits, refusal=refusal, note=_note_without_consent(sending))
        usable = [consent for consent in consents if not consent.problem]
        if not usable:
            return Proof(("no_consent",), consents[0], note=consents[0].problem)
        checked = min(
            (self._check(consent, sending) for consent in usable),
            key=lambda check: (len(check.hits), -_given(check.consent).start),
        )
        self._count(checked.consent, sending)
        note = "" if sending.sent else Message("the message has no time")
        return Proof(checked.hits, checked.consent, checked.refusal, note)

    def refused(self, sending: Sending) -> Refusal | None:
        """Return the refusal that holds when a message is sent, ``None`` if there is none.

        A usable consent given after a refusal ends it; a withdrawal counts in any entry.
        """
        refusals: list[Refusal] = []
        for consent in self._consents(sending):
            refusal = self._refusal_before(sending, consent)
            if refusal is not None:
                refusals.append(refusal)
            elif not consent.problem:
                return None
        return refusals[0] if refusals else self._refusal_before(sending, None)

    def _consents(self, sending: Sending) -> Sequence[Consent]:
        if sending.consent_id is not None and self.by_id:
            named = self.by_id.get(sending.consent_id, [])
            known = (None, sending.recipient)
            # The id of somebody else's consent proves nothing.
            return [c for c in named if sending.recipient is None or c.recipient in known]
        if sending.recipient is None:
            return []
        return self.by_recipient.get(sending.recipient, [])

    def _check(self, consent: Consent, sending: Sending) -> _Checked:
        given, sent = _given(consent), sending.sent
        refusal = self._refusal_before(sending, consent)
        hits = {
            "before_consent": sent is not None and sent.end < given.start,
            "after_withdrawal": refusal is not None,
            "outside_period": bool(sent and consent.until and sent.start > consent.until.end),
            "outside_type": self._is_other_type(consent, sending),
            "outside_frequency": self._is_above_frequency(consent, sent),
            "no_evidence": self.has_evidence_column and not consent.evidence,
        }
        return _Checked(consent, tuple(name for name, hit in hits.items() if hit), refusal)

    def _refusal_before(self, sending: Sending, consent: Consent | None) -> Refusal | None:
        """Return the first refusal before a message that no later giving of ``consent`` ended."""
        refusals: list[Refusal] = []
        if sending.recipient is not None:
            refusals += self.opt_outs.get(sending.recipient, [])
        if consent is not None and consent.withdrawn is not None:
            refusals.append(Refusal(consent.row, consent.withdrawn, is_withdrawal=True))
        holding = [refusal for refusal in refusals if _holds(refusal, sending.sent, consent)]
        return min(holding, key=lambda refusal: refusal.when.start, default=None)

    def _is_other_type(self, consent: Consent, sending: Sending) -> bool:
        """Return whether a message's type is none of the consent's, as far as that can be told."""
        if not consent.types or not sending.types or consent.types & sending.types:
            return False
        return self.known_types is None or consent.types <= self.known_types

    def _is_above_frequency(self, consent: Consent, sent: Span | None) -> bool:
        if consent.frequency is None or sent is None:
            return False
        period = consent.frequency.period_of(sent.start)
        return self._sent[consent.row, period] >= consent.frequency.most

    def _count(self, consent: Consent, sending: Sending) -> None:
        if consent.frequency is not None and sending.sent is not None:
            self._sent[consent.row, consent.frequency.period_of(sending.sent.start)] += 1


def _given(consent: Consent) -> Span:
    """Return when a usable consent was given."""
    return consent.given or ALWAYS


def _holds(refusal: Refusal, sent: Span | None, consent: Consent | None) -> bool:
    """Return whether a refusal holds when a message is sent.

    It does not if the consent was given after it and before the message.
    """
    if refusal.when == ALWAYS:
        return True
    if sent is None or refusal.when.end >= sent.start:
        return False
    if consent is None:
        return True
    given = _given(consent)
    return refusal.when.end >= given.start or sent.end < given.start


def _note_without_consent(sending: Sending) -> str:
    if sending.recipient is None and sending.consent_id is None:
        return Message("the message has no recipient")
    return Message("no entry in the ledger")
