"""Telephone, identity and card numbers, and any other long number."""

from __future__ import annotations

import re

from smstune.text.pii.digits import (
    FIVE_DIGITS,
    NEXT_DIGIT,
    NOT_DIGITS,
    ONE_SEPARATOR,
    SEPARATOR,
    is_identity_number,
    passes_luhn,
)
from smstune.text.pii.rule import Rule, alone

#: A mobile number without separators.
MOBILE = "1[3-9][0-9]{9}(?![0-9])"

_FIVE = re.compile(FIVE_DIGITS)
_SPELT_ON = re.compile(rf"[0-9]{SEPARATOR}$")
# A unit, which makes the number before it an amount of something: 10086米.
_UNIT = re.compile(
    "[%％‰℃°元块年月周岁步页张份种款层楼室米亩吨度瓦升名位只辆次条秒折倍万亿千百个件台]|积分|用户"
    r"|粉丝|小时|公[里斤]|平(?![台安])|人(?![工民寿员])|家(?![庭宽])|套(?!餐)|天(?!津)|分(?!公司|行)"
    r"|[.,][0-9]{1,2}(?![0-9])|[ ]?(?:[kmg]?[bgm]|[mc]m|ml|[wkv])(?![a-z0-9])"
)
# Words before a number that is called, possibly with other numbers between.
_CALL_WORD = (
    "电话|热线|询|致电|专线|座机|固话|来电|拨打?|联系|客服|传真|咨|报[修障]|(?<![a-z])(?:tel|call)"
)
_CALLED = re.compile(
    rf"(?:{_CALL_WORD})[ :：为是(（]{{0,3}}(?:[0-9 -]{{7,9}}[/、或,， ]{{1,2}}){{0,2}}$"
)
_CALL_REACH = 30


def _is_regular(match: re.Match[str]) -> bool:
    """Return whether one kind of separator makes the groups that people write: 138 0013 8000."""
    sizes = [len(group) for group in NOT_DIGITS.split(match["n"])]
    kinds = {kind.strip() for kind in NOT_DIGITS.findall(match["n"])}
    if set(sizes) == {1}:
        # Spelt digit by digit, 1-3-8-0, but not if digits before it make it part of a longer run.
        return not _SPELT_ON.search(match.string, max(0, match.start() - 4), match.start())
    return len(kinds) <= 1 and sizes[0] >= 3 and 1 not in sizes


def _is_identity(match: re.Match[str]) -> bool:
    return is_identity_number(re.sub("[^0-9x]", "", match["n"]))


def _is_card(match: re.Match[str]) -> bool:
    sizes = [len(group) for group in NOT_DIGITS.split(match["n"])]
    is_regular = sizes[0] >= 4 or (sizes[0] == 1 and set(sizes[1:]) == {1})
    return is_regular and passes_luhn(NOT_DIGITS.sub("", match["n"]))


def _is_plain(match: re.Match[str]) -> bool:
    """Return whether no unit follows the number, so that it is not an amount."""
    follows_cue = match.string[match.start() - 1 : match.start()] in ("号", "码")
    return follows_cue or not _UNIT.match(match.string, match.end("n"))


def _is_long(match: re.Match[str]) -> bool:
    return len(NOT_DIGITS.sub("", match["n"])) >= 5 and _is_plain(match)


def _is_called(match: re.Match[str]) -> bool:
    """Return whether a word before the number says that it can be called."""
    start = max(0, match.start() - _CALL_REACH)
    return bool(_CALLED.search(match.string, start, match.start()))


# Words before a number that is neither called nor paid to, whatever it looks like.
_ORDER_WORD = (
    "(?:订单|运单|单号|流水|编号|序列|合同|案号|学号|工号|病历|准考证|发票|股票|代码|期号|票号)"
    "(?:编?号)?码?"
)
_ORDER_LINK = '[是为]?[ :：#=•>(（【“"-]{0,3}'
_NO_DATE = "(?!20[0-9]{2}[-/.][0-9]{1,2}[-/.][0-9]{1,2}(?![0-9]))"
_HAS_FIVE_DIGITS = "(?=[0-9a-z](?:[^0-9]{0,4}[0-9]){4})"
_ORDER_SEPARATOR = r"(?:[ ]?[-/·•_.*~|=+]{1,2}[ ]?|[ ]{1,2})"
_ORDER_GROUP = f"-[0-9a-z]{{5,24}}|{_ORDER_SEPARATOR}[0-9a-z]{{1,4}}(?![0-9a-z元年月])"
_ORDER_SIGNS = f"[0-9a-z]{{1,24}}(?:{_ORDER_GROUP}){{0,24}}"
_ORDER_IN_GROUPS = "[0-9]{3,4}(?:[，、,][0-9]{1,4}(?![0-9])){1,4}"

ORDER_NUMBER = Rule(
    "NUM",
    re.compile(_ORDER_WORD),
    (
        f"{_ORDER_WORD}{_ORDER_LINK}{_NO_DATE}{_HAS_FIVE_DIGITS}"
        f"(?P<n>{_ORDER_IN_GROUPS}|{_ORDER_SIGNS})(?![0-9])"
    ),
    finds=(("订单号13000001234已发货", "13000001234"), ("运单：sf12 3456 78", "sf12 3456 78")),
    leaves=("订单已发货", "编号1203"),
    check=_is_long,
)

IDENTITY = Rule(
    "ID",
    _FIVE,
    alone(rf"(?P<n>[1-8](?:{NEXT_DIGIT}){{16}}{SEPARATOR}[0-9x])"),
    finds=(
        ("身份证11010519491231002x", "11010519491231002x"),
        ("证件110105 19491231 002x已登记", "110105 19491231 002x"),
    ),
    leaves=("编号110105194912310021", "流水号110105199913310021"),
    check=_is_identity,
)

CARD = Rule(
    "CARD",
    _FIVE,
    alone(rf"(?P<n>[3-6](?:{NEXT_DIGIT}){{15,18}})"),
    finds=(
        ("卡号4111111111111111", "4111111111111111"),
        ("转入4111 1111 1111 1111", "4111 1111 1111 1111"),
    ),
    leaves=("卡号4111111111111112", "单号9111111111111111"),
    check=_is_card,
)

_COUNTRY = rf"(?:[(（]?\+?(?:00)?86[)）]?{SEPARATOR})?"

PHONE = Rule(
    "PHONE",
    _FIVE,
    alone(rf"{_COUNTRY}(?P<n>1{SEPARATOR}[3-9](?:{NEXT_DIGIT}){{9}})"),
    finds=(("致电13000001234", "13000001234"), ("致电+86 138-0013-8000", "+86 138-0013-8000")),
    leaves=("单号23000001234", "共12000001234条"),
    check=_is_regular,
)

FREE_NUMBER = Rule(
    "SERVICE",
    _FIVE,
    alone(rf"(?P<n>[48]{SEPARATOR}0{SEPARATOR}0(?:{NEXT_DIGIT}){{7}})"),
    finds=(("热线400-123-4567", "400-123-4567"), ("拨打8001234567", "8001234567")),
    leaves=("编号300-123-4567", "共400元"),
    check=_is_regular,
)

_PORT_106 = "106(?:-?[0-9]){5,17}"


def _spelt(*digits: str) -> str:
    return SEPARATOR.join(digits)


_BANKS_95 = f"95[0-9]{{3,4}}|{_spelt('9', '5', *['[0-9]'] * 3)}"
_GOVERNMENT = f"{_spelt('9', '6', '1', '1', '0')}|{_spelt('1', '2', '[13]', '[0-9]', '[0-9]')}"
_CARRIERS = (
    "100(?:01|1[0-9]|50|60|8[0-9]{1,4}|99)"
    f"|{_spelt('1', '0', '0', '1', '0')}|{_spelt('1', '0', '0', '8', '6')}"
)
_HOTLINE = f"{_PORT_106}|{_BANKS_95}|{_GOVERNMENT}|{_CARRIERS}"


def _is_hotline(match: re.Match[str]) -> bool:
    """Return whether it is one number, not a date or counting: 12.3.15, 1 2 3 4 5."""
    sizes = [len(group) for group in NOT_DIGITS.split(match["n"])]
    is_whole = len(sizes) == 1 or sizes[0] >= 3 or match["n"].startswith("106")
    is_spelt = set(sizes) == {1} and NOT_DIGITS.sub("", match["n"]) != "12345"
    return (is_whole or is_spelt) and _is_plain(match)


HOTLINE = Rule(
    "SERVICE",
    _FIVE,
    alone(rf"(?<![0-9\0][-.,:/])(?<![a-z])(?P<n>{_HOTLINE})"),
    finds=(("请拨打95588查询", "95588"), ("发送至10086", "10086")),
    leaves=("跑了10086米", "型号a95588", "日期12.3.15", "数1 2 3 4 5"),
    check=_is_hotline,
    further=f"[ ]?[、/,，或和及][ ]?({_HOTLINE})(?![0-9])",
)

_AREA_CODE = "0(?:10|2[0-9]|[3-9][0-9]{2})"
_AREA_CODE_APART = (
    rf"0(?P<apart>{ONE_SEPARATOR})"
    "(?:1(?P=apart)0|2(?P=apart)[0-9]|[3-9](?P=apart)[0-9](?P=apart)[0-9])"
)
_AREA = rf"[(（]?(?:{_AREA_CODE}|{_AREA_CODE_APART})[)）]?{SEPARATOR}"
_EXTENSION = "(?![0-9])(?:[ ]?(?:转[ ]?|-)[0-9]{1,5})?"

LANDLINE = Rule(
    "LANDLINE",
    _FIVE,
    alone(rf"{_AREA}(?P<n>[2-8](?:{NEXT_DIGIT}){{6,7}}){_EXTENSION}"),
    finds=(("电话010-55501234", "010-55501234"), ("致电021-5550 1234转8", "021-5550 1234转8")),
    leaves=("010-12345678", "日期2010-5550"),
    check=_is_regular,
)

LOCAL_HOTLINE = Rule(
    "SERVICE",
    _FIVE,
    alone("96[0-9]{3,4}|10000"),
    finds=(("客服96588", "96588"), ("详询10000号", "10000")),
    leaves=("奖金96588", "共10000人"),
    check=_is_called,
)

LOCAL_LANDLINE = Rule(
    "LANDLINE",
    _FIVE,
    alone("[2-8][0-9]{2,3}[ -]?[0-9]{4}"),
    finds=(("电话：5550 1234", "5550 1234"), ("致电5551234", "5551234")),
    leaves=("订单55501234", "面积5550-1234"),
    check=_is_called,
)

# A long number and the letters attached to it.
_GLUED_IN_FRONT = "(?:(?<![0-9a-z])[0-9a-z]{1,12}?)?(?<![0-9])"
_NO_DECIMAL = r"(?<![0-9\0][.,:/])"
# Bounded, because each group may start a match that fails at the end: 1234 1234 1234人.
_IN_GROUPS = "[0-9]{4,}(?P<s>[ -])(?:[0-9]{4,}(?P=s)){1,50}[0-9]+"

LONG_NUMBER = Rule(
    "NUM",
    re.compile("[0-9]{4}(?:[0-9]{2}|[ -][0-9]{4})"),
    alone(
        rf"{_GLUED_IN_FRONT}{_NO_DECIMAL}(?P<n>[0-9]{{6,}}|{_IN_GROUPS})(?![0-9])[0-9a-z]{{0,12}}"
    ),
    finds=(("运单sf1234567890已签收", "sf1234567890"), ("订单20240001", "20240001")),
    leaves=("共123456人", "验证1234"),
    check=_is_plain,
)
