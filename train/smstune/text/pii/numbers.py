"""Telephone, identity and card numbers, and any other long number."""

from __future__ import annotations

import re
from datetime import date

from smstune.text.pii.digits import FIVE_DIGITS, NEXT_DIGIT, NOT_DIGITS, SEPARATOR
from smstune.text.pii.rule import Rule, alone

#: A mobile number without separators.
MOBILE = "1[3-9][0-9]{9}(?![0-9])"

_FIVE = re.compile(FIVE_DIGITS)
_SPELT_ON = re.compile(rf"[0-9]{SEPARATOR}$")
# What makes the number in front of it an amount of something: 10086米.
_UNIT = re.compile(
    "[%％‰℃°元块年月周岁步页张份种款层楼室米亩吨度瓦升名位只辆次条秒折倍万亿千百个件台]|积分|用户"
    r"|粉丝|小时|公[里斤]|平(?![台安])|人(?![工民寿员])|家(?![庭宽])|套(?!餐)|天(?!津)|分(?!公司|行)"
    r"|[.,][0-9]{1,2}(?![0-9])|[ ]?(?:[kmg]?[bgm]|[mc]m|ml|[wkv])(?![a-z0-9])"
)
# Words in front of a number that one calls, with other numbers between.
_CALL_WORD = (
    "电话|热线|询|致电|专线|座机|固话|来电|拨打?|联系|客服|传真|咨|报[修障]|(?<![a-z])(?:tel|call)"
)
_CALLED = re.compile(
    rf"(?:{_CALL_WORD})[ :：为是(（]{{0,3}}(?:[0-9 -]{{7,9}}[/、或,， ]{{1,2}}){{0,2}}$"
)
_CALL_REACH = 30


def _is_regular(match: re.Match[str]) -> bool:
    """Say whether one kind of separator makes groups as people write them: 138 0013 8000."""
    sizes = [len(group) for group in NOT_DIGITS.split(match["n"])]
    kinds = {kind.strip() for kind in NOT_DIGITS.findall(match["n"])}
    if set(sizes) == {1}:
        # Spelt digit by digit, 1-3-8-0: not if it goes on in front, as a part of something longer.
        return not _SPELT_ON.search(match.string, max(0, match.start() - 4), match.start())
    return len(kinds) <= 1 and sizes[0] >= 3 and 1 not in sizes


def _is_identity(match: re.Match[str]) -> bool:
    """Say whether date and check character (MOD 11-2, ISO 7064) hold, as in GB 11643-1999."""
    digits = re.sub("[^0-9x]", "", match["n"])
    try:
        date(int(digits[6:10]), int(digits[10:12]), int(digits[12:14]))
    except ValueError:
        return False
    total = sum(int(digit) * (2 ** (17 - i) % 11) for i, digit in enumerate(digits[:17]))
    return digits[6:8] in {"18", "19", "20"} and digits[17] == "10x98765432"[total % 11]


def _is_card(match: re.Match[str]) -> bool:
    """Say whether the Luhn sum ends in 0 (ISO/IEC 7812-1, annex B)."""
    digits = [int(digit) for digit in NOT_DIGITS.sub("", match["n"])][::-1]
    doubled = [digit * 2 - 9 * (digit > 4) for digit in digits[1::2]]
    return sum(digits[::2] + doubled) % 10 == 0


def _is_plain(match: re.Match[str]) -> bool:
    """Say whether no unit behind it makes the number an amount of something."""
    named = match.string[match.start() - 1 : match.start()] in ("号", "码")
    return named or not _UNIT.match(match.string, match.end("n"))


def _is_called(match: re.Match[str]) -> bool:
    """Say whether a word in front of the number says that one can call it."""
    start = max(0, match.start() - _CALL_REACH)
    return bool(_CALLED.search(match.string, start, match.start()))


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

_CARD_RUN = "[3-6][0-9]{15,18}"
_CARD_AFTER_SIX = "[3-6][0-9]{5}[ -][0-9]{10,13}"
_CARD_IN_FOURS = r"[3-6][0-9]{3}(?P<s>[ -])(?:[0-9]{4}(?P=s)){2}[0-9]{4}(?:(?P=s)[0-9]{1,3})?"

CARD = Rule(
    "CARD",
    _FIVE,
    alone(rf"(?P<n>{_CARD_RUN}|{_CARD_AFTER_SIX}|{_CARD_IN_FOURS})"),
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
_BANKS_95 = rf"95[0-9]{{3,4}}|9{SEPARATOR}5(?:{NEXT_DIGIT}){{3}}"
_GOVERNMENT = "96110|12[13][0-9]{2}"
_CARRIERS = (
    "100(?:01|1[0-9]|50|60|8[0-9]{1,4}|99)"
    rf"|1{SEPARATOR}0{SEPARATOR}0{SEPARATOR}(?:1{SEPARATOR}0|8{SEPARATOR}6)"
)

HOTLINE = Rule(
    "SERVICE",
    _FIVE,
    alone(
        rf"(?<![0-9\0][-.,:/])(?<![a-z])(?P<n>{_PORT_106}|{_BANKS_95}|{_GOVERNMENT}|{_CARRIERS})"
    ),
    finds=(("请拨打95588查询", "95588"), ("发送至10086", "10086")),
    leaves=("跑了10086米", "型号a95588"),
    check=_is_plain,
)

_AREA_CODE = r"0(?:10|2[0-9]|[3-9][0-9]{2}| 1 0| 2 [0-9]| [3-9] [0-9] [0-9])"
_AREA = rf"[(（]?{_AREA_CODE}[)）]?{SEPARATOR}"
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

# A long number and the letters glued to it.
_GLUED_IN_FRONT = "(?:(?<![0-9a-z])[0-9a-z]{1,12}?)?(?<![0-9])"
_NO_DECIMAL = r"(?<![0-9\0][.,:/])"
_IN_GROUPS = "[0-9]{4,}(?P<s>[ -])(?:[0-9]{4,}(?P=s))+[0-9]+"

LONG_NUMBER = Rule(
    "NUM",
    re.compile("[0-9]{6}|[0-9]{4}[ -][0-9]{4}"),
    alone(
        rf"{_GLUED_IN_FRONT}{_NO_DECIMAL}(?P<n>[0-9]{{6,}}|{_IN_GROUPS})(?![0-9])[0-9a-z]{{0,12}}"
    ),
    finds=(("运单sf1234567890已签收", "sf1234567890"), ("订单20240001", "20240001")),
    leaves=("共123456人", "验证1234"),
    check=_is_plain,
)
