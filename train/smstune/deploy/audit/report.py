"""audit.html: the report of a self-inspection, in Chinese, for the compliance officer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from smstune.reporting.charts import bars
from smstune.reporting.html import Section, render_page, table, warning

_SCOPES = {"marketing": "营销", "all": "全部"}
_COLUMN_NAMES = {"sender": "发送方", "recipient": "收件人", "time": "时间", "consent": "同意记录"}


def render_audit(
    result: Mapping[str, Any], examples: Mapping[str, Sequence[tuple[int, str, str]]]
) -> str:
    """Return the page for what ``audit`` counted.

    ``examples`` are, for each rule, row number, label and masked text of some hits.
    """
    summary = (
        f"文件 {result['input']}，模型 {result['run']}。共 {result['rows']:,} 行，检查了 "
        f"{result['inspected']:,} 条短信，其中模型判为营销的 {result['marketing']:,} 条"
        f"（{_share(result['marketing'], result['inspected'])}），命中任一规则的 "
        f"{result['with_hits']:,} 条（{_share(result['with_hits'], result['inspected'])}）。"
    )
    sections = [
        _overview(result),
        *_recipients(result),
        *_examples(result, examples),
        _labels(result),
        *_senders(result),
        _model(result),
        _limits(result),
        _sources(result),
    ]
    return render_page(f"营销短信自查：{result['input']}", summary, sections, lang="zh-CN")


def _overview(result: Mapping[str, Any]) -> Section:
    parts = [warning("规则命中只是提示人工核对的线索，不等于违法，也不是法律意见。")]
    over = [rule["title"] for rule in result["rules"].values() if rule["over"]]
    if over:
        parts.append(warning(f"超过所设阈值：{'、'.join(over)}。"))
    elif not any(rule["max_share"] is not None for rule in result["rules"].values()):
        parts.append(Markup("<p>没有设阈值（--max-share），所以没有“通过”或“不通过”。</p>"))
    else:
        parts.append(Markup("<p>所设阈值都没有超过。</p>"))
    rows = []
    for rule in result["rules"].values():
        if rule["unchecked"] is None:
            unit = "（人·天）" if rule is result["rules"]["too_many"] else ""
            limit = "" if rule["max_share"] is None else f"{100 * rule['max_share']:g}%"
            limit += "，已超过" if rule["over"] else ""
            share = _share(rule["hits"], rule["of"])
            row = [rule["title"] + unit, rule["hits"], rule["of"], share, limit]
            rows.append([*row, _SCOPES[rule["scope"]]])
    head = ["规则", "命中", "检查数", "占比", "阈值", "范围"]
    note = "“范围”为营销的规则只看模型判为营销的短信；占比的分母是“检查数”。"
    return Section("规则命中一览", note, [*parts, table(head, rows)])


def _recipients(result: Mapping[str, Any]) -> list[Section]:
    found = result["recipients"]
    if found is None:
        return []
    most = result["most_a_day"]
    day, three = found["a_day"], found["three_days"]
    note = (
        f"{found['recipients']:,} 个收件人，{found['recipient_days']:,} 个“人·天”，"
        f"按北京时间的自然日计。一天超过 {most} 条的占 {_percent(day['share'])}，"
        f"最多一天 {day['most']:,} 条；{found['recipients_over']:,} 个收件人"
        f"（{_share(found['recipients_over'], found['recipients'])}）至少有一天超过 {most} 条。"
        f"任意连续三天合计超过 {most} 条的收件人占 "
        f"{_percent(three['share'])}，最多三天 {three['most']:,} 条。只数营销短信；"
        "表中三天一列取每人最多的三天。"
    )
    names = [_range(name) for name in day["distribution"]]
    counts = list(day["distribution"].values())
    people = list(three["distribution"].values())
    rows = [
        [name, a, _share(a, sum(counts)), b, _share(b, sum(people))]
        for name, a, b in zip(names, counts, people, strict=True)
    ]
    head = ["条数", "一天（人·天）", "占比", "三天（收件人）", "占比"]
    drawing = bars(names, {"人·天": counts}, "人·天", "一人一天收到的营销短信条数，数字见下表")
    return [Section("同一人收到多少", note, [drawing, table(head, rows)])]


def _examples(
    result: Mapping[str, Any], examples: Mapping[str, Sequence[tuple[int, str, str]]]
) -> list[Section]:
    parts: list[Markup] = []
    for name, rule in result["rules"].items():
        if examples.get(name):
            parts.append(Markup("<h3>{}</h3><p>{}</p>").format(rule["title"], rule["how"]))
            lines = [(f"第 {row:,} 行，{label}", text) for row, label, text in examples[name]]
            parts.append(_list(lines))
    note = (
        "每条规则最先遇到的至多五条不同短信。电话、链接、账号等已换成占位符；"
        "姓名和地址认不出来，可能还在，请按个人信息保管本报告。全部命中的行号见 findings.csv。"
    )
    return [Section("命中示例", note, parts)] if parts else []


def _labels(result: Mapping[str, Any]) -> Section:
    marketing = set(result["marketing_labels"])
    rows = [
        [name, count, _share(count, result["inspected"]), "是" if name in marketing else ""]
        for name, count in result["labels"].items()
    ]
    return Section("模型的判断", "", [table(["标签", "短信", "占比", "算作营销"], rows)])


def _senders(result: Mapping[str, Any]) -> list[Section]:
    if not result["senders"]:
        return []
    rows = [
        [
            one["sender"] or "（空）",
            one["messages"],
            one["marketing"],
            one["with_hits"],
            _share(one["with_hits"], one["messages"]),
        ]
        for one in result["senders"]
    ]
    note = f"共 {result['distinct_senders']:,} 个，列出命中最多的。个人号码已脱敏。"
    head = ["发送方", "短信", "营销", "有命中", "占比"]
    return [Section("发送方", note, [table(head, rows)])]


def _model(result: Mapping[str, Any]) -> Section:
    model = result["model"]
    if model is None or model["precision"] is None or model["recall"] is None:
        note = (
            "这个模型没有测试集上的评测结果（先运行 `smstune eval`），它把别的短信误当营销、"
            "或漏掉营销的比例不得而知。只看营销短信的规则，其命中数会随之偏多或偏少。"
        )
        return Section("模型会错多少", "", [warning(note)])
    note = (
        f"在它自己的测试集（{model['messages']:,} 条，营销 {model['marketing']:,} 条）上："
        f"判为营销的每 100 条里，约 {100 * model['precision']:.1f} 条真是营销，其余是误判；"
        f"真正的营销每 100 条里，找出约 {100 * model['recall']:.1f} 条，"
        "其余被漏掉，也就没有查签名、退订等规则。"
        "测试集与贵方的短信构成不同，实际比例也会不同：请从命中与未命中的短信里各抽一些人工核对。"
    )
    return Section("模型会错多少", note)


def _limits(result: Mapping[str, Any]) -> Section:
    unchecked = [rule for rule in result["rules"].values() if rule["unchecked"] is not None]
    rows = [[rule["title"], _reason(rule, result)] for rule in unchecked]
    rows += [
        ["读不懂的行，没有检查", f"{reason}：{n:,}"] for reason, n in result["set_aside"].items()
    ]
    if result["unreadable_times"]:
        rows.append(["时间读不懂，没有查夜间和频次", f"{result['unreadable_times']:,} 条"])
    if result["without_recipient_or_time"]:
        rows.append(["缺收件人或时间，没有计入频次", f"{result['without_recipient_or_time']:,} 条"])
    note = (
        "词语规则只认字面，会有误报和漏报。同意记录只看有没有，不看真假和范围。"
        "收件人在读入时即以一次性随机密钥散列，密钥不保存；任何输出里都没有收件人。"
    )
    head = ["没有查的", "原因或数量"]
    return Section("没有查什么", note, [table(head, rows, text_columns=[head[1]])] if rows else [])


def _reason(rule: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    if rule is result["rules"]["fraud"]:
        return "模型没有这类标签"
    columns = [name for kind, name in _COLUMN_NAMES.items() if kind in rule["unchecked"]]
    return f"输入没有这一栏：{'、'.join(columns)}"


def _sources(result: Mapping[str, Any]) -> Section:
    rules = result["rules"].values()
    lines = [(rule["title"], f"{rule['how']}依据：{rule['source']}。") for rule in rules]
    note = "依据供查对原文；平台规则和法规会修订，以最新文本为准。"
    return Section("规则与依据", note, [_list(lines)])


def _list(lines: Sequence[tuple[str, str]]) -> Markup:
    """Return a list that wraps on a phone where a table would have to be scrolled."""
    item = Markup("<li><strong>{}</strong><br>{}</li>")
    return Markup("<ul>{}</ul>").format(Markup("").join(item.format(*line) for line in lines))


def _range(name: str) -> str:
    low, dash, high = name.partition("-")
    return f"{int(low) - 1} 条以上" if dash and not high else f"{name} 条"


def _share(part: int, of: int) -> str:
    return _percent(part / of) if of else "–"


def _percent(share: float) -> str:
    return f"{100 * share:.2f}%"
