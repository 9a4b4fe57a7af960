"""audit.html: the report of a self-inspection, for the compliance officer."""

from __future__ import annotations

from collections.abc import Mapping

from smstune.deploy.audit.evidence import OUTCOMES
from smstune.deploy.audit.inspector import (
    MAX_EXAMPLES,
    MAX_SENDERS_SHOWN,
    OTHER_SENDERS,
    Inspector,
)
from smstune.deploy.audit.result import AuditResult, ConsentCounts, RecipientCounts
from smstune.deploy.audit.rules import Rule
from smstune.language import Message, joined, reader_language
from smstune.reporting.charts import BarChart
from smstune.reporting.document import (
    Block,
    Caution,
    Figure,
    ItemList,
    Report,
    Section,
    Subheading,
    Table,
    Text,
)

_SCOPES = {"marketing": Message("marketing messages"), "all": Message("all messages")}


def audit_report(
    audit: AuditResult, inspector: Inspector, label_names: Mapping[str, str]
) -> Report:
    """Return the page on the counts of an audit that ``inspector`` did.

    ``label_names`` are the labels as the examples show them, by their names.
    """
    rules = inspector.rules.rules.by_name()
    titles = {name: rule.title.in_language(reader_language()) for name, rule in rules.items()}
    sections = [
        _overview(audit, titles),
        *([_consent(audit.consent, inspector)] if audit.consent else []),
        *([_recipients(audit.recipients, audit.most_a_day)] if audit.recipients else []),
        *_examples(inspector, titles, label_names),
        _labels(audit),
        *([_senders(audit)] if audit.senders else []),
        _model(audit),
        _unchecked(audit, inspector, titles),
        _sources(rules),
    ]
    return Report(
        Message("Self-inspection of marketing SMS: {file}", file=audit.input),
        _opening(audit, titles),
        _shares_figure(audit, titles),
        sections,
    )


def _opening(audit: AuditResult, titles: Mapping[str, str]) -> list[str]:
    sentences: list[str] = [
        Message(
            "{file} has {rows:,} rows. {inspected:,} messages were inspected; the model {run} "
            "labels {marketing:,} of them ({share}) as marketing.",
            file=audit.input,
            rows=audit.rows,
            inspected=audit.inspected,
            run=audit.run,
            marketing=audit.marketing,
            share=_share(audit.marketing, audit.inspected),
        ),
        _hits_sentence(audit, titles),
        _limits_sentence(audit, titles),
    ]
    n_unchecked = sum(rule.unchecked is not None for rule in audit.rules.values())
    if n_unchecked:
        sentences.append(
            Message(
                "{count} of the rules could not be checked; the reasons are under “Not checked”.",
                count=n_unchecked,
            )
        )
    return sentences


def _hits_sentence(audit: AuditResult, titles: Mapping[str, str]) -> str:
    shares = [(rule.share, titles[name]) for name, rule in audit.rules.items() if rule.share]
    if not shares:
        return Message("No rule is hit.")
    share, title = max(shares)
    return Message(
        "{count:,} messages ({share}) hit at least one rule; the rule with the largest share of "
        "hits is “{title}” ({rule_share}).",
        count=audit.with_hits,
        share=_share(audit.with_hits, audit.inspected),
        title=title,
        rule_share=_percent(share),
    )


def _limits_sentence(audit: AuditResult, titles: Mapping[str, str]) -> str:
    over = [titles[name] for name, rule in audit.rules.items() if rule.over]
    if over:
        return Message(
            "Hit more often than their limit allows: {titles}.", titles=joined(over, ", ")
        )
    if all(rule.max_share is None for rule in audit.rules.values()):
        return Message("No limits (--max-share) were set, so nothing is passed or failed here.")
    return Message("No rule is hit more often than its limit allows.")


def _shares_figure(audit: AuditResult, titles: Mapping[str, str]) -> Figure | None:
    shares = [
        (rule.share, titles[name]) for name, rule in audit.rules.items() if rule.share is not None
    ]
    shares.sort(key=lambda pair: -pair[0])
    if not shares:
        return None
    percentages = [100 * share for share, _ in shares]
    chart = BarChart(
        [title for _, title in shares],
        {Message("share of hits"): percentages},
        Message("share of hits (%)"),
    )
    return Figure(
        [chart],
        Message("Share of hits of each rule, the largest first; the numbers are under “Rule hits”"),
    )


def _overview(audit: AuditResult, titles: Mapping[str, str]) -> Section:
    rows = []
    for name, rule in audit.rules.items():
        if rule.unchecked is None:
            title = titles[name]
            if name == "too_many":
                title = Message("{title} (recipient-days)", title=title)
            share = _share(rule.hits or 0, rule.of or 0)
            limit = _limit(rule.max_share, over=rule.over)
            rows.append([title, rule.hits, rule.of, share, limit, _SCOPES[rule.scope]])
    head = [
        Message("rule"),
        Message("hits"),
        Message("checked"),
        Message("share"),
        Message("limit"),
        Message("applies to"),
    ]
    caution = Caution(
        Message(
            "A hit only says that a person should look at the message. It does not prove a "
            "breach, and this report is not legal advice."
        )
    )
    note = Message(
        "Rules that apply to marketing messages are checked only on messages that the model "
        "labels as marketing. The share is the number of hits divided by that of messages checked."
    )
    return Section(Message("Rule hits"), note, [caution, Table(head, rows)])


def _limit(max_share: float | None, *, over: bool) -> str:
    if max_share is None:
        return ""
    if over:
        return Message("{percentage:g} %, exceeded", percentage=100 * max_share)
    return Message("{percentage:g} %", percentage=100 * max_share)


def _recipients(counts: RecipientCounts, limit: int) -> Section:
    note = Message(
        "Marketing messages only. Recipients: {recipients:,}; recipient-days (one recipient on one "
        "calendar day, China time): {recipient_days:,}. On {share_of_days} of the recipient-days "
        "there are more than {limit} messages; the most on one is {most:,}. Recipients with at "
        "least one such day: {recipients_over:,} ({share_over}). Within three consecutive days, "
        "{share_of_recipients} of the recipients got more than {limit} messages; the most is "
        "{most_in_three_days:,}. In the table, the three days are those in which the recipient "
        "got the most.",
        recipients=counts.recipients,
        recipient_days=counts.recipient_days,
        limit=limit,
        share_of_days=_percent(counts.a_day.share),
        most=counts.a_day.most,
        recipients_over=counts.recipients_over,
        share_over=_share(counts.recipients_over, counts.recipients),
        share_of_recipients=_percent(counts.three_days.share),
        most_in_three_days=counts.three_days.most,
    )
    days, people = counts.a_day.distribution, counts.three_days.distribution
    names = [_range(name) for name in days]
    n_days, n_people = sum(days.values()), sum(people.values())
    rows = [
        [name, n_day, _share(n_day, n_days), n_person, _share(n_person, n_people)]
        for name, n_day, n_person in zip(names, days.values(), people.values(), strict=True)
    ]
    unit = Message("recipient-days")
    chart = BarChart(names, {unit: list(days.values())}, unit)
    figure = Figure(
        [chart],
        Message("Marketing messages per recipient and day; the numbers are in the table"),
    )
    head = [
        Message("messages received"),
        Message("one day (recipient-days)"),
        Message("share"),
        Message("three days (recipients)"),
        Message("share"),
    ]
    return Section(Message("Messages per recipient"), note, [figure, Table(head, rows)])


def _consent(counts: ConsentCounts, inspector: Inspector) -> Section:
    sentences: list[str] = []
    tables: list[Block] = []
    if counts.ledger_rows is not None:
        sentences.append(
            Message(
                "The ledger has {count:,} entries. Each marketing message is traced to the consent "
                "of its recipient; the evidence list beside this page has one row per message.",
                count=counts.ledger_rows,
            )
        )
        numbers = {
            "covered": counts.covered,
            "not_covered": counts.not_covered,
            "undecided": counts.undecided,
        }
        total = sum(numbers.values())
        head = [Message("marketing messages"), Message("count"), Message("share")]
        rows = [[OUTCOMES[name], count, _share(count, total)] for name, count in numbers.items()]
        tables.append(Table(head, rows))
    sentences.append(
        Message(
            "Opt-outs: {opt_outs:,}; replies that are none: {other_replies:,}; recipients in the "
            "ledger and in the opt-out list: {in_both:,}. For each message the later of consent "
            "and opt-out counts.",
            opt_outs=counts.opt_outs,
            other_replies=counts.other_replies,
            in_both=counts.in_both,
        )
    )
    sentences.append(
        Message(
            "A ledger shows what was written down, not that it is true; whether a consent is "
            "informed and express must be judged from the evidence itself."
        )
    )
    # The counts hold their English texts alone.
    problems = inspector.records.problems if inspector.records else {}
    if problems:
        head = [Message("rows that prove nothing"), Message("rows")]
        tables.append(Table(head, [[kind, n_rows] for kind, n_rows in problems.items()]))
    blocks: list[Block] = [*(Text(sentence) for sentence in sentences[1:]), *tables]
    return Section(Message("Proof of consent"), sentences[0], blocks)


def _examples(
    inspector: Inspector, titles: Mapping[str, str], label_names: Mapping[str, str]
) -> list[Section]:
    blocks: list[Block] = []
    for name, rule in inspector.rules.rules.by_name().items():
        if name in inspector.examples:
            messages = [
                (
                    Message(
                        "row {row:,}, {label}", row=example.row, label=label_names[example.label]
                    ),
                    example.text,
                )
                for example in inspector.examples[name]
            ]
            explanation = Text(rule.explanation(reader_language()))
            blocks += [Subheading(titles[name]), explanation, ItemList(messages)]
    note = Message(
        "The first messages that hit each rule, at most {count} different ones. Recipients, phone "
        "numbers, links, accounts and the like are replaced by placeholders. Names and postal "
        "addresses cannot be detected and may remain. The findings list all hits with the other "
        "columns of your file, where names may remain, too. Protect both as personal data.",
        count=MAX_EXAMPLES,
    )
    return [Section(Message("Examples"), note, blocks)] if blocks else []


def _labels(audit: AuditResult) -> Section:
    rows = [
        [
            name,
            count,
            _share(count, audit.inspected),
            Message("yes") if name in audit.marketing_labels else "",
        ]
        for name, count in audit.labels.items()
    ]
    head = [
        Message("label"),
        Message("count"),
        Message("share"),
        Message("counted as marketing"),
    ]
    return Section(Message("Labels that the model gave"), blocks=[Table(head, rows)])


def _senders(audit: AuditResult) -> Section:
    rows = [
        [
            # The counts hold its English text.
            OTHER_SENDERS
            if counts.sender == OTHER_SENDERS
            else counts.sender or Message("(empty)"),
            counts.messages,
            counts.marketing,
            counts.with_hits,
            _share(counts.with_hits, counts.messages),
        ]
        for counts in audit.senders
    ]
    note = Message(
        "Senders: {count:,}. The table has those with the most messages that hit a rule, at most "
        "{limit}. Personal numbers are masked.",
        count=audit.distinct_senders,
        limit=MAX_SENDERS_SHOWN,
    )
    head = [
        Message("sender"),
        Message("count"),
        Message("marketing"),
        Message("with hits"),
        Message("share with hits"),
    ]
    return Section(Message("Senders"), note, [Table(head, rows)])


def _model(audit: AuditResult) -> Section:
    title = Message("Mistakes of the model")
    scores = audit.model
    if scores is None or scores.precision is None or scores.recall is None:
        caution = Caution(
            Message(
                "The model was not evaluated on its test set (run `smstune eval` first), so it is "
                "not known how many messages are wrongly labelled as marketing and how many "
                "marketing messages are missed. Rules for marketing messages have too many or too "
                "few hits accordingly."
            )
        )
        return Section(title, blocks=[caution])
    note = Message(
        "On the model's own test set ({messages:,} messages, {marketing:,} of them marketing), "
        "about {precision:.1f} of 100 messages that it labels as marketing are marketing, and it "
        "recognises about {recall:.1f} of 100 marketing messages. Those that it misses are not "
        "checked for signature, opt-out and the like. Your messages differ from the test set, so "
        "these numbers will, too: check a sample by hand, of messages with hits and without.",
        messages=scores.messages,
        marketing=scores.marketing,
        precision=100 * scores.precision,
        recall=100 * scores.recall,
    )
    return Section(title, note)


def _unchecked(audit: AuditResult, inspector: Inspector, titles: Mapping[str, str]) -> Section:
    rows: list[list[object]] = [
        [title, reason] for name, title in titles.items() if (reason := inspector.unchecked(name))
    ]
    rows += [
        [
            Message("rows that could not be read"),
            Message("{reason} ({count:,} rows)", reason=reason, count=count),
        ]
        for reason, count in inspector.set_aside.items()
    ]
    if audit.unreadable_times:
        rows.append(
            [
                Message("hour and frequency, where the time could not be read"),
                Message("{count:,} messages", count=audit.unreadable_times),
            ]
        )
    if audit.without_recipient_or_time:
        rows.append(
            [
                Message("frequency, where the recipient or the time is missing"),
                Message("{count:,} messages", count=audit.without_recipient_or_time),
            ]
        )
    note = Message(
        "Word rules look for words, whatever they mean, so they give false alarms and miss hits. "
        "A consent column shows that there is a record, not that it is true or covers the "
        "message. Recipients are hashed with a random key when they are read; the key is not "
        "stored, and the recipient column is in no output file."
    )
    head = [Message("not checked"), Message("reason or number")]
    tables = [Table(head, rows, text_columns=[head[1]])] if rows else []
    return Section(Message("Not checked"), note, tables)


def _sources(rules: Mapping[str, Rule]) -> Section:
    language = reader_language()
    sources = [
        (
            rule.title.in_language(language),
            _explanation(rule, language),
        )
        for rule in rules.values()
    ]
    note = Message(
        "Look the sources up: platforms and legislators change their rules, and only the current "
        "text counts."
    )
    verified = Text(
        Message(
            "The articles of laws were compared with a third party's collection of their texts, as "
            "of 19 April 2025 (github.com/LawRefBook/Laws), the rules of platforms with stored "
            "copies; a lawyer must check both. Read in second-hand accounts only: Order 74 of "
            "工业和信息化部, in force since 1 May 2026, and Order 31 of 2015, which held until 30 "
            "April 2026."
        )
    )
    return Section(Message("Rules and their sources"), note, [verified, ItemList(sources)])


def _explanation(rule: Rule, language: str) -> Message:
    explanation, source = rule.explanation(language), rule.source.in_language(language)
    if rule.penalty is None:
        return Message("{explanation} Source: {source}.", explanation=explanation, source=source)
    return Message(
        "{explanation} Source: {source}. Penalty: {penalty}.",
        explanation=explanation,
        source=source,
        penalty=rule.penalty.in_language(language),
    )


def _range(name: str) -> str:
    low, dash, high = name.partition("-")
    return Message("more than {count}", count=int(low) - 1) if dash and not high else name


def _share(count: int, total: int) -> str:
    return _percent(count / total) if total else "–"


def _percent(share: float) -> str:
    return Message("{percentage:.2f} %", percentage=100 * share)
