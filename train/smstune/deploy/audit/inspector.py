"""The walk of a self-inspection through the messages: judged, counted, forgotten."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from smstune.deploy.audit.recipients import Moment, RecipientDays, read_moment
from smstune.deploy.audit.rules import Rules, text_hits
from smstune.inference.classifier import SmsClassifier
from smstune.tables.row import TableRow, cell_text
from smstune.text.normalize import MAX_CHARACTERS
from smstune.text.pii.find import find_pii
from smstune.text.pii.mask import mask_pii

#: Columns beside the message.
OPTIONAL = ("sender", "recipient", "time", "consent")
#: Rules that cannot do without some of them.
_NEEDS = {"no_consent": ("consent",), "night": ("time",), "too_many": ("recipient", "time")}
_REMEMBERED = 200_000
_EXAMPLES = 5
_MOST_SENDERS = 10_000
_OTHERS = "其他发送方"
_PERSONAL = {"PHONE", "ID", "CARD", "EMAIL", "WECHAT", "QQ"}


class Groups(NamedTuple):
    """The labels of the run that count as marketing, and those of each rule that asks for some."""

    marketing: frozenset[str]
    rules: dict[str, frozenset[str]]


class Line(NamedTuple):
    """A line of findings.csv."""

    row: int
    rules: str = ""
    label: str = ""
    score: float | None = None
    note: str = ""
    text: str = ""


class _Judgement(NamedTuple):
    """What a text alone says: the model's answer, and the rules that apply and are hit."""

    label: str
    score: float
    marketing: bool
    hits: tuple[str, ...]


class Walk:
    """What is counted on the way; no message and no recipient is kept but masked examples."""

    def __init__(
        self,
        classifier: SmsClassifier,
        rules: Rules,
        groups: Groups,
        columns: Mapping[str, str],
    ) -> None:
        self.classifier, self.rules, self.groups = classifier, rules, groups
        self.columns = columns
        self.rows = 0
        self.count: Counter[str] = Counter()
        self.notes: Counter[str] = Counter()
        self.labels: Counter[str] = Counter()
        self.hits: Counter[str] = Counter()
        self.senders: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.recipients = RecipientDays()
        self.examples: dict[str, list[tuple[int, str, str]]] = defaultdict(list)
        self._known: dict[str, _Judgement] = {}

    def inspect(self, rows: Sequence[TableRow]) -> Iterator[Line]:
        """Count ``rows`` and yield a line for each that hits a rule or cannot be read."""
        self._judge([row.text or "" for row in rows if row.problem is None])
        for row in rows:
            self.rows += 1
            if row.problem is not None:
                # Its columns may have slipped, so that a recipient could stand anywhere.
                self.notes[row.problem] += 1
                yield Line(self.rows, note=row.problem)
                continue
            message = row.text or ""
            answer = self._known[message]
            values = {kind: row.fields.get(name) for kind, name in self.columns.items()}
            hits = [*answer.hits, *self._sending_hits(values, answer)]
            self._add(values, answer, hits)
            if hits:
                text = _masked(message, _text_of(values.get("recipient")))
                self._keep_examples(hits, answer.label, text)
                score = round(answer.score, 4)
                yield Line(self.rows, " ".join(hits), answer.label, score, text=_cell(text))

    def unchecked(self, name: str) -> str | None:
        """Say why a rule cannot be checked in this input with this run, if so."""
        missing = [kind for kind in _NEEDS.get(name, ()) if kind not in self.columns]
        if missing:
            return f"the input has no column for {', '.join(missing)}"
        if name == "fraud" and not self.groups.rules[name]:
            return "the run has none of the labels of this rule"
        return None

    def rule_counts(self) -> dict[str, tuple[int, int]]:
        """Return hits and of how many, for each rule that could be checked."""
        days = self.recipients.summary(self.rules.too_many.most)
        counts = {}
        for name, rule in self.rules.by_name().items():
            of = self.count["marketing" if rule.scope == "marketing" else "inspected"]
            counts[name] = (self.hits[name], self.count["hours"] if name == "night" else of)
        counts["too_many"] = (days["a_day"]["over"], days["recipient_days"]) if days else (0, 0)
        return {name: pair for name, pair in counts.items() if self.unchecked(name) is None}

    def _judge(self, texts: Sequence[str]) -> None:
        if len(self._known) > _REMEMBERED:
            self._known = {}
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        for text, found in zip(new, self.classifier.predict(new), strict=True):
            marketing = found.label in self.groups.marketing
            hits = text_hits(text[:MAX_CHARACTERS], self.rules)
            hits |= {name for name, labels in self.groups.rules.items() if found.label in labels}
            applying = tuple(
                name
                for name, rule in self.rules.by_name().items()
                if name in hits and (marketing or rule.scope == "all")
            )
            self._known[text] = _Judgement(found.label, found.score, marketing, applying)

    def _asks(self, name: str, answer: _Judgement) -> bool:
        return answer.marketing or getattr(self.rules, name).scope == "all"

    def _sending_hits(self, values: Mapping[str, Any], answer: _Judgement) -> Iterator[str]:
        """What consent, time and recipient say."""
        if "consent" in values and self._asks("no_consent", answer):
            none = {value.casefold() for value in self.rules.no_consent.none}
            if _text_of(values["consent"]).casefold() in none | {""}:
                yield "no_consent"
        if "time" not in values:
            return
        when = read_moment(values["time"])
        self.count["unreadable_times"] += when is None
        if when is not None and when.hour is not None and self._asks("night", answer):
            self.count["hours"] += 1
            if self.rules.night.holds(when.hour):
                yield "night"
        if "recipient" in values and self._asks("too_many", answer):
            self._count_recipient(_text_of(values["recipient"]), when)

    def _count_recipient(self, recipient: str, when: Moment | None) -> None:
        if recipient and when is not None:
            self.recipients.add(recipient, when.day)
        else:
            self.count["without_recipient_or_time"] += 1

    def _add(self, values: Mapping[str, Any], answer: _Judgement, hits: Sequence[str]) -> None:
        self.count["inspected"] += 1
        self.count["marketing"] += answer.marketing
        self.count["with_hits"] += bool(hits)
        self.labels[answer.label] += 1
        self.hits.update(hits)
        if "sender" in values:
            name = _shown(_text_of(values["sender"]))
            known = name in self.senders or len(self.senders) < _MOST_SENDERS
            counts = self.senders[name if known else _OTHERS]
            counts["messages"] += 1
            counts["marketing"] += answer.marketing
            counts["with_hits"] += bool(hits)

    def _keep_examples(self, hits: Sequence[str], label: str, text: str) -> None:
        for name in hits:
            kept = self.examples[name]
            if len(kept) < _EXAMPLES and text not in {one for _, _, one in kept}:
                kept.append((self.rows, label, text))


def _text_of(value: Any) -> str:  # noqa: ANN401
    return (cell_text(value) or "").strip()


def _masked(text: str, recipient: str) -> str:
    """Return ``text`` without personal information and without its own recipient."""
    if len(recipient) > 1:
        text = text.replace(recipient, "[收件人]")
    return mask_pii(text[:MAX_CHARACTERS])


@lru_cache(maxsize=_MOST_SENDERS)
def _shown(sender: str) -> str:
    """Return a sender as it may be written: the number of a port, but no person's."""
    personal = any(span.type in _PERSONAL for span in find_pii(sender))
    return mask_pii(sender) if personal else sender


def _cell(text: str) -> str:
    """Return ``text`` so that no spreadsheet takes it for a formula."""
    return "'" + text if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
