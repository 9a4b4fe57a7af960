"""audit.html: the report of a self-inspection, in Chinese, for the compliance officer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from smstune.deploy.audit.inspector import Example
from smstune.deploy.audit.result import AuditResult, RecipientCounts
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

_SCOPES = {"marketing": "营销短信", "all": "全部短信"}
_COLUMN_NAMES = {"sender": "发送方", "recipient": "收件人", "time": "时间", "consent": "同意记录"}


def audit_report(audit: AuditResult, examples: Mapping[str, Sequence[Example]]) -> Report:
    """Return the page on an audit's counts; ``examples`` are some hits of each rule."""
    sections = [
        _overview(audit),
        *([_recipients(audit.recipients, audit.most_a_day)] if audit.recipients else []),
        *_examples(audit, examples),
        _labels(audit),
        *([_senders(audit)] if audit.senders else []),
        _model(audit),
        _unchecked(audit),
        _sources(audit),
    ]
    return Report(
        f"营销短信自查：{audit.input}",
        _opening(audit),
        _shares_figure(audit),
        sections,
        language="zh-CN",
    )


def _opening(audit: AuditResult) -> list[str]:
    sentences = [
        f"文件 {audit.input} 共 {audit.rows:,} 行，本次检查了其中 {audit.inspected:,} 条短信，"
        f"模型 {audit.run} 将 {audit.marketing:,} 条"
        f"（{_share(audit.marketing, audit.inspected)}）判为营销短信。",
        f"命中至少一条规则的有 {audit.with_hits:,} 条"
        f"（{_share(audit.with_hits, audit.inspected)}）{_most_hit(audit)}。",
        _limits_sentence(audit),
    ]
    n_unchecked = sum(rule.unchecked is not None for rule in audit.rules.values())
    if n_unchecked:
        sentences.append(f"另有 {n_unchecked} 条规则无法检查，原因见“未检查项”。")
    return sentences


def _most_hit(audit: AuditResult) -> str:
    shares = [(rule.share, rule.title) for rule in audit.rules.values() if rule.share]
    if not shares:
        return ""
    share, title = max(shares)
    return f"，其中命中比例最高的规则是“{title}”（{_percent(share)}）"


def _limits_sentence(audit: AuditResult) -> str:
    over = [rule.title for rule in audit.rules.values() if rule.over]
    if over:
        return f"有 {len(over)} 条规则的命中比例超过所设上限：{'、'.join(over)}。"
    if all(rule.max_share is None for rule in audit.rules.values()):
        return "本次未设上限（--max-share），因此不作“通过”或“不通过”的判定。"
    return "各条规则的命中比例均未超过所设上限。"


def _shares_figure(audit: AuditResult) -> Figure | None:
    checked = [rule for rule in audit.rules.values() if rule.share is not None]
    checked.sort(key=lambda rule: -(rule.share or 0))
    if not checked:
        return None
    percentages = [100 * (rule.share or 0) for rule in checked]
    chart = BarChart([rule.title for rule in checked], {"命中比例": percentages}, "命中比例（%）")
    return Figure([chart], "各条规则的命中比例，从高到低；数字见“规则命中一览”")


def _overview(audit: AuditResult) -> Section:
    blocks: list[Block] = [
        Caution("命中规则只是提示需要人工核对，不等于违法，本报告也不是法律意见。")
    ]
    rows = []
    for name, rule in audit.rules.items():
        if rule.unchecked is None:
            unit = "（人·天）" if name == "too_many" else ""
            limit = "" if rule.max_share is None else f"{100 * rule.max_share:g}%"
            limit += "，已超过" if rule.over else ""
            share = _share(rule.hits or 0, rule.of or 0)
            row = [rule.title + unit, rule.hits, rule.of, share, limit]
            rows.append([*row, _SCOPES[rule.scope]])
    blocks.append(Table(["规则", "命中", "检查数", "占比", "上限", "适用范围"], rows))
    note = "适用范围为“营销短信”的规则只检查模型判为营销的短信；占比为命中数除以检查数。"
    return Section("规则命中一览", note, blocks)


def _recipients(counts: RecipientCounts, limit: int) -> Section:
    note = (
        f"仅统计营销短信，共 {counts.recipients:,} 个收件人、{counts.recipient_days:,} 个“人·天”"
        "（一个收件人在一个自然日，按北京时间）。"
        f"一天超过 {limit} 条的占全部“人·天”的 {_percent(counts.a_day.share)}，"
        f"单日最多 {counts.a_day.most:,} 条；{counts.recipients_over:,} 个收件人"
        f"（{_share(counts.recipients_over, counts.recipients)}）至少有一天超过 {limit} 条。"
        f"任意连续三天合计超过 {limit} 条的收件人占 {_percent(counts.three_days.share)}，"
        f"三天最多 {counts.three_days.most:,} 条。"
        "表中“三天”按每个收件人短信最多的连续三天统计。"
    )
    days, people = counts.a_day.distribution, counts.three_days.distribution
    names = [_range(name) for name in days]
    n_days, n_people = sum(days.values()), sum(people.values())
    rows = [
        [name, n_day, _share(n_day, n_days), n_person, _share(n_person, n_people)]
        for name, n_day, n_person in zip(names, days.values(), people.values(), strict=True)
    ]
    chart = BarChart(names, {"人·天": list(days.values())}, "人·天")
    figure = Figure([chart], "每个收件人每天收到的营销短信条数，数字见表")
    head = ["条数", "一天（人·天）", "占比", "三天（收件人）", "占比"]
    return Section("每个收件人收到多少条", note, [figure, Table(head, rows)])


def _examples(audit: AuditResult, examples: Mapping[str, Sequence[Example]]) -> list[Section]:
    blocks: list[Block] = []
    for name, rule in audit.rules.items():
        if examples.get(name):
            messages = [
                (f"第 {example.row:,} 行，{example.label}", example.text)
                for example in examples[name]
            ]
            blocks += [Subheading(rule.title), Text(rule.how), ItemList(messages)]
    note = (
        "每条规则列出最先命中的至多五条不同短信。电话、链接、账号等已替换为占位符；"
        "姓名和地址无法自动识别，可能仍在文中，请按个人信息的要求保管本报告。"
        "全部命中的行号见 findings.csv。"
    )
    return [Section("命中示例", note, blocks)] if blocks else []


def _labels(audit: AuditResult) -> Section:
    rows = [
        [
            name,
            count,
            _share(count, audit.inspected),
            "是" if name in audit.marketing_labels else "",
        ]
        for name, count in audit.labels.items()
    ]
    return Section("模型判定的标签", blocks=[Table(["标签", "短信数", "占比", "计为营销"], rows)])


def _senders(audit: AuditResult) -> Section:
    rows = [
        [
            counts.sender or "（空）",
            counts.messages,
            counts.marketing,
            counts.with_hits,
            _share(counts.with_hits, counts.messages),
        ]
        for counts in audit.senders
    ]
    note = f"共 {audit.distinct_senders:,} 个发送方，按命中短信数从多到少列出。个人号码已脱敏。"
    head = ["发送方", "短信数", "营销短信", "命中短信", "命中占比"]
    return Section("发送方", note, [Table(head, rows)])


def _model(audit: AuditResult) -> Section:
    scores = audit.model
    if scores is None or scores.precision is None or scores.recall is None:
        caution = Caution(
            "该模型没有测试集上的评测结果（请先运行 `smstune eval`），"
            "因此不清楚有多少短信被误判为营销、又有多少营销短信被漏判。"
            "只检查营销短信的规则，其命中数会因此偏多或偏少。"
        )
        return Section("模型误差", blocks=[caution])
    note = (
        f"在该模型自己的测试集（{scores.messages:,} 条，其中营销短信 {scores.marketing:,} 条）上，"
        f"判为营销的每 100 条中约有 {100 * scores.precision:.1f} 条确为营销，其余为误判；"
        f"每 100 条营销短信中约有 {100 * scores.recall:.1f} 条被识别出来，"
        "其余被漏判，也就没有检查签名、退订等规则。"
        "测试集的构成与贵方短信不同，实际比例也会不同，"
        "请从命中和未命中的短信中各抽取一部分人工核对。"
    )
    return Section("模型误差", note)


def _unchecked(audit: AuditResult) -> Section:
    rows = [
        [rule.title, _reason(name, rule.unchecked)]
        for name, rule in audit.rules.items()
        if rule.unchecked is not None
    ]
    rows += [
        ["无法读取的行，未检查", f"{reason}：{count:,} 行"]
        for reason, count in audit.set_aside.items()
    ]
    if audit.unreadable_times:
        rows.append(["时间无法识别，未检查发送时段和频次", f"{audit.unreadable_times:,} 条"])
    if audit.without_recipient_or_time:
        rows.append(["缺少收件人或时间，未计入频次", f"{audit.without_recipient_or_time:,} 条"])
    note = (
        "用语类规则只按字面匹配，会有误报和漏报。同意记录只看有无，不核实真伪和范围。"
        "收件人在读入时即用一次性随机密钥散列，密钥不保存，任何输出文件中都没有收件人。"
    )
    head = ["未检查项", "原因或数量"]
    tables = [Table(head, rows, text_columns=[head[1]])] if rows else []
    return Section("未检查项", note, tables)


def _reason(name: str, unchecked: str) -> str:
    if name == "fraud":
        return "模型没有这类标签"
    columns = [title for role, title in _COLUMN_NAMES.items() if role in unchecked]
    return f"输入文件缺少以下列：{'、'.join(columns)}"


def _sources(audit: AuditResult) -> Section:
    rules = audit.rules.values()
    sources = [(rule.title, f"{rule.how}依据：{rule.source}。") for rule in rules]
    note = "列出依据以便查对原文；平台规则和法规会修订，请以最新文本为准。"
    return Section("规则与依据", note, [ItemList(sources)])


def _range(name: str) -> str:
    low, dash, high = name.partition("-")
    return f"{int(low) - 1} 条以上" if dash and not high else f"{name} 条"


def _share(count: int, total: int) -> str:
    return _percent(count / total) if total else "–"


def _percent(share: float) -> str:
    return f"{100 * share:.2f}%"
