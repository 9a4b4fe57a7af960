"""Decides which column of a table is the text, label, time and group."""

from __future__ import annotations

import functools
import logging
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from smstune.errors import UserError
from smstune.language import Message, joined
from smstune.tables.options import Role, TableOptions

#: Usual names of the columns, the first that a table has is taken.
USUAL_NAMES: dict[Role, tuple[str, ...]] = {
    "text": (
        "text", "短信内容", "短信正文", "短信文本", "消息内容", "信息内容", "文本内容", "短信",
        "内容", "正文", "文本", "消息", "信息", "message", "content", "sms", "body",
    ),
    "label": ("label", "标签", "类别", "分类", "标注", "类型", "短信类型", "category", "class"),
    "group": ("group", "分组", "组别", "批次", "批次号", "模板编号"),
    "time": (
        "time", "时间", "接收时间", "发送时间", "短信时间", "收到时间", "日期", "接收日期",
        "发送日期", "timestamp", "datetime", "date",
    ),
    "sender": ("sender", "发送方", "发件人", "发送号码", "主叫号码", "发送者"),
    "recipient": (
        "recipient", "手机号", "手机号码", "接收号码", "接收方", "收件人", "被叫号码", "号码",
        "电话", "电话号码",
    ),
    "consent": ("consent", "是否同意", "同意", "用户同意"),
    "consent_id": ("consent_id", "同意编号", "授权编号", "同意记录编号", "同意书编号"),
    "content_type": (
        "content_type", "内容类型", "业务类型", "推广类型", "同意类型", "短信类型", "类型", "type",
    ),
    "given": ("given", "同意时间", "授权时间", "取得同意时间", "consent_time", "given_at"),
    "channel": ("channel", "渠道", "同意渠道", "取得渠道", "来源"),
    "frequency": ("frequency", "频次", "频率", "发送频次"),
    "until": ("until", "期限", "截止时间", "有效期至", "到期时间", "有效期"),
    "withdrawn": (
        "withdrawn", "撤回时间", "退订时间", "撤销时间", "回复时间", "上行时间", "withdrawn_at",
    ),
    "evidence": ("evidence", "证据", "凭证", "同意证据", "证明材料"),
    "reply": ("reply", "回复", "回复内容", "上行内容", "短信内容", "内容", "content", "text"),
    "action": ("action", "处置"),
    "reason": ("reason", "理由", "原因"),
}  # fmt: skip
#: A name of a column, as opposed to a message or a number.
_NAME = re.compile(r"[^\W\d][\w .()（）/:#-]{0,29}")

_ROLE_NAMES = {
    "text": Message("text"),
    "label": Message("label"),
    "group": Message("group"),
    "time": Message("time"),
}

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ColumnRoles:
    """The columns of a table by their role; ``None`` where the table has none.

    With ``labelled`` a row needs a label.
    """

    text: str
    label: str | None = None
    group: str | None = None
    time: str | None = None
    split: str | None = None
    labelled: bool = False


def assign_roles(names: Sequence[str], options: TableOptions, table: str) -> ColumnRoles:
    """Return which of the columns ``names`` is what, and say on the terminal what was guessed.

    Raises:
        UserError: if a column that the user named is missing, or the text, or a required label.
    """
    columns = {
        "text": find_column(names, "text", options.text),
        "label": find_column(names, "label", options.label),
        "group": find_column(names, "group", options.group),
        "time": find_column(names, "time", options.time),
        "split": find_column(names, "split", options.split) if options.split else None,
    }
    required: list[Role] = ["text", "label"] if options.labelled else ["text"]
    missing = [role for role in required if columns[role] is None]
    if missing:
        raise _missing_columns([getattr(options, role) or role for role in missing], names, table)
    named_optional = (
        ("group", options.group),
        ("time", options.time),
        ("split", options.split),
    )
    for role, name in named_optional:
        if name is not None and columns[role] is None:
            say_once(
                Message(
                    "warning: no column {name} in {table}: its rows have no {role}",
                    name=name,
                    table=table,
                    role=role,
                )
            )
    guessed = {
        role: Message("{name} as {role}", name=name, role=_ROLE_NAMES[role])
        for role, name in columns.items()
        if name is not None and getattr(options, role) is None and _plain(name) != role
    }
    if guessed:
        say_once(
            Message(
                "{table}: reading column {columns}. If that is wrong, name it by {flags}",
                table=table,
                columns=joined(guessed.values(), ", "),
                flags=joined([f"--{role}-column" for role in guessed], ", "),
            )
        )
    return ColumnRoles(
        columns["text"] or "",
        columns["label"],
        columns["group"],
        columns["time"],
        columns["split"],
        options.labelled,
    )


def find_column(names: Sequence[str], role: Role, name: str | None = None) -> str | None:
    """Return the column called ``name``, or by a usual name of the role if that is ``None``.

    Case, width and blanks around a name do not count, unless two columns differ in nothing else.
    """
    usual_names = (name,) if name is not None else USUAL_NAMES[role]
    plain_names = {_plain(column): column for column in reversed(names)}
    for usual_name in usual_names:
        if usual_name in names:
            return usual_name
        if _plain(usual_name) in plain_names:
            return plain_names[_plain(usual_name)]
    return None


def has_role(names: Sequence[str], options: TableOptions) -> bool:
    """Return whether the cells of a row name a column of ``header_roles``, as a header does."""
    named = {"text": options.text, "label": options.label}
    return any(
        find_column(names, role, named.get(role)) is not None for role in options.header_roles
    )


def shown_names(names: Sequence[str]) -> Message:
    """Return the names of columns as an error may show them: none that could be a message."""
    shown: list[str] = [name for name in names if _NAME.fullmatch(name)][:30]
    if len(shown) < len(names):
        n_others = len(names) - len(shown)
        shown.append(Message("{n_others} that look like no name", n_others=n_others))
    return joined(shown, ", ")


@functools.lru_cache(maxsize=1000)
def say_once(sentence: str) -> None:
    """Log a sentence, and not again: a table is opened several times, by its checks first."""
    level = logging.WARNING if sentence.startswith("warning: ") else logging.INFO
    logger.log(level, "%s", sentence)


def _missing_columns(missing: Sequence[str], names: Sequence[str], table: str) -> UserError:
    return UserError(
        "expected column {missing} in {table}, found {names}: name yours with --text-column and "
        "--label-column, or give --no-header if the first row is no header",
        missing=joined(missing, ", "),
        table=table,
        names=shown_names(names),
    )


def _plain(name: str) -> str:
    return unicodedata.normalize("NFKC", name).strip(" \t\r\n\ufeff").casefold()
